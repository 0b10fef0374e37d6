//! Schemas and decoded values in a form that tests can write down.
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimestampMicrosecondType};
use tidewheel_decode::{
    DecodeError, Decoder, EventFormat, EventSchema, Field, FieldType, Part, UnknownFields,
};

/// A field whose path is written with dots.
pub(crate) fn field(name: &str, path: &str, data_type: FieldType) -> Field {
    Field {
        name: name.to_owned(),
        part: Part::Value,
        path: path.split('.').map(str::to_owned).collect(),
        data_type,
        required: false,
    }
}

pub(crate) fn required(name: &str, path: &str, data_type: FieldType) -> Field {
    Field {
        required: true,
        ..field(name, path, data_type)
    }
}

/// Which events were refused, the field, and the code.
pub(crate) fn refused(refused: &[(u32, DecodeError)]) -> Vec<(u32, Option<&str>, &'static str)> {
    let refused = refused.iter();
    refused
        .map(|(index, error)| (*index, error.field.as_deref(), error.code))
        .collect()
}

pub(crate) fn decoder(fields: Vec<Field>, unknown: UnknownFields) -> Decoder {
    let schema = EventSchema {
        fields,
        unknown,
        format: EventFormat::Json,
    };
    schema.validate().unwrap();
    Decoder::new(Arc::new(schema))
}

/// A decoder with one column `v` of that type, at member `v`.
pub(crate) fn one_column(data_type: FieldType) -> Decoder {
    decoder(vec![field("v", "v", data_type)], UnknownFields::Drop)
}

/// The columns of one event as text, `NULL` for null.
pub(crate) fn decode_one(decoder: &mut Decoder, event: &[u8]) -> Result<Vec<String>, DecodeError> {
    let mut decoded = decoder.decode([event]);
    if let Some((index, error)) = decoded.refused.pop() {
        assert_eq!(index, 0);
        assert!(decoded.rows.is_empty() && decoded.batch.num_rows() == 0);
        return Err(error);
    }
    assert_eq!(decoded.rows, [0]);
    assert_eq!(decoded.batch.num_rows(), 1);
    Ok(decoded
        .batch
        .columns()
        .iter()
        .map(|column| cell(column, 0))
        .collect())
}

/// One value as text.
pub(crate) fn cell(column: &dyn Array, row: usize) -> String {
    if column.is_null(row) {
        return "NULL".to_owned();
    }
    match column.data_type() {
        DataType::Utf8 => column.as_string::<i32>().value(row).to_owned(),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::Float64 => format!("{:?}", column.as_primitive::<Float64Type>().value(row)),
        DataType::Boolean => column.as_boolean().value(row).to_string(),
        DataType::Timestamp(..) => column
            .as_primitive::<TimestampMicrosecondType>()
            .value(row)
            .to_string(),
        other => panic!("no column is {other}"),
    }
}

/// The schema of the web-site events.
pub(crate) fn clicks() -> Vec<Field> {
    vec![
        required("event_id", "event_id", FieldType::Uuid),
        required("source", "source", FieldType::Text),
        required("ts", "timestamp", FieldType::Timestamp),
        field("user_id", "attributes.user_id", FieldType::Text),
        field("metric", "attributes.metric", FieldType::Double),
        field("code", "attributes.code", FieldType::Bigint),
        field("cached", "attributes.cached", FieldType::Boolean),
        field("geo", "attributes.geo", FieldType::Json),
    ]
}
