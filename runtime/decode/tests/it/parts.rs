//! What stands beside an event, as columns.
use std::sync::Arc;

use tidewheel_decode::{
    DecodeError, Decoder, EventRecord, EventSchema, Field, FieldType, Part, UnknownFields,
};

use crate::fixture::{cell, field};

#[derive(Clone, Copy)]
struct Carried<'a> {
    event: &'a str,
    key: Option<&'a [u8]>,
    tenant: Option<&'a [u8]>,
    timestamp_ms: i64,
}

const PLAIN: Carried<'_> = Carried {
    event: "{}",
    key: None,
    tenant: None,
    timestamp_ms: 1_500,
};

impl EventRecord for Carried<'_> {
    fn event(&self) -> &[u8] {
        self.event.as_bytes()
    }
    fn key(&self) -> Option<&[u8]> {
        self.key
    }
    fn header(&self, name: &str) -> Option<&[u8]> {
        self.tenant.filter(|_| name == "tenant")
    }
    fn timestamp_ms(&self) -> Option<i64> {
        Some(self.timestamp_ms)
    }
    fn offset(&self) -> Option<i64> {
        Some(41)
    }
    fn partition(&self) -> Option<i32> {
        Some(3)
    }
}

fn part(part: Part, data_type: FieldType, required: bool) -> Field {
    Field {
        part,
        path: Vec::new(),
        required,
        ..field("p", "p", data_type)
    }
}

/// The columns of one record as text.
fn decode(fields: Vec<Field>, record: Carried<'_>) -> Result<Vec<String>, DecodeError> {
    let schema = EventSchema {
        fields,
        unknown: UnknownFields::Drop,
        format: tidewheel_decode::EventFormat::Json,
    };
    schema.validate().unwrap();
    let mut decoded = Decoder::new(Arc::new(schema)).decode_records([record]);
    match decoded.refused.pop() {
        Some((_, error)) => Err(error),
        None => Ok(decoded
            .batch
            .columns()
            .iter()
            .map(|column| cell(column, 0))
            .collect()),
    }
}

fn key(data_type: FieldType, key: &[u8]) -> Result<String, String> {
    let record = Carried {
        key: Some(key),
        ..PLAIN
    };
    let values = decode(vec![part(Part::Key, data_type, false)], record);
    values
        .map(|mut values| values.remove(0))
        .map_err(|error| format!("{} {error}", error.code))
}

#[test]
fn parts_stand_among_the_columns_of_the_event_in_the_order_of_the_schema() {
    let named = |name: &str, field: Field| Field {
        name: name.to_owned(),
        ..field
    };
    let fields = vec![
        named("k", part(Part::Key, FieldType::Text, true)),
        field("n", "a.n", FieldType::Bigint),
        named(
            "t",
            part(Part::Header("tenant".into()), FieldType::Text, true),
        ),
        named("at", part(Part::Timestamp, FieldType::Timestamp, true)),
        named("o", part(Part::Offset, FieldType::Bigint, true)),
        named("p", part(Part::Partition, FieldType::Bigint, true)),
        named("again", part(Part::Key, FieldType::Json, false)),
    ];
    let record = Carried {
        event: r#"{"a": {"n": 7}, "k": "of the event"}"#,
        key: Some(b"12"),
        tenant: Some("ü".as_bytes()),
        ..PLAIN
    };
    assert_eq!(
        decode(fields, record).unwrap(),
        ["12", "7", "ü", "1500000", "41", "3", "12"]
    );
}

#[test]
fn keys_have_the_type_of_their_column() {
    use FieldType::*;
    let good = [
        (Text, "\"a\" ", "\"a\" "),
        (Text, "", ""),
        (Bigint, "-42", "-42"),
        (Double, "1.5", "1.5"),
        (Boolean, "true", "true"),
        (Timestamp, "1500", "1500000"),
        (Timestamp, "1970-01-01T01:00:01.5+01:00", "1500000"),
        (
            Uuid,
            "6F1C2F5E0B5A4C399D552F7F4F3A1B10",
            "6f1c2f5e-0b5a-4c39-9d55-2f7f4f3a1b10",
        ),
        (Json, " {\"a\": [1]} ", "{\"a\": [1]}"),
        (Json, "null", "null"),
    ];
    for (data_type, text, value) in good {
        assert_eq!(
            key(data_type, text.as_bytes()).as_deref(),
            Ok(value),
            "{data_type}"
        );
    }
}

#[test]
fn what_does_not_fit_is_refused_by_name_of_column_and_part() {
    use FieldType::*;
    let bad: [(FieldType, &[u8]); 10] = [
        (Text, b"\xff"),
        (Text, b"a\0b"),
        (Bigint, b"12x"),
        (Bigint, b""),
        (Bigint, b"1.5"),
        (Boolean, b"yes"),
        (Timestamp, b"yesterday"),
        (Timestamp, b"999999999999999999"),
        (Uuid, b"6f1c"),
        (Json, b"{\"a\": }"),
    ];
    let texts: Vec<String> = bad
        .iter()
        .map(|(data_type, bytes)| key(*data_type, bytes).unwrap_err())
        .collect();
    insta::assert_snapshot!(texts.join("\n"));
}

#[test]
fn what_is_not_there_is_null_or_refuses_the_event() {
    let of = |required| part(Part::Header("tenant".into()), FieldType::Text, required);
    assert_eq!(decode(vec![of(false)], PLAIN).unwrap(), ["NULL"]);
    let error = decode(vec![of(true)], PLAIN).unwrap_err();
    assert_eq!(
        (error.code, error.to_string().as_str()),
        (
            "Missing",
            "p: the record has no header `tenant`, but it is required"
        )
    );
}

#[test]
fn a_part_needs_a_column_that_can_hold_it() {
    let schema = EventSchema {
        fields: vec![part(Part::Offset, FieldType::Text, false)],
        unknown: UnknownFields::Drop,
        format: tidewheel_decode::EventFormat::Json,
    };
    assert_eq!(
        schema.validate().unwrap_err().to_string(),
        "the field `p` cannot hold the record's offset; give it the type bigint"
    );
}
