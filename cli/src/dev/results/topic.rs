//! Rows of outputs over topics, read from the log.
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array as _, AsArray as _};
use bytes::Bytes;
use serde_json::Value;
use tidewheel_decode::{Decoder, EventSchema, Field, FieldType, Part, UnknownFields};
use tidewheel_log::{Log, LogError, Record};
use tidewheel_planner::plan::{Column, ColumnType, TableKind, Topic};
use tidewheel_sinks::embedded::Row;

const FETCH_RECORDS: usize = 1_000;
const FETCH_BYTES: usize = 8 << 20;
const FETCH_WAIT: Duration = Duration::from_millis(100);

/// Gives every row to `each`: rows as they stand in the topic, partition by partition; windows by their start, each once.
pub(crate) async fn for_each_row(
    log: &dyn Log,
    topic: &Topic,
    mut each: impl FnMut(Row) -> ControlFlow<()>,
) -> Result<(), LogError> {
    if topic.kind == TableKind::Rows {
        return read(log, topic, i64::MAX, |_, _, row| match row {
            Some(row) => each(row),
            None => ControlFlow::Continue(()),
        })
        .await;
    }
    for (_, row) in windows(log, topic, i64::MAX).await? {
        if each(row).is_break() {
            break;
        }
    }
    Ok(())
}

/// How many rows the topic has.
pub(crate) async fn count(log: &dyn Log, topic: &Topic) -> Result<u64, LogError> {
    let mut rows = 0;
    if topic.kind == TableKind::Rows {
        read(log, topic, i64::MAX, |_, _, _| {
            rows += 1;
            ControlFlow::Continue(())
        })
        .await?;
    } else {
        rows = windows(log, topic, i64::MAX).await?.len() as u64;
    }
    Ok(rows)
}

/// The newest rows, newest first: rows as they were written, windows from the latest start. Of each partition only the end is looked at.
pub(crate) async fn newest(log: &dyn Log, topic: &Topic, limit: u32) -> Result<Vec<Row>, LogError> {
    // Transactions leave gaps between offsets.
    let within = i64::from(limit) * 4;
    let mut rows = Vec::new();
    if topic.kind == TableKind::Rows {
        let mut found = Vec::new();
        read(log, topic, within, |partition, record, row| {
            let place = (record.append_time_ms, partition, record.offset);
            found.extend(row.map(|row| (place, row)));
            ControlFlow::Continue(())
        })
        .await?;
        found.sort_by_key(|(place, _)| *place);
        rows.extend(found.into_iter().map(|(_, row)| row));
    } else {
        rows.extend(windows(log, topic, within).await?.into_values());
    }
    rows.reverse();
    rows.truncate(limit as usize);
    Ok(rows)
}

/// The rows of windows, by start and key: the newest record of each key, unless it has no value.
async fn windows(
    log: &dyn Log,
    topic: &Topic,
    within: i64,
) -> Result<BTreeMap<(String, Bytes), Row>, LogError> {
    let mut by_key: BTreeMap<Bytes, Row> = BTreeMap::new();
    read(log, topic, within, |_, record, row| {
        if let Some(key) = &record.key {
            match row {
                Some(row) => by_key.insert(key.clone(), row),
                None => by_key.remove(key),
            };
        }
        ControlFlow::Continue(())
    })
    .await?;
    let start = |row: &Row| {
        let start = row.get("window_start").and_then(|start| start.as_str());
        // Without its `Z` a whole second comes before its fractions.
        start.unwrap_or_default().trim_end_matches('Z').to_owned()
    };
    Ok(by_key
        .into_iter()
        .map(|(key, row)| ((start(&row), key), row))
        .collect())
}

/// Gives the records of the topic to `each`, with their partitions and rows (none where a row is removed): all of them, or those at the
/// end of each partition.
async fn read(
    log: &dyn Log,
    topic: &Topic,
    within: i64,
    mut each: impl FnMut(i32, &Record, Option<Row>) -> ControlFlow<()>,
) -> Result<(), LogError> {
    let mut objects = Objects::new(topic);
    let partitions = log
        .topic(&topic.name)
        .await?
        .map_or(0, |info| info.partitions);
    for partition in 0..partitions {
        let offsets = log.offsets(&topic.name, partition).await?;
        let from = offsets.earliest.max(offsets.end.saturating_sub(within));
        let mut reader = log.reader(&topic.name, partition, from).await?;
        let mut next_offset = from;
        while next_offset < offsets.end {
            let fetched = reader.fetch(FETCH_RECORDS, FETCH_BYTES, FETCH_WAIT).await?;
            next_offset = fetched.next_offset;
            let rows = objects.rows(&fetched.records);
            for (record, row) in fetched.records.iter().zip(rows) {
                if each(partition, record, row).is_break() {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

/// Reads the objects of a topic. Doubles keep all of their digits, which the JSON reader of programs does not promise.
struct Objects<'a> {
    columns: &'a [Column],
    decoder: Decoder,
}

impl<'a> Objects<'a> {
    fn new(topic: &'a Topic) -> Self {
        let member = |(index, column): (usize, &Column)| Field {
            name: format!("column_{index}"),
            part: Part::Value,
            path: vec![column.name.clone()],
            data_type: FieldType::Json,
            required: false,
        };
        let schema = EventSchema {
            fields: topic.columns.iter().enumerate().map(member).collect(),
            unknown: UnknownFields::Drop,
            format: tidewheel_decode::EventFormat::Json,
        };
        Self {
            columns: &topic.columns,
            decoder: Decoder::new(Arc::new(schema)),
        }
    }

    /// The rows of records, none for those that have none.
    fn rows(&mut self, records: &[Record]) -> Vec<Option<Row>> {
        let events = records.iter().map(|record| record.value.as_deref());
        let decoded = self.decoder.decode(events.map(Option::unwrap_or_default));
        let mut rows = vec![None; records.len()];
        for (index, &record) in decoded.rows.iter().enumerate() {
            let members = self.columns.iter().zip(decoded.batch.columns());
            let members = members.map(|(column, texts)| {
                let texts = texts.as_string::<i32>();
                let text = texts.is_valid(index).then(|| texts.value(index));
                (column.name.clone(), value(column.data_type, text))
            });
            rows[record as usize] = Some(members.collect());
        }
        rows
    }
}

fn value(data_type: ColumnType, text: Option<&str>) -> Value {
    let Some(text) = text else { return Value::Null };
    let read = || serde_json::from_str(text).unwrap_or_default();
    match data_type {
        // As rows of tables have it: the text, since reading it would change numbers and members.
        ColumnType::Json => text.into(),
        ColumnType::Double => text.parse::<f64>().map_or_else(|_| read(), Value::from),
        _ => read(),
    }
}
