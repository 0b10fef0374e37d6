//! The message key of an event or a row: what decides its partition.
use std::borrow::Cow;

use arrow::array::{Array as _, AsArray as _, Float64Array, RecordBatch, StringArray};
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bytes::Bytes;

/// How the message key is made of columns.
///
/// - No key columns: no key, the log places the event anywhere.
/// - One: its value as text. Text, uuid and json as they are decoded, numbers in decimal, booleans `true` and `false`,
///   timestamps as RFC 3339 in UTC, NULL as the empty text.
/// - Several: a JSON array of the values, without spaces; texts, uuids, timestamps, dates and numerics as strings, NULL as `null`.
///
/// Doubles that are no numbers are `Infinity`, `-Infinity` and `NaN`, strings within an array.
///
/// Equal values make equal keys, so they share a partition; that holds for NULL as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageKey {
    columns: Vec<usize>,
}

impl MessageKey {
    /// The key made of these columns (indices into the schema of the rows).
    pub fn new(columns: Vec<usize>) -> Self {
        Self { columns }
    }

    /// Binds the key to a batch of decoded events, or of rows.
    pub fn bind<'a>(&self, batch: &'a RecordBatch) -> BoundKey<'a> {
        let options = FormatOptions::default();
        let columns = self.columns.iter().map(|&index| {
            let array = batch.column(index);
            let is_json = batch
                .schema_ref()
                .field(index)
                .metadata()
                .get("tidewheel.type")
                .is_some_and(|name| name == "json");
            let values = match array.data_type() {
                DataType::Utf8 => Values::Text(array.as_string()),
                DataType::Float64 => Values::Doubles(array.as_primitive()),
                _ => Values::Formatted(
                    array.as_ref(),
                    ArrayFormatter::try_new(array.as_ref(), &options).ok(),
                ),
            };
            let is_number = matches!(
                array.data_type(),
                DataType::Int64 | DataType::Float64 | DataType::Boolean
            );
            let quoted = !is_json && !is_number;
            KeyColumn {
                index,
                values,
                quoted,
            }
        });
        BoundKey {
            columns: columns.collect(),
        }
    }
}

/// A [`MessageKey`] over the rows of one batch.
pub struct BoundKey<'a> {
    columns: Vec<KeyColumn<'a>>,
}

struct KeyColumn<'a> {
    index: usize,
    values: Values<'a>,
    /// Whether values of its type are strings within a JSON array.
    quoted: bool,
}

enum Values<'a> {
    Text(&'a StringArray),
    Doubles(&'a Float64Array),
    /// The formatter is there for every type that events can have.
    Formatted(&'a dyn arrow::array::Array, Option<ArrayFormatter<'a>>),
}

impl BoundKey<'_> {
    /// The key of a row. `filled` gives the value of columns that were filled in after decoding.
    pub fn of<'r>(
        &'r self,
        row: usize,
        filled: impl Fn(usize) -> Option<&'r str>,
    ) -> Option<Bytes> {
        let value = |column: &'r KeyColumn<'_>| {
            filled(column.index)
                .map(Cow::Borrowed)
                .or_else(|| column.text(row))
        };
        match self.columns.as_slice() {
            [] => None,
            [column] => Some(match value(column).unwrap_or_default() {
                Cow::Borrowed(text) => Bytes::copy_from_slice(text.as_bytes()),
                Cow::Owned(text) => Bytes::from(text),
            }),
            columns => {
                let mut array = String::from("[");
                for (position, column) in columns.iter().enumerate() {
                    if position > 0 {
                        array.push(',');
                    }
                    match value(column) {
                        None => array.push_str("null"),
                        Some(text) if column.is_string(row) => {
                            array.push_str(&serde_json::Value::from(text.into_owned()).to_string())
                        }
                        Some(text) => array.push_str(&text),
                    }
                }
                array.push(']');
                Some(Bytes::from(array))
            }
        }
    }
}

impl KeyColumn<'_> {
    /// Whether the value is a string within a JSON array.
    fn is_string(&self, row: usize) -> bool {
        match &self.values {
            Values::Doubles(doubles) => !doubles.value(row).is_finite(),
            Values::Text(_) | Values::Formatted(..) => self.quoted,
        }
    }

    fn text(&self, row: usize) -> Option<Cow<'_, str>> {
        match &self.values {
            Values::Text(texts) => texts.is_valid(row).then(|| Cow::Borrowed(texts.value(row))),
            Values::Doubles(doubles) => doubles.is_valid(row).then(|| double(doubles.value(row))),
            Values::Formatted(array, formatter) => array.is_valid(row).then(|| {
                formatter
                    .as_ref()
                    .map(|formatter| Cow::Owned(formatter.value(row).to_string()))
            })?,
        }
    }
}

fn double(value: f64) -> Cow<'static, str> {
    if value == f64::INFINITY {
        Cow::Borrowed("Infinity")
    } else if value == f64::NEG_INFINITY {
        Cow::Borrowed("-Infinity")
    } else if value.is_nan() {
        Cow::Borrowed("NaN")
    } else {
        Cow::Owned(format!("{value:?}"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use arrow::array::{
        ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array,
        TimestampMicrosecondArray,
    };
    use arrow::datatypes::{Field, Schema};

    use super::*;

    fn batch() -> RecordBatch {
        let columns: Vec<(&str, ArrayRef)> = vec![
            (
                "text",
                Arc::new(StringArray::from(vec![Some("a\"ü"), None])),
            ),
            ("bigint", Arc::new(Int64Array::from(vec![Some(-7), None]))),
            (
                "double",
                Arc::new(Float64Array::from(vec![Some(1.0), None])),
            ),
            (
                "boolean",
                Arc::new(BooleanArray::from(vec![Some(true), None])),
            ),
            (
                "timestamp",
                Arc::new(
                    TimestampMicrosecondArray::from(vec![Some(1_500_000), None])
                        .with_timezone("+00:00"),
                ),
            ),
            (
                "json",
                Arc::new(StringArray::from(vec![Some(r#"{"a":1}"#), None])),
            ),
        ];
        let fields = columns.iter().map(|(name, array)| {
            let field = Field::new(*name, array.data_type().clone(), true);
            if *name == "json" {
                field.with_metadata(HashMap::from([(
                    "tidewheel.type".to_owned(),
                    "json".to_owned(),
                )]))
            } else {
                field
            }
        });
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        RecordBatch::try_new(
            schema,
            columns.into_iter().map(|(_, array)| array).collect(),
        )
        .unwrap()
    }

    fn key(columns: &[usize], row: usize) -> Option<String> {
        let key = MessageKey::new(columns.to_vec())
            .bind(&batch())
            .of(row, |_| None)?;
        Some(String::from_utf8(key.to_vec()).unwrap())
    }

    #[test]
    fn one_column_is_its_text() {
        let keys: Vec<_> = (0..6).map(|column| key(&[column], 0).unwrap()).collect();
        assert_eq!(
            keys,
            [
                "a\"ü",
                "-7",
                "1.0",
                "true",
                "1970-01-01T00:00:01.500Z",
                r#"{"a":1}"#
            ]
        );
        assert_eq!(key(&[1], 1).unwrap(), "");
    }

    #[test]
    fn several_columns_are_a_json_array_of_the_values() {
        assert_eq!(
            key(&[0, 1, 2, 3, 4, 5], 0).unwrap(),
            r#"["a\"ü",-7,1.0,true,"1970-01-01T00:00:01.500Z",{"a":1}]"#
        );
        assert_eq!(
            key(&[0, 1, 2, 3, 4, 5], 1).unwrap(),
            "[null,null,null,null,null,null]"
        );
    }

    #[test]
    fn no_column_is_no_key() {
        assert_eq!(key(&[], 0), None);
    }

    #[test]
    fn a_value_that_was_filled_in_is_used() {
        let batch = batch();
        let key = MessageKey::new(vec![0, 1]).bind(&batch);
        assert_eq!(
            key.of(1, |column| (column == 0).then_some("id")).unwrap(),
            r#"["id",null]"#
        );
    }

    #[test]
    fn what_json_has_no_value_for_is_a_string() {
        let columns: Vec<(&str, ArrayRef)> = vec![
            (
                "x",
                Arc::new(Float64Array::from(vec![f64::INFINITY, f64::NAN, 1e300])),
            ),
            ("day", Arc::new(Date32Array::from(vec![0, 1, 2]))),
            (
                "price",
                Arc::new(
                    Decimal128Array::from(vec![150, -5, 0])
                        .with_precision_and_scale(10, 2)
                        .unwrap(),
                ),
            ),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let key = MessageKey::new(vec![0, 1, 2]);
        let keys = (0..3).map(|row| key.bind(&batch).of(row, |_| None).unwrap());
        assert_eq!(
            keys.collect::<Vec<_>>(),
            [
                r#"["Infinity","1970-01-01","1.50"]"#,
                r#"["NaN","1970-01-02","-0.05"]"#,
                r#"[1e300,"1970-01-03","0.00"]"#
            ]
        );
    }
}
