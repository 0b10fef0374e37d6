//! From rows to SQLite values.
use sqlx::{Arguments as _, error::BoxDynError, sqlite::SqliteArguments};

use super::key::KeyBytes;
use crate::{
    rows::{Rows, Typed, Values},
    time,
};

/// Adds the values of a row, in the order of the columns.
pub(super) fn bind(
    rows: &Rows<'_>,
    row: usize,
    arguments: &mut SqliteArguments,
) -> Result<(), BoxDynError> {
    rows.columns()
        .iter()
        .try_for_each(|column| bind_value(column, row, arguments))
}

/// The `_key` of a row.
pub(super) fn key(rows: &Rows<'_>, row: usize) -> Vec<u8> {
    let mut key = KeyBytes::default();
    for column in rows.key() {
        push_key(column, row, &mut key);
    }
    key.into_bytes()
}

fn bind_value(
    column: &Values<'_>,
    row: usize,
    arguments: &mut SqliteArguments,
) -> Result<(), BoxDynError> {
    if column.is_null(row) {
        return arguments.add(None::<i64>);
    }
    match column.typed() {
        Typed::Text(array) | Typed::Uuid(array) | Typed::Json(array) => {
            arguments.add(array.value(row))
        }
        Typed::Integer(array) => arguments.add(array.value(row)),
        Typed::Double(array) => arguments.add(array.value(row)),
        Typed::Boolean(array) => arguments.add(array.value(row)),
        Typed::Timestamp(array) => arguments.add(time::timestamp_text(array.value(row))),
        Typed::Numeric(array) => arguments.add(array.value_as_string(row)),
        Typed::Date(array) => arguments.add(time::date_text(array.value(row))),
    }
}

fn push_key(column: &Values<'_>, row: usize, key: &mut KeyBytes) {
    if column.is_null(row) {
        return key.push_null();
    }
    match column.typed() {
        Typed::Text(array) | Typed::Uuid(array) | Typed::Json(array) => {
            key.push_text(array.value(row));
        }
        Typed::Integer(array) => key.push_integer(array.value(row)),
        Typed::Double(array) => key.push_double(array.value(row)),
        Typed::Boolean(array) => key.push_boolean(array.value(row)),
        Typed::Timestamp(array) => key.push_integer(array.value(row)),
        Typed::Numeric(array) => key.push_decimal(array.value(row)),
        Typed::Date(array) => key.push_integer(i64::from(array.value(row))),
    }
}
