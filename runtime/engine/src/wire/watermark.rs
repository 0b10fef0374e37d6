//! Records of the watermarks topic: key `<source>/<partition>`, of a decree `<source>/<partition>/<next_offset>`; value JSON.
//!
//! The topic is compacted: of each partition there stays what it said last, and of each offset the last decree.
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{WireError, json};

const VERSION: u8 = 1;
const WHAT: &str = "watermark";

/// What a source partition tells all others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WatermarkRecord {
    pub(crate) version: u8,
    /// Name of the source.
    pub source: String,
    /// Partition of the source.
    pub partition: i32,
    /// The first offset that this does not cover.
    pub next_offset: i64,
    /// The watermark by the partition's own events, ms; none before its first event.
    pub event_watermark_ms: Option<i64>,
    /// When its newest record was appended, ms; none before its first.
    pub last_append_ms: Option<i64>,
    /// Whether the partition was idle when this was written.
    pub idle: bool,
    /// From `next_offset` on the partition's watermark is at least this, ms: a decree.
    pub decree_ms: Option<i64>,
}

impl WatermarkRecord {
    /// What an active partition tells, with no decree.
    pub fn active(source: &str, partition: i32, next_offset: i64) -> Self {
        Self {
            version: VERSION,
            source: source.to_owned(),
            partition,
            next_offset,
            event_watermark_ms: None,
            last_append_ms: None,
            idle: false,
            decree_ms: None,
        }
    }

    /// The record's key. A decree holds for whoever reads its offset again, however much was said since: it has a key of its own.
    /// Nothing was read between two decrees of one offset, so that the later and higher one stands for both.
    pub fn key(&self) -> Bytes {
        let (source, partition) = (&self.source, self.partition);
        match self.decree_ms {
            None => format!("{source}/{partition}").into(),
            Some(_) => format!("{source}/{partition}/{}", self.next_offset).into(),
        }
    }

    /// The record's value.
    pub fn encode(&self) -> Bytes {
        json(self).into()
    }

    /// Reads a value.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let record: Self =
            serde_json::from_slice(bytes).map_err(|error| WireError::new(WHAT, error))?;
        if record.version != VERSION {
            return Err(WireError::new(
                WHAT,
                format!("version {} is not known here", record.version),
            ));
        }
        Ok(record)
    }
}
