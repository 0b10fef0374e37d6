//! CloudEvents as one JSON object, whatever mode they come in.
use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Value, json};
use tidewheel_decode::cloud_events::{CloudEvents, Mode};
use tidewheel_decode::{
    DEFAULT_MAX_EVENT_BYTES, DecodeError, Decoder, EventFormat, EventSchema, FieldType,
    UnknownFields,
};

use crate::fixture::{cell, field};

const CONTEXT: [(&str, &str); 4] = [
    ("specversion", "1.0"),
    ("id", "7"),
    ("source", "/shop"),
    ("type", "shop.order.placed"),
];

fn schema() -> EventSchema {
    EventSchema {
        fields: vec![
            field("id", "id", FieldType::Text),
            field("sampled", "sampledrate", FieldType::Bigint),
            field("valid", "valid", FieldType::Boolean),
            field("time", "time", FieldType::Timestamp),
            field("amount", "data.amount", FieldType::Double),
        ],
        unknown: UnknownFields::Keep,
        format: EventFormat::CloudEvents,
    }
}

/// An event in binary mode with further attributes.
fn binary(
    attributes: &[(&str, &str)],
    content_type: Option<&str>,
    data: Option<&[u8]>,
) -> Result<Value, DecodeError> {
    let attributes = CONTEXT.iter().chain(attributes);
    let attributes = attributes.map(|&(name, value)| (name, Cow::Borrowed(value.as_bytes())));
    let made = CloudEvents::new(&schema()).from_binary(attributes, content_type, data)?;
    CloudEvents::check(&made).unwrap();
    Ok(serde_json::from_slice(&made).unwrap())
}

fn with(members: Value) -> Value {
    let context = CONTEXT.map(|(name, value)| (name.to_owned(), json!(value)));
    let mut event: serde_json::Map<String, Value> = context.into_iter().collect();
    event.extend(members.as_object().unwrap().clone());
    Value::Object(event)
}

#[test]
fn both_modes_are_one_object() {
    let structured = with(json!({
        "sampledrate": 30, "valid": true, "traceparent": "00-1-2-03",
        "datacontenttype": "application/json", "data": {"amount": 1.5}
    }));
    let attributes = [
        ("sampledrate", "30"),
        ("valid", "true"),
        ("traceparent", "00-1-2-03"),
    ];
    let json_data: &[u8] = br#" {"amount": 1.5} "#;
    let made = binary(&attributes, Some("application/json"), Some(json_data));
    assert_eq!(made.unwrap(), structured);
    let mut decoder = Decoder::new(Arc::new(schema()));
    let text = structured.to_string();
    let decoded = decoder.decode([text.as_bytes()]);
    let row: Vec<String> = decoded.batch.columns().iter().map(|c| cell(c, 0)).collect();
    assert_eq!(row[..3], ["7", "30", "true"]);
}

#[test]
fn data_is_a_value_a_text_or_base64_by_its_content_type() {
    let of = |content_type: &str, data: &[u8]| {
        let mut event = binary(&[], Some(content_type), Some(data)).unwrap();
        assert_eq!(event["datacontenttype"], content_type);
        let event = event.as_object_mut().unwrap();
        let data = event.remove("data").map(|data| ("data", data));
        let base64 = event.remove("data_base64");
        assert_eq!(event.len(), 5);
        data.or(base64.map(|data| ("data_base64", data))).unwrap()
    };
    assert_eq!(of("application/json", b"null"), ("data", Value::Null));
    assert_eq!(
        of("application/vnd.shop+json; charset=UTF-8", b"[1]"),
        ("data", json!([1]))
    );
    assert_eq!(of("Text/JSON", b"\"a\""), ("data", json!("a")));
    assert_eq!(
        of("text/plain", "say \"ü\"\n".as_bytes()),
        ("data", json!("say \"ü\"\n"))
    );
    assert_eq!(of("application/xml", b"<a/>"), ("data", json!("<a/>")));
    assert_eq!(
        of("application/octet-stream", b"{}"),
        ("data_base64", json!("e30="))
    );
    assert_eq!(
        of("text/plain; charset=iso-8859-1", b"\xfc"),
        ("data_base64", json!("/A=="))
    );
    for none in [None, Some(&b""[..])] {
        assert_eq!(
            binary(&[], Some("application/json"), none).unwrap(),
            with(json!({"datacontenttype": "application/json"}))
        );
    }
    assert_eq!(
        binary(&[], None, Some(b"{}")).unwrap(),
        with(json!({"data": {}})),
        "without a content type it is JSON"
    );
}

#[test]
fn attributes_are_texts_where_their_columns_are_no_numbers_or_what_they_say_is_none() {
    let attributes = [
        ("sequence", "30"),
        ("sampledrate", "many"),
        ("time", "2026-01-01T00:00:00Z"),
        ("subject", "a \"quoted\" one"),
    ];
    let members = attributes.map(|(name, value)| (name.to_owned(), json!(value)));
    let members: serde_json::Map<String, Value> = members.into_iter().collect();
    assert_eq!(
        binary(&attributes, None, None).unwrap(),
        with(Value::Object(members))
    );
}

#[test]
fn data_cannot_end_its_event_and_begin_another() {
    for data in [
        &br#"1, "id": "8""#[..],
        br#"{}}, {"#,
        br#"{"a": 1}{"b": 2}"#,
        b"\xef\xbb\xbf{}",
    ] {
        let error = binary(&[], Some("application/json"), Some(data)).unwrap_err();
        assert_eq!(
            (error.field.as_deref(), error.code),
            (Some("data"), "Malformed")
        );
    }
}

#[test]
fn what_is_no_cloud_event_is_refused_with_what_it_lacks() {
    let mut told = String::new();
    let mut tell = |what: &str, result: Result<(), DecodeError>| {
        let error = result.expect_err(what);
        told.push_str(&format!("{what}: {}: {error}\n", error.code));
    };
    let mut structured = |what: &str, event: Value| {
        tell(what, CloudEvents::check(event.to_string().as_bytes()));
    };
    structured("no attributes", json!({}));
    structured(
        "no type",
        json!({"specversion": "1.0", "id": "1", "source": "a"}),
    );
    structured("null", with(json!({"id": null})));
    structured("empty", with(json!({"source": ""})));
    structured("no text", with(json!({"id": 7})));
    structured("old", with(json!({"specversion": "0.3"})));
    structured("array", json!([1]));
    tell("no JSON", CloudEvents::check(b"{\"id\": "));

    let of = |attributes: &[(&str, &[u8])], content_type, data: &[u8]| {
        let attributes = attributes.iter().map(|&(name, value)| (name, value.into()));
        let events = CloudEvents::new(&schema());
        events
            .from_binary(attributes, content_type, Some(data))
            .map(drop)
    };
    let context = CONTEXT.map(|(name, value)| (name, value.as_bytes()));
    let also = |name, value| {
        let mut attributes = context.to_vec();
        attributes.push((name, value));
        attributes
    };
    tell("no header of the id", of(&context[..1], None, b""));
    tell("twice", of(&also("id", b"8"), None, b""));
    tell("upper case", of(&also("Shop", b"8"), None, b""));
    tell("data as an attribute", of(&also("data", b"8"), None, b""));
    let type_twice = also("datacontenttype", b"text/plain");
    tell("its content type", of(&type_twice, None, b""));
    tell("not UTF-8", of(&also("shop", b"\xff"), None, b""));
    tell("text", of(&context, Some("text/plain"), b"\xff"));
    tell("not JSON", of(&context, Some("application/json"), b"<a/>"));
    tell("no type, not JSON", of(&context, None, b"<a/>"));
    let large = vec![b' '; DEFAULT_MAX_EVENT_BYTES + 1];
    tell("large", of(&context, Some("text/plain"), &large));
    insta::assert_snapshot!(told);
}

#[test]
fn the_mode_is_told_by_the_content_type_and_else_by_attributes() {
    for (content_type, has_attributes, mode) in [
        (
            Some("application/cloudevents+json"),
            false,
            Mode::Structured,
        ),
        (
            Some("application/cloudevents+json; charset=utf-8"),
            true,
            Mode::Structured,
        ),
        (
            Some("Application/CloudEvents-Batch+JSON"),
            false,
            Mode::Structured,
        ),
        (Some("application/cloudevents+avro"), true, Mode::Unreadable),
        (Some("application/cloudevents"), false, Mode::Unreadable),
        (Some("application/json"), true, Mode::Binary),
        (Some("image/png"), true, Mode::Binary),
        (None, true, Mode::Binary),
        (Some("application/json"), false, Mode::Structured),
        (None, false, Mode::Structured),
    ] {
        assert_eq!(
            Mode::of(content_type, has_attributes),
            mode,
            "{content_type:?}"
        );
    }
}
