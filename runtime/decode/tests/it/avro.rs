//! Avro as JSON: every type, schemas of several versions and with references, and what no serializer has written.
use std::sync::Arc;

use tidewheel_decode::avro::AvroSchema;
use tidewheel_decode::framed::{Encoding, FramedValues};
use tidewheel_decode::writer_schema::WriterSchema;
use tidewheel_decode::{Decoder, EventFormat, EventSchema, Field, FieldType, Part, UnknownFields};

use crate::fixture::refused;
use crate::framed::{read, value};

/// A record whose member `v` is of a type.
fn holding(of: &str) -> String {
    format!(
        r#"{{"type": "record", "name": "shop.Event", "fields": [{{"name": "v", "type": {of}}}]}}"#
    )
}

fn parsed(schema: &str, referenced: &[String]) -> WriterSchema {
    WriterSchema::Avro(
        AvroSchema::parse(schema, referenced).unwrap_or_else(|error| panic!("{schema}: {error}")),
    )
}

fn knowing(id: u32, schema: &str) -> FramedValues {
    let mut avro = FramedValues::new(Encoding::Avro);
    avro.learn(id, &parsed(schema, &[]));
    avro
}

/// A length or number as Avro writes it.
fn zigzag(number: i64) -> Vec<u8> {
    let mut left = ((number << 1) ^ (number >> 63)).cast_unsigned();
    let mut bytes = Vec::new();
    while left > 0x7f {
        bytes.push((left & 0x7f) as u8 | 0x80);
        left >>= 7;
    }
    bytes.push(left as u8);
    bytes
}

#[test]
fn every_type_has_a_form_in_json() {
    let logical =
        |of: &str, logical: &str| format!(r#"{{"type": "{of}", "logicalType": "{logical}"}}"#);
    let decimal = r#"{"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}"#;
    let fixed_decimal = r#"{"type": "fixed", "name": "D", "size": 4, "logicalType": "decimal", "precision": 9, "scale": 2}"#;
    let uuid = r#"{"type": "fixed", "name": "U", "size": 16, "logicalType": "uuid"}"#;
    let inner = r#"{"type": "record", "name": "Inner", "fields": [{"name": "a", "type": "long"}, {"name": "b", "type": ["null", "string"]}]}"#;
    let micros = 1_767_225_600_000_001;
    let nanos = 1_767_225_600_000_000_001;
    for (of, encoding, json) in [
        (r#""null""#.to_owned(), vec![], "null"),
        (r#""boolean""#.to_owned(), vec![1], "true"),
        (r#""int""#.to_owned(), b"\x80\x01".to_vec(), "64"),
        (
            r#""long""#.to_owned(),
            zigzag(i64::MIN),
            "-9223372036854775808",
        ),
        (
            r#""float""#.to_owned(),
            0.1f32.to_le_bytes().to_vec(),
            "0.1",
        ),
        (
            r#""double""#.to_owned(),
            1e300f64.to_le_bytes().to_vec(),
            "1e+300",
        ),
        (
            r#""double""#.to_owned(),
            f64::NAN.to_le_bytes().to_vec(),
            r#""NaN""#,
        ),
        (
            r#""float""#.to_owned(),
            f32::NEG_INFINITY.to_le_bytes().to_vec(),
            r#""-Infinity""#,
        ),
        (
            r#""string""#.to_owned(),
            b"\x08\xc3\xbcb\"".to_vec(),
            r#""üb\"""#,
        ),
        (
            r#""bytes""#.to_owned(),
            b"\x04\x00\xff".to_vec(),
            r#""AP8=""#,
        ),
        (
            r#"{"type": "fixed", "name": "F", "size": 2}"#.to_owned(),
            b"\x00\xff".to_vec(),
            r#""AP8=""#,
        ),
        (
            r#"{"type": "enum", "name": "Suit", "symbols": ["SPADES", "HEARTS"]}"#.to_owned(),
            vec![2],
            r#""HEARTS""#,
        ),
        (
            r#"{"type": "array", "items": "long"}"#.to_owned(),
            b"\x04\x06\x36\x00".to_vec(),
            "[3,27]",
        ),
        // A block with its size in front, and one more.
        (
            r#"{"type": "map", "values": "int"}"#.to_owned(),
            b"\x01\x06\x02a\x02\x02\x02b\x04\x00".to_vec(),
            r#"{"a":1,"b":2}"#,
        ),
        (
            inner.to_owned(),
            b"\x36\x02\x06foo".to_vec(),
            r#"{"a":27,"b":"foo"}"#,
        ),
        (
            inner.to_owned(),
            b"\x36\x00".to_vec(),
            r#"{"a":27,"b":null}"#,
        ),
        (r#"["string", "null"]"#.to_owned(), vec![2], "null"),
        (r#"["null", "long", "string"]"#.to_owned(), vec![0], "null"),
        (
            r#"["null", "long", "string"]"#.to_owned(),
            b"\x04\x02a".to_vec(),
            r#""a""#,
        ),
        (
            format!(r#"["null", "double", {inner}]"#),
            b"\x04\x02\x00".to_vec(),
            r#"{"a":1,"b":null}"#,
        ),
        (decimal.to_owned(), b"\x02\xfb".to_vec(), "-0.05"),
        (decimal.to_owned(), b"\x04\x04\xd2".to_vec(), "12.34"),
        (
            fixed_decimal.to_owned(),
            b"\x00\x00\x04\xd2".to_vec(),
            "12.34",
        ),
        (logical("int", "date"), vec![1], r#""1969-12-31""#),
        (logical("int", "time-millis"), vec![2], r#""00:00:00.001""#),
        (
            logical("long", "time-micros"),
            vec![2],
            r#""00:00:00.000001""#,
        ),
        (
            logical("long", "timestamp-millis"),
            vec![1],
            r#""1969-12-31T23:59:59.999Z""#,
        ),
        (
            logical("long", "timestamp-micros"),
            zigzag(micros),
            r#""2026-01-01T00:00:00.000001Z""#,
        ),
        (
            logical("long", "timestamp-nanos"),
            zigzag(nanos),
            r#""2026-01-01T00:00:00.000000001Z""#,
        ),
        (
            logical("long", "local-timestamp-micros"),
            vec![2],
            r#""1970-01-01T00:00:00.000001""#,
        ),
        (
            logical("long", "timestamp-millis"),
            zigzag(i64::MAX),
            r#""a time that no calendar has""#,
        ),
        // Whether it is one, its column says.
        (logical("string", "uuid"), b"\x02a".to_vec(), r#""a""#),
        (
            uuid.to_owned(),
            vec![0x11; 16],
            r#""11111111-1111-1111-1111-111111111111""#,
        ),
        // What is not known is what it is of.
        (logical("long", "made-up"), vec![2], "1"),
        (
            r#"{"type": {"type": "string", "avro.java.string": "String"}}"#.to_owned(),
            b"\x02a".to_vec(),
            r#""a""#,
        ),
    ] {
        let mut avro = knowing(7, &holding(&of));
        // Half a record has no bytes of its own.
        let (schema, encoding) = if encoding.is_empty() {
            let two = r#"{"type": "record", "name": "E", "fields": [{"name": "v", "type": "null"}, {"name": "w", "type": "int"}]}"#;
            avro = knowing(7, two);
            (r#"{"v":null,"w":1}"#.to_owned(), vec![2])
        } else {
            (format!(r#"{{"v":{json}}}"#), encoding)
        };
        assert_eq!(read(&mut avro, &value(7, &encoding)), Ok(schema), "{of}");
    }
}

#[test]
fn schemas_use_types_of_others_by_name() {
    let money = r#"{"type": "record", "name": "Money", "namespace": "shop.types", "fields": [
        {"name": "cents", "type": "long"}, {"name": "unit", "type": {"type": "enum", "name": "Unit", "symbols": ["EUR"]}}]}"#;
    let order = r#"{"type": "record", "name": "Order", "namespace": "shop", "fields": [
        {"name": "paid", "type": "shop.types.Money"}, {"name": "due", "type": ["null", "shop.types.Money"]},
        {"name": "unit", "type": "shop.types.Unit"}]}"#;
    let mut avro = FramedValues::new(Encoding::Avro);
    avro.learn(1, &parsed(order, &[money.to_owned()]));
    let json = r#"{"paid":{"cents":1,"unit":"EUR"},"due":{"cents":2,"unit":"EUR"},"unit":"EUR"}"#;
    assert_eq!(
        read(&mut avro, &value(1, b"\x02\x00\x02\x04\x00\x00")),
        Ok(json.to_owned())
    );
    let error = AvroSchema::parse(order, &[]).unwrap_err();
    assert_eq!(error.to_string(), "there is no type `shop.types.Money`");
}

#[test]
fn schemas_that_cannot_be_read_with_say_why() {
    let list = r#"{"type": "record", "name": "shop.Node", "fields": [{"name": "next", "type": ["null", "Node"]}]}"#;
    let twice = |name: usize| {
        let next = name + 1;
        format!(
            r#"{{"type": "record", "name": "R{name}", "fields": [{{"name": "a", "type": "R{next}"}}, {{"name": "b", "type": "R{next}"}}]}}"#
        )
    };
    let mut doubling: Vec<String> = (1..40).map(twice).collect();
    doubling.push(r#"{"type": "enum", "name": "R40", "symbols": ["A"]}"#.to_owned());
    let reason = |schema: &str, referenced: &[String]| {
        AvroSchema::parse(schema, referenced)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        reason(list, &[]),
        "the record `shop.Node` holds itself, which is not read"
    );
    assert_eq!(
        reason(r#""string""#, &[]),
        "it is no record, and an event is one"
    );
    assert_eq!(
        reason(&holding(r#"{"type": "array", "items": "null"}"#), &[]),
        "the items of an array take no bytes"
    );
    assert_eq!(reason(&twice(0), &doubling), "it has more than 10000 types");
    assert_eq!(reason(&holding("7"), &[]), "7 is no type");
    assert!(reason("{", &[]).starts_with("it is no JSON: "));
}

#[test]
fn one_value_that_no_serializer_has_written_takes_no_other_along() {
    let schema = r#"{"type": "record", "name": "E", "fields": [{"name": "s", "type": "string"},
        {"name": "e", "type": {"type": "enum", "name": "Suit", "symbols": ["SPADES"]}}, {"name": "l", "type": {"type": "array", "items": "int"}}]}"#;
    let mut avro = knowing(1, schema);
    avro.learn(2, &parsed(&holding(r#""int""#), &[]));
    let good = value(1, b"\x02a\x00\x00");
    let two = [&good[..], &good[1..]].concat();
    let values: Vec<Vec<u8>> = vec![
        good.clone(),
        value(1, b""),
        value(1, b"\x02"),
        value(1, b"\x02a\x02\x00"),
        value(1, b"\x02\xff\x00\x00"),
        value(1, b"\x01\x00\x00"),
        value(1, b"\x02a\x00\xfe\xff\xff\xff\x0f"),
        value(1, b"\x02a\x00\x00\x00"),
        [&good[..], &good[..]].concat(),
        two,
        value(2, b"\x02"),
        value(2, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
        good.clone(),
    ];
    let read = avro.read(values.iter().map(Vec::as_slice));
    assert_eq!(read.len(), values.len());
    let row = br#"{"s":"a","e":"SPADES","l":[]}"#;
    for (index, read) in read.iter().enumerate() {
        match (index, read) {
            (0 | 12, read) => assert_eq!(read.as_deref(), Ok(&row[..])),
            (10, read) => assert_eq!(read.as_deref(), Ok(&br#"{"v":1}"#[..])),
            (_, read) => assert_eq!(read.as_ref().unwrap_err().code, "NotAvro", "{index}"),
        }
    }
}

#[test]
fn a_value_may_not_become_larger_than_an_event() {
    let long = "a".repeat(2_000);
    let of = format!(
        r#"{{"type": "array", "items": {{"type": "enum", "name": "N", "symbols": ["{long}"]}}}}"#
    );
    let mut encoding = zigzag(1_000);
    encoding.extend([0; 1_001]);
    let mut avro = knowing(1, &holding(&of));
    assert_eq!(read(&mut avro, &value(1, &encoding)), Err("TooLarge"));
}

#[test]
fn versions_of_a_schema_fill_the_same_columns_and_a_misfit_names_its_own() {
    let field = |name: &str, data_type, required| Field {
        name: name.to_owned(),
        part: Part::Value,
        path: vec![name.to_owned()],
        data_type,
        required,
    };
    let mut decoder = Decoder::new(Arc::new(EventSchema {
        fields: vec![
            field("id", FieldType::Uuid, true),
            field("ts", FieldType::Timestamp, true),
            field("amount", FieldType::Double, false),
        ],
        unknown: UnknownFields::Keep,
        format: EventFormat::Avro,
    }));
    let version = |more: &str| {
        format!(
            r#"{{"type": "record", "name": "O", "fields": [{{"name": "id", "type": {{"type": "string", "logicalType": "uuid"}}}},
            {{"name": "ts", "type": {{"type": "long", "logicalType": "timestamp-millis"}}}}{more}]}}"#
        )
    };
    let mut avro = knowing(1, &version(""));
    avro.learn(
        2,
        &parsed(&version(r#", {"name": "amount", "type": ["null", "double"]}, {"name": "note", "type": "string"}"#), &[]),
    );
    avro.learn(
        3,
        &parsed(&version(r#", {"name": "amount", "type": "string"}"#), &[]),
    );
    let id = |text: &str| [zigzag(text.len() as i64), text.as_bytes().to_vec()].concat();
    let good = "00000000-0000-0000-0000-000000000001";
    let amount = [&[2][..], &1.5f64.to_le_bytes()].concat();
    let values = [
        value(1, &[id(good), zigzag(1)].concat()),
        value(
            2,
            &[id(good), zigzag(1), amount, b"\x04hi".to_vec()].concat(),
        ),
        value(3, &[id(good), zigzag(1), b"\x02x".to_vec()].concat()),
        value(1, &[id("one"), zigzag(1)].concat()),
        value(1, &[id(good), zigzag(i64::MAX)].concat()),
    ];
    let events = avro.read(values.iter().map(Vec::as_slice));
    let events: Vec<Vec<u8>> = events.into_iter().map(Result::unwrap).collect();
    let decoded = decoder.decode(events.iter().map(Vec::as_slice));
    assert_eq!(decoded.rows, [0, 1]);
    assert_eq!(
        refused(&decoded.refused),
        [
            (2, Some("amount"), "WrongType"),
            (3, Some("id"), "BadUuid"),
            (4, Some("ts"), "BadTimestamp")
        ]
    );
    let extra = decoded.batch.column_by_name("_extra").unwrap();
    let extra = arrow::array::AsArray::as_string::<i32>(extra);
    assert_eq!(extra.value(1), r#"{"note":"hi"}"#);
}
