//! How far a file was sent, kept in the log in the transaction of its events.
use serde::{Deserialize, Serialize};
use tidewheel_log::{Log, LogError, NewRecord, read_to_end};

use crate::dev::send::Target;

/// Positions by file; compacted, one partition.
pub(crate) const SENDS_TOPIC: &str = "_dev.sends";

/// How far a file was sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Position {
    /// Events that are in the log.
    pub(crate) events: u64,
    /// How many of them ingestion would have refused.
    pub(crate) refused: u64,
}

impl Position {
    /// Where an earlier run was killed; the start where there was none, or it ended well.
    pub(crate) async fn read(log: &dyn Log, target: &Target) -> Result<Self, LogError> {
        let mut newest = None;
        read_to_end(log, SENDS_TOPIC, 0, |record| {
            if record.key.as_deref() == Some(target.identity.as_bytes()) {
                newest = record.value;
            }
        })
        .await?;
        let Some(value) = newest else {
            return Ok(Self::default());
        };
        serde_json::from_slice(&value).map_err(|error| LogError::Damaged {
            reason: format!("a position in {SENDS_TOPIC}: {error}"),
        })
    }

    /// The record that keeps it.
    pub(crate) fn record(&self, target: &Target) -> NewRecord {
        let value = serde_json::to_vec(self).unwrap_or_default();
        NewRecord {
            value: Some(value.into()),
            ..Self::cleared(target)
        }
    }

    /// The record that forgets it.
    pub(crate) fn cleared(target: &Target) -> NewRecord {
        NewRecord {
            topic: SENDS_TOPIC.to_owned(),
            partition: Some(0),
            key: Some(target.identity.clone().into_bytes().into()),
            ..NewRecord::default()
        }
    }
}
