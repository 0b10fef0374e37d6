//! A registry that is asked over HTTP: what it knows, what it does not know, and what stands between.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::collections::BTreeMap;

use tidewheel_decode::avro::AvroSchema;
use tidewheel_decode::framed::{Encoding, FramedValues};
use tidewheel_decode::writer_schema::WriterSchema;
use tidewheel_e2e::registry::SchemaRegistry;
use tidewheel_registry::{Access, Registry, RegistryError};

const ORDER: &str =
    r#"{"type": "record", "name": "shop.Order", "fields": [{"name": "paid", "type": "Money"}]}"#;
const MONEY: &str =
    r#"{"type": "record", "name": "shop.Money", "fields": [{"name": "unit", "type": "Unit"}]}"#;
const UNIT: &str = r#"{"type": "enum", "name": "shop.Unit", "symbols": ["EUR"]}"#;

fn asking(url: &str) -> Registry {
    Registry::new(&Access::new(url)).unwrap()
}

fn secret(values: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
    let values = values
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()));
    values.collect()
}

#[tokio::test]
async fn a_schema_is_read_once_with_those_that_it_uses() {
    let server = SchemaRegistry::open().await.unwrap();
    let subject = "types/a b";
    server.add(1, (subject, 3), "AVRO", UNIT, &[]);
    let of_unit = [("shop.Unit", subject, 3)];
    server.add(2, ("money", 1), "AVRO", MONEY, &of_unit);
    let of_both = [("shop.Money", "money", 1), ("shop.Unit", subject, 3)];
    server.add(7, ("order", 1), "AVRO", ORDER, &of_both);
    let registry = asking(&format!("{}/", server.url()));
    let wanted = AvroSchema::parse(ORDER, &[UNIT.to_owned(), MONEY.to_owned()]).unwrap();
    for _ in 0..2 {
        let found = registry.schema(7).await.unwrap();
        assert_eq!(*found, WriterSchema::Avro(wanted.clone()));
    }
    assert_eq!(
        server.asked(),
        [
            "/schemas/ids/7",
            "/subjects/money/versions/1",
            "/subjects/types%2Fa%20b/versions/3"
        ]
    );
}

#[tokio::test]
async fn files_of_protobuf_are_read_with_those_that_they_import() {
    let server = SchemaRegistry::open().await.unwrap();
    let unit = "syntax = 'proto3'; package shop; enum Unit { EUR = 0; USD = 1; }";
    let money = "syntax = 'proto3'; package shop; import 'types/unit.proto'; import 'google/protobuf/wrappers.proto';
        message Money { google.protobuf.Int64Value cents = 1; Unit unit = 2; }";
    let order = "syntax = 'proto3'; package shop; import 'money.proto'; import 'types/unit.proto';
        message Order { Money paid = 1; Unit unit = 2; }";
    server.add(1, ("unit", 3), "PROTOBUF", unit, &[]);
    let of_unit = [("types/unit.proto", "unit", 3)];
    server.add(2, ("money", 1), "PROTOBUF", money, &of_unit);
    let of_both = [("money.proto", "money", 1), of_unit[0]];
    server.add(7, ("order", 1), "PROTOBUF", order, &of_both);
    let registry = asking(&server.url());
    let mut values = FramedValues::new(Encoding::Protobuf);
    for _ in 0..2 {
        values.learn(7, &registry.schema(7).await.unwrap());
    }
    let value = b"\x00\x00\x00\x00\x07\x00\x0a\x06\x0a\x02\x08\x05\x10\x01\x10\x01";
    let read = values.read([&value[..]]).remove(0).unwrap();
    let json = r#"{"paid":{"cents":5,"unit":"USD"},"unit":"USD"}"#;
    assert_eq!(String::from_utf8(read).unwrap(), json);
    assert_eq!(
        server.asked(),
        [
            "/schemas/ids/7",
            "/subjects/money/versions/1",
            "/subjects/unit/versions/3"
        ]
    );
}

#[tokio::test]
async fn schemas_that_values_cannot_be_read_with_are_told_apart_from_outages() {
    let server = SchemaRegistry::open().await.unwrap();
    server.add(1, ("a", 1), "JSON", "{}", &[]);
    server.add(2, ("b", 1), "AVRO", r#""string""#, &[]);
    server.add(4, ("c", 1), "PROTOBUF", "enum A { B = 0; }", &[]);
    let registry = asking(&server.url());
    let other = WriterSchema::Other("JSON".to_owned());
    assert_eq!(*registry.schema(1).await.unwrap(), other);
    for (id, reason) in [
        (2, "it is no record, and an event is one"),
        (4, "it has no message, and an event is one"),
    ] {
        assert_eq!(
            *registry.schema(id).await.unwrap(),
            WriterSchema::Unreadable(reason.to_owned())
        );
    }
    server.set_away(true);
    assert_eq!(*registry.schema(1).await.unwrap(), other, "it is known");
    let error = registry.schema(3).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "the schema registry at {}/schemas/ids/3 answers 503: upstream is not there",
            server.url()
        )
    );
}

#[tokio::test]
async fn what_it_does_not_have_it_may_have_in_a_moment() {
    let server = SchemaRegistry::open().await.unwrap();
    let registry = asking(&server.url());
    let error = registry.schema(3).await.unwrap_err();
    assert!(matches!(error, RegistryError::NotYet { .. }), "{error}");
    server.add(3, ("a", 1), "AVRO", UNIT, &[]);
    assert!(registry.schema(3).await.is_ok());
    // A path that leads elsewhere says of no schema that it is not there.
    let elsewhere = asking(&format!("{}/elsewhere", server.url()));
    let error = elsewhere.schema(3).await.unwrap_err();
    let is_outage = matches!(
        error,
        RegistryError::Refused {
            status: 404,
            code: None,
            ..
        }
    );
    assert!(is_outage, "{error}");
    // Nor does a reference that leads nowhere.
    server.add(4, ("b", 1), "AVRO", ORDER, &[("shop.Money", "money", 9)]);
    let error = registry.schema(4).await.unwrap_err();
    let is_outage = matches!(
        error,
        RegistryError::Refused {
            code: Some(40_402),
            ..
        }
    );
    assert!(is_outage, "{error}");
}

#[tokio::test]
async fn tls_and_password_are_as_the_secret_says() {
    let server = SchemaRegistry::guarded("reader", "pässword").await.unwrap();
    server.add(1, ("a", 1), "PROTOBUF", "message A {}", &[]);
    let with = |values: &[(&str, &str)]| {
        let access = Access::new(server.url()).with_secret(&secret(values));
        Registry::new(&access.unwrap()).unwrap()
    };
    let login = ("username", "reader");
    let authority = ("ca.crt", server.authority());
    let admitted = with(&[login, ("password", "pässword\n"), authority]);
    assert!(admitted.schema(1).await.is_ok());
    let error = with(&[login, ("password", "other"), authority]);
    let error = error.schema(1).await.unwrap_err().to_string();
    assert!(error.ends_with("answers 401: Unauthorized"), "{error}");
    let error = with(&[login, ("password", "pässword")]);
    let error = error.schema(1).await.unwrap_err().to_string();
    assert!(
        error.contains("invalid peer certificate: UnknownIssuer"),
        "{error}"
    );
    assert!(!error.contains("pässword"));
}

#[tokio::test]
async fn nobody_at_the_address_is_said() {
    let server = SchemaRegistry::open().await.unwrap();
    let url = server.url();
    drop(server);
    // Its port may still take a connection for a moment.
    let registry = asking(&url);
    let error = loop {
        match registry.schema(1).await.unwrap_err() {
            RegistryError::Unreachable { reason, .. } => break reason,
            _ => tokio::task::yield_now().await,
        }
    };
    assert!(!error.is_empty());
}

#[test]
fn what_cannot_be_used_says_which_key_and_shows_no_value() {
    let refused = |values: &[(&str, &str)]| {
        let access = Access::new("https://registry.example").with_secret(&secret(values));
        let made = access.and_then(|access| Registry::new(&access).map(|_| ()));
        made.unwrap_err().to_string()
    };
    let texts = [
        refused(&[("password", "hunter2")]),
        refused(&[("ca.crt", "hunter2")]),
        refused(&[("tls.crt", "hunter2")]),
        refused(&[("tls.key", "hunter2")]),
        refused(&[("tls.crt", "hunter2"), ("tls.key", "hunter2")]),
    ];
    assert!(texts.iter().all(|text| !text.contains("hunter2")));
    let first = texts.map(|text| text.split(" of its Secret ").next().unwrap().to_owned());
    assert_eq!(
        first,
        [
            "the key `username`",
            "the key `ca.crt`",
            "the key `tls.key`",
            "the key `tls.crt`",
            "the key `tls.key`"
        ]
    );
    for url in ["registry:8081", "ftp://registry", "http://", "http://a?b=c"] {
        let error = Registry::new(&Access::new(url)).map(|_| ()).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with(&format!("`{url}` is no address"))
        );
    }
}
