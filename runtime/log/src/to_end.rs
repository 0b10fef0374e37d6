//! Reading a bounded part of a log: who does that waits for a record, or for the answer that there is none. A log over a network
//! may have neither at hand.
use std::{ops::Range, time::Duration};

use crate::{Fetched, Log, LogError, Offsets, Reader, Record};

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
    let Offsets { earliest, end } = log.offsets(topic, partition).await?;
    let mut reader = log.reader(topic, partition, earliest).await?;
    read_until(reader.as_mut(), earliest..end, &mut each).await
}

/// Has a reader that begins at the start of `offsets` read to their end, at least. Where the next read begins.
///
/// # Errors
/// As for [`read_to_end`].
pub async fn read_until(
    reader: &mut dyn Reader,
    offsets: Range<i64>,
    mut each: impl FnMut(Record),
) -> Result<i64, LogError> {
    let mut next_offset = offsets.start;
    while next_offset < offsets.end {
        let fetched = arrival(reader, next_offset).await?;
        next_offset = fetched.next_offset;
        fetched.records.into_iter().for_each(&mut each);
    }
    Ok(next_offset)
}

/// What a reader at `next_offset` finds there, for who knows that there is something.
///
/// # Errors
/// As for [`read_to_end`].
pub async fn arrival(reader: &mut dyn Reader, next_offset: i64) -> Result<Fetched, LogError> {
    for wait in [Duration::ZERO, ARRIVES_WITHIN] {
        let fetched = reader.fetch(FETCH_RECORDS, FETCH_BYTES, wait).await?;
        if fetched.next_offset > next_offset {
            return Ok(fetched);
        }
    }
    Err(missing(next_offset))
}

/// The first record that a reader finds; none where it comes to the end.
///
/// # Errors
/// As for [`read_to_end`].
pub async fn first_record(reader: &mut dyn Reader) -> Result<Option<Record>, LogError> {
    let mut next_offset = None;
    loop {
        // It waits where it was just seen that nothing is at hand.
        let wait = next_offset.map_or(Duration::ZERO, |_| ARRIVES_WITHIN);
        let fetched = reader.fetch(1, 1, wait).await?;
        if let Some(record) = fetched.records.into_iter().next() {
            return Ok(Some(record));
        }
        if fetched.at_end {
            return Ok(None);
        }
        if next_offset == Some(fetched.next_offset) {
            return Err(missing(fetched.next_offset));
        }
        next_offset = Some(fetched.next_offset);
    }
}

fn missing(next_offset: i64) -> LogError {
    LogError::Unavailable {
        reason: format!(
            "it did not bring what follows offset {next_offset} within {ARRIVES_WITHIN:?}"
        ),
    }
}
