//! Reads what tasks left in the log.
use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use tidewheel_engine::wire::watermark::WatermarkRecord;
use tidewheel_log::{Fetched, Log, LogError, Reader, Record};

use crate::error::AttemptError;

const FETCH_RECORDS: usize = 10_000;
const FETCH_BYTES: usize = 16 * 1024 * 1024;
/// How long a log may take to bring what it says that it has.
const ARRIVES_WITHIN: Duration = Duration::from_secs(10);

/// The newest value of every key of a partition of a compacted topic, read to its end.
pub(crate) async fn read_compacted(
    log: &dyn Log,
    topic: &str,
    partition: i32,
) -> Result<BTreeMap<Bytes, Bytes>, LogError> {
    let mut values = BTreeMap::new();
    read_all(log, topic, partition, |record| {
        let Some(key) = record.key else { return };
        match record.value {
            Some(value) => values.insert(key, value),
            None => values.remove(&key),
        };
    })
    .await?;
    Ok(values)
}

/// Reads a partition from its beginning to the end it has when this is called, at least. Where the next read begins.
pub(crate) async fn read_all(
    log: &dyn Log,
    topic: &str,
    partition: i32,
    mut each: impl FnMut(Record),
) -> Result<i64, LogError> {
    let offsets = log.offsets(topic, partition).await?;
    let mut reader = log.reader(topic, partition, offsets.earliest).await?;
    loop {
        let fetched = arrival(reader.as_mut(), FETCH_RECORDS, FETCH_BYTES).await?;
        let next_offset = fetched.next_offset;
        fetched.records.into_iter().for_each(&mut each);
        if fetched.at_end && next_offset >= offsets.end {
            return Ok(next_offset);
        }
    }
}

/// The first record that a reader finds; none where it comes to the end.
pub(crate) async fn first_record(reader: &mut dyn Reader) -> Result<Option<Record>, LogError> {
    loop {
        let fetched = arrival(reader, 1, 1).await?;
        if let Some(record) = fetched.records.into_iter().next() {
            return Ok(Some(record));
        }
        if fetched.at_end {
            return Ok(None);
        }
    }
}

/// The next records, or that there are none: whoever reads a bounded part of the log waits for either.
async fn arrival(
    reader: &mut dyn Reader,
    max_records: usize,
    max_bytes: usize,
) -> Result<Fetched, LogError> {
    let at_hand = reader.fetch(max_records, max_bytes, Duration::ZERO).await?;
    if at_hand.at_end || !at_hand.records.is_empty() {
        return Ok(at_hand);
    }
    let before = at_hand.next_offset;
    let arrived = reader.fetch(max_records, max_bytes, ARRIVES_WITHIN).await?;
    if arrived.at_end || !arrived.records.is_empty() || arrived.next_offset > before {
        return Ok(arrived);
    }
    Err(LogError::Unavailable {
        reason: format!("it did not bring what follows offset {before} within {ARRIVES_WITHIN:?}"),
    })
}

/// What the watermarks topic says: the newest record of every partition, the decrees of ours, and where the next read begins.
pub(crate) struct Watermarks {
    pub(crate) newest: BTreeMap<Bytes, WatermarkRecord>,
    pub(crate) decrees: Vec<(i64, i64)>,
    pub(crate) next_offset: i64,
}

pub(crate) async fn read_watermarks(
    log: &dyn Log,
    topic: &str,
    source: &str,
    partition: i32,
) -> Result<Watermarks, AttemptError> {
    let mut newest = BTreeMap::new();
    let mut decrees = Vec::new();
    let mut damaged = None;
    let next_offset = read_all(log, topic, 0, |record| {
        match WatermarkRecord::decode(record.value.as_deref().unwrap_or_default()) {
            Ok(told) => {
                if told.source == source && told.partition == partition {
                    decrees.extend(
                        told.decree_ms
                            .map(|decree_ms| (told.next_offset, decree_ms)),
                    );
                }
                newest.insert(told.key(), told);
            }
            Err(error) => damaged = Some(error),
        }
    })
    .await?;
    match damaged {
        Some(error) => Err(error.into()),
        None => Ok(Watermarks {
            newest,
            decrees,
            next_offset,
        }),
    }
}
