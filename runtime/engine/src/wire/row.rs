//! Rows on topics of outputs: JSON objects, message keys, and headers that say where a row comes from.
//!
//! | part | |
//! |---|---|
//! | key | made of the key columns as that of an event ([`MessageKey`]) |
//! | value | a JSON object with a member for each column, in their order; of a window's row that was removed: none |
//! | headers | those that the output declares; then `_generation`, `_partition`, `_offset`, and `_ordinal` or `_revision`, in decimal; of what removes a row the first three of these |
//!
//! In the object numbers and booleans are JSON's own, NULL and NaN are `null`, an infinite double is `"Infinity"` or `"-Infinity"`, json is
//! what it says; everything else is text: timestamps RFC 3339 in UTC, numerics exact.
use arrow::array::{
    Array, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray,
};
use arrow::datatypes::{DataType, Int64Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bytes::Bytes;
use tidewheel_decode::{BoundKey, MessageKey};
use tidewheel_log::{Header, NewRecord};
use tidewheel_planner::TYPE_KEY;
use tidewheel_planner::plan::{TableKind, Topic};

use super::WireError;

/// How many columns at the end of a batch say where its rows come from.
const OURS: usize = 4;
/// The first three of them.
const PLACE: [&str; 3] = ["_generation", "_partition", "_offset"];

/// Rows of an output, ours at their end, as records of its topic.
pub(crate) struct TopicRows<'a> {
    topic: &'a Topic,
    /// Where rows without a key go.
    keyless: i32,
    key: BoundKey<'a>,
    members: Vec<Member<'a>>,
    /// Values of declared headers, with their columns.
    headers: Vec<(BoundKey<'a>, &'a dyn Array)>,
    position: Vec<&'a Int64Array>,
}

/// A column as a member of the objects.
struct Member<'a> {
    /// Its name in quotes and the colon.
    name: Vec<u8>,
    column: &'a dyn Array,
    values: Values<'a>,
}

enum Values<'a> {
    Text(&'a StringArray),
    Json(&'a StringArray),
    Bigint(&'a Int64Array),
    Double(&'a Float64Array),
    Boolean(&'a BooleanArray),
    /// Everything else is text.
    Formatted(ArrayFormatter<'a>),
}

impl<'a> TopicRows<'a> {
    /// The rows of `batch`; `partition` is that of the task.
    pub(crate) fn new(
        topic: &'a Topic,
        batch: &'a RecordBatch,
        partition: i32,
    ) -> Result<Self, WireError> {
        let own_from = batch.num_columns().saturating_sub(OURS);
        let position = batch.columns()[own_from..].iter();
        let members = (0..own_from).map(|index| Member::new(batch, index));
        let header = |column: usize| {
            (
                MessageKey::new(vec![column]).bind(batch),
                batch.column(column).as_ref(),
            )
        };
        let partitions = i32::try_from(topic.partitions).unwrap_or(i32::MAX).max(1);
        Ok(Self {
            topic,
            keyless: partition.rem_euclid(partitions),
            key: MessageKey::new(topic.key.clone()).bind(batch),
            members: members.collect::<Result<_, _>>()?,
            headers: topic.headers.iter().map(|of| header(of.column)).collect(),
            position: position
                .map(|column| column.as_primitive::<Int64Type>())
                .collect(),
        })
    }

    /// A row as a record, or why the topic cannot have it.
    pub(crate) fn record(&self, row: usize) -> Result<NewRecord, String> {
        let is_null = |column: &&usize| self.members[**column].column.is_null(row);
        if self.topic.kind == TableKind::Rows
            && let Some(&column) = self.topic.key.iter().find(is_null)
        {
            let name = &self.topic.columns[column].name;
            return Err(format!(
                "the column `{name}` of the message key is NULL: leave such rows out, or give it another value"
            ));
        }
        let record = self.with_value(row, Some(self.object(row).into()));
        let bytes = super::size_bytes(&record);
        if bytes > Topic::MAX_RECORD_BYTES {
            let limit = Topic::MAX_RECORD_BYTES;
            return Err(format!(
                "the row takes {bytes} bytes as a record and a topic takes at most {limit}: leave columns out"
            ));
        }
        Ok(record)
    }

    /// What removes a row of a window.
    pub(crate) fn tombstone(&self, row: usize) -> NewRecord {
        self.with_value(row, None)
    }

    fn with_value(&self, row: usize, value: Option<Bytes>) -> NewRecord {
        let key = self.key.of(row, |_| None);
        NewRecord {
            topic: self.topic.name.clone(),
            partition: key.is_none().then_some(self.keyless),
            key,
            headers: self.headers(row, value.is_some()),
            value,
        }
    }

    fn headers(&self, row: usize, is_row: bool) -> Vec<Header> {
        let place = PLACE.into_iter().zip(&self.position);
        let place = place.map(|(name, values)| number_header(name, values.value(row)));
        if !is_row {
            return place.collect();
        }
        let declared = self.topic.headers.iter().zip(&self.headers);
        let declared = declared.filter(|(_, (_, column))| column.is_valid(row));
        let mut headers: Vec<Header> = declared
            .map(|(header, (text, _))| Header {
                name: header.name.clone(),
                value: text.of(row, |_| None).unwrap_or_default(),
            })
            .collect();
        headers.extend(place);
        let count = match self.topic.kind {
            TableKind::Rows => "_ordinal",
            TableKind::Windows { .. } => "_revision",
        };
        let values = self.position.last();
        headers.extend(values.map(|values| number_header(count, values.value(row))));
        headers
    }

    fn object(&self, row: usize) -> Vec<u8> {
        let mut text = vec![b'{'];
        for (index, member) in self.members.iter().enumerate() {
            if index > 0 {
                text.push(b',');
            }
            text.extend_from_slice(&member.name);
            member.write(row, &mut text);
        }
        text.push(b'}');
        text
    }
}

/// What removes the row of `key`; `place`: generation, partition and offset.
pub(crate) fn removal(topic: &Topic, key: Bytes, place: [i64; 3]) -> NewRecord {
    let headers = PLACE.into_iter().zip(place);
    NewRecord {
        topic: topic.name.clone(),
        partition: None,
        key: Some(key),
        value: None,
        headers: headers
            .map(|(name, value)| number_header(name, value))
            .collect(),
    }
}

fn number_header(name: &str, value: i64) -> Header {
    Header {
        name: name.to_owned(),
        value: value.to_string().into(),
    }
}

impl<'a> Member<'a> {
    fn new(batch: &'a RecordBatch, index: usize) -> Result<Self, WireError> {
        let (column, schema) = (batch.column(index).as_ref(), batch.schema_ref());
        let field = schema.field(index);
        let is_json = field
            .metadata()
            .get(TYPE_KEY)
            .is_some_and(|of| of == "json");
        let values = match column.data_type() {
            DataType::Utf8 if is_json => Values::Json(column.as_string()),
            DataType::Utf8 => Values::Text(column.as_string()),
            DataType::Int64 => Values::Bigint(column.as_primitive()),
            DataType::Float64 => Values::Double(column.as_primitive()),
            DataType::Boolean => Values::Boolean(column.as_boolean()),
            _ => Values::Formatted(
                ArrayFormatter::try_new(column, &FormatOptions::default())
                    .map_err(|error| WireError::new("row", error))?,
            ),
        };
        let mut name = super::json(field.name());
        name.push(b':');
        Ok(Self {
            name,
            column,
            values,
        })
    }

    fn write(&self, row: usize, text: &mut Vec<u8>) {
        if self.column.is_null(row) {
            return text.extend_from_slice(b"null");
        }
        match &self.values {
            Values::Text(values) => put(values.value(row), text),
            Values::Json(values) => text.extend_from_slice(values.value(row).as_bytes()),
            Values::Bigint(values) => put(values.value(row), text),
            Values::Double(values) => match values.value(row) {
                f64::INFINITY => put("Infinity", text),
                f64::NEG_INFINITY => put("-Infinity", text),
                value => put(value, text),
            },
            Values::Boolean(values) => put(values.value(row), text),
            Values::Formatted(values) => put(values.value(row).to_string(), text),
        }
    }
}

/// A value as JSON; NaN is `null`.
fn put(value: impl serde::Serialize, text: &mut Vec<u8>) {
    // Neither numbers nor texts nor memory can fail.
    let _ = serde_json::to_writer(text, &value);
}
