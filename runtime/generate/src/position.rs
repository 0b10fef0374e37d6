//! How far a generator has come, as it stands in the log.
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::time::Duration;

use tidewheel_log::{Log, LogError, NewRecord};

use crate::error::RunnerError;

/// Version of the format.
const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Position {
    version: u32,
    /// The number of the next event.
    next_event: u64,
}

/// The record that says that `next_event` is the next event for `topic`: keyed by it, in the only partition of `positions`.
pub(crate) fn record(
    positions: &str,
    topic: &str,
    next_event: u64,
) -> Result<NewRecord, RunnerError> {
    let position = Position {
        version: VERSION,
        next_event,
    };
    let value = serde_json::to_vec(&position).map_err(|e| unreadable(topic, &e))?;
    Ok(NewRecord {
        topic: positions.to_owned(),
        partition: Some(0),
        key: Some(Bytes::copy_from_slice(topic.as_bytes())),
        value: Some(Bytes::from(value)),
        ..NewRecord::default()
    })
}

/// The number of the next event for `topic`; 0 where none was made.
pub(crate) async fn read(log: &dyn Log, positions: &str, topic: &str) -> Result<u64, RunnerError> {
    let mut next_event = 0;
    let offsets = log.offsets(positions, 0).await?;
    let mut reader = log.reader(positions, 0, offsets.earliest).await?;
    loop {
        let fetched = reader.fetch(1_000, 1 << 20, Duration::ZERO).await?;
        for record in &fetched.records {
            if record.key.as_deref() == Some(topic.as_bytes()) {
                next_event = match &record.value {
                    Some(value) => decode(topic, value)?,
                    None => 0,
                };
            }
        }
        if fetched.at_end || fetched.next_offset >= offsets.end {
            return Ok(next_event);
        }
        if fetched.records.is_empty() {
            let reason = "the log stopped before the end that it had named".to_owned();
            return Err(LogError::Unavailable { reason }.into());
        }
    }
}

fn decode(topic: &str, value: &[u8]) -> Result<u64, RunnerError> {
    let position: Position = serde_json::from_slice(value).map_err(|e| unreadable(topic, &e))?;
    if position.version == VERSION {
        Ok(position.next_event)
    } else {
        Err(unreadable(topic, &format!("version {}", position.version)))
    }
}

fn unreadable(topic: &str, reason: &dyn std::fmt::Display) -> RunnerError {
    RunnerError::Position {
        topic: topic.to_owned(),
        reason: reason.to_string(),
    }
}
