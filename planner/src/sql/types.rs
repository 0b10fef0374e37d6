//! Types of columns: what SQL computes, what steps pass on, what tables store.
use std::collections::HashMap;

use arrow::datatypes::{DataType, Field, TimeUnit};

use crate::plan::ColumnType;

/// Metadata that marks a text column as a uuid or as json.
pub const TYPE_KEY: &str = "tidewheel.type";

/// The type of timestamps: microseconds in UTC.
pub(crate) fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()))
}

/// The type that a result column of type `data_type` is passed on as; none where no table stores such values.
pub(crate) fn stored(data_type: &DataType) -> Option<DataType> {
    Some(match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::Dictionary(_, values) => stored(values)?,
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => DataType::Int64,
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => DataType::Int64,
        DataType::Float16 | DataType::Float32 | DataType::Float64 => DataType::Float64,
        DataType::Boolean => DataType::Boolean,
        DataType::Timestamp(_, _) => timestamp(),
        DataType::Date32 | DataType::Date64 => DataType::Date32,
        DataType::Decimal32(p, s) | DataType::Decimal64(p, s) | DataType::Decimal128(p, s) => {
            DataType::Decimal128(*p, *s)
        }
        DataType::Decimal256(p, s) if *p <= 38 => DataType::Decimal128(*p, *s),
        _ => return None,
    })
}

/// The column type of a field whose type is one that [`stored`] yields.
pub(crate) fn column_type(field: &Field) -> Option<ColumnType> {
    Some(match field.data_type() {
        DataType::Utf8 => match field.metadata().get(TYPE_KEY).map(String::as_str) {
            Some("uuid") => ColumnType::Uuid,
            Some("json") => ColumnType::Json,
            _ => ColumnType::Text,
        },
        DataType::Int64 => ColumnType::Bigint,
        DataType::Float64 => ColumnType::Double,
        DataType::Boolean => ColumnType::Boolean,
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => ColumnType::Timestamp,
        DataType::Date32 => ColumnType::Date,
        DataType::Decimal128(precision, scale) => ColumnType::Numeric {
            precision: *precision,
            scale: *scale,
        },
        _ => return None,
    })
}

/// The metadata of a column that is passed through: its `tidewheel.type`, if any.
pub(crate) fn marker(field: &Field) -> HashMap<String, String> {
    field
        .metadata()
        .iter()
        .filter(|(key, _)| *key == TYPE_KEY)
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect()
}

/// What a type is called in messages: as in SQL, not as in Arrow.
pub(crate) fn name(data_type: &DataType) -> String {
    match data_type {
        DataType::Null => "NULL".to_owned(),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            format!("a list of {}", name(item.data_type()))
        }
        DataType::Struct(_) => "a struct".to_owned(),
        DataType::Map(_, _) => "a map".to_owned(),
        DataType::Interval(_) | DataType::Duration(_) => "an interval".to_owned(),
        DataType::Time32(_) | DataType::Time64(_) => "a time of day".to_owned(),
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => "bytes".to_owned(),
        DataType::Decimal256(p, s) => format!("a decimal of {p} digits, {s} after the point"),
        other => match stored(other) {
            Some(DataType::Utf8) => "text".to_owned(),
            Some(DataType::Int64) => "bigint".to_owned(),
            Some(DataType::Float64) => "double".to_owned(),
            Some(DataType::Boolean) => "boolean".to_owned(),
            Some(DataType::Timestamp(_, _)) => "timestamp".to_owned(),
            Some(DataType::Date32) => "date".to_owned(),
            Some(DataType::Decimal128(p, s)) => format!("decimal({p}, {s})"),
            _ => other.to_string(),
        },
    }
}

/// Plain words for Arrow's names of types in a message of DataFusion.
pub(crate) fn plain_words(message: &str) -> String {
    let mut text = message.to_owned();
    for (arrow, plain) in [
        ("Timestamp(Microsecond, Some(\"+00:00\"))", "timestamp"),
        ("Timestamp(µs, \"+00:00\")", "timestamp"),
        ("Timestamp(ns)", "timestamp"),
        ("Interval(MonthDayNano)", "interval"),
        ("Duration(µs)", "interval"),
        ("Decimal128(", "decimal("),
        ("Decimal256(", "decimal("),
        ("Utf8View", "text"),
        ("LargeUtf8", "text"),
        ("Utf8", "text"),
        ("UInt64", "bigint"),
        ("UInt32", "bigint"),
        ("Int64", "bigint"),
        ("Int32", "bigint"),
        ("Float64", "double"),
        ("Boolean", "boolean"),
        ("Date32", "date"),
    ] {
        text = text.replace(arrow, plain);
    }
    text
}
