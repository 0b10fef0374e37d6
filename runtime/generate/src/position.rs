//! How far a generator has come, and by which declaration, as it stands in the log.
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidewheel_log::{Log, NewRecord, Producer};

use crate::error::RunnerError;

/// Version of the format.
const VERSION: u32 = 1;

/// How far a generator has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Position {
    version: u32,
    /// The number of the first event that the current declaration made.
    pub(crate) first_event: u64,
    /// The number of the next event.
    pub(crate) next_event: u64,
}

/// What the log says of the generator for a topic.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) position: Option<Position>,
    /// What the newest events were made by.
    pub(crate) declaration: Option<Bytes>,
}

impl Position {
    pub(crate) fn new(first_event: u64, next_event: u64) -> Self {
        Self {
            version: VERSION,
            first_event,
            next_event,
        }
    }

    /// The record that keeps it: keyed by `topic`, in the only partition of `positions`.
    pub(crate) fn record(&self, positions: &str, topic: &str) -> Result<NewRecord, RunnerError> {
        let value = serde_json::to_vec(self).map_err(|error| unreadable(topic, &error))?;
        Ok(record(positions, topic.to_owned(), value.into()))
    }

    fn decode(topic: &str, value: &[u8]) -> Result<Self, RunnerError> {
        let position: Self =
            serde_json::from_slice(value).map_err(|error| unreadable(topic, &error))?;
        if position.version == VERSION {
            Ok(position)
        } else {
            Err(unreadable(topic, &format!("version {}", position.version)))
        }
    }
}

/// The record that keeps what events are made by from now on.
pub(crate) fn declaration_record(positions: &str, topic: &str, declaration: &Bytes) -> NewRecord {
    record(positions, declaration_key(topic), declaration.clone())
}

/// Fences earlier runners for `topic`, and reads what they have left: nothing can be added to it behind our back.
pub(crate) async fn take_over(
    log: &dyn Log,
    positions: &str,
    topic: &str,
) -> Result<(Box<dyn Producer>, Found), RunnerError> {
    let transactional_id = format!("{topic}.generator");
    let declaration_key = declaration_key(topic);
    let mut found = Found::default();
    let mut unreadable = None;
    let producer = tidewheel_log::take_over(log, &transactional_id, (positions, 0), |record| {
        let key = record.key.as_deref().unwrap_or_default();
        if key == topic.as_bytes() {
            let position = record.value.map(|value| Position::decode(topic, &value));
            match position.transpose() {
                Ok(position) => found.position = position,
                Err(error) => unreadable = Some(error),
            }
        } else if key == declaration_key.as_bytes() {
            found.declaration = record.value;
        }
    })
    .await?;
    unreadable.map_or(Ok((producer, found)), Err)
}

/// No name of a topic holds a slash.
fn declaration_key(topic: &str) -> String {
    format!("{topic}/declaration")
}

fn record(positions: &str, key: String, value: Bytes) -> NewRecord {
    NewRecord {
        topic: positions.to_owned(),
        partition: Some(0),
        key: Some(Bytes::from(key)),
        value: Some(value),
        ..NewRecord::default()
    }
}

fn unreadable(topic: &str, reason: &dyn std::fmt::Display) -> RunnerError {
    RunnerError::Position {
        topic: topic.to_owned(),
        reason: reason.to_string(),
    }
}
