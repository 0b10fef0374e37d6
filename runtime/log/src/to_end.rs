//! Reading a bounded part of a log: who does that waits for a record, or for the answer that there is none. A log over a network
//! may have neither at hand.
use std::time::Duration;

use crate::{Fetched, Log, LogError, Reader, Record};

const FETCH_RECORDS: usize = 10_000;
const FETCH_BYTES: usize = 16 * 1024 * 1024;
/// How long a log may take to bring what it says that it has.
const ARRIVES_WITHIN: Duration = Duration::from_secs(10);

/// Reads a partition from its beginning to the end it has when this is called, at least. Where the next read begins.
///
/// # Errors
/// Those of the log; [`LogError::Unavailable`] where it does not bring what it says that it has.
pub async fn read_to_end(
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
///
/// # Errors
/// As for [`read_to_end`].
pub async fn first_record(reader: &mut dyn Reader) -> Result<Option<Record>, LogError> {
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

/// The next records, or that there are none.
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
