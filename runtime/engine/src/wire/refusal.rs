//! Where a row that a sink refused comes from. The sink keeps it beside the table until the log has its dead letter.
//!
//! JSON with a `version`: `{"version":1,"record":{"offset":7}}`, or, of a window,
//! `{"version":1,"window":{"offset":9,"start_ms":0,"group":"<32 hex digits>","contributions":3,"row":{...}}}`.
use serde::{Deserialize, Serialize};

use super::{WireError, json};

const VERSION: u8 = 1;

/// Where a refused row comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Origin {
    /// A record of the source.
    Record(RecordOrigin),
    /// A group of a window.
    Window(WindowOrigin),
}

/// A record of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordOrigin {
    /// Its offset.
    pub offset: i64,
}

/// A group of a window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowOrigin {
    /// What the row covers of the partials: up to before this offset.
    pub offset: i64,
    /// Start of the window, ms.
    pub start_ms: i64,
    /// Fingerprint of the window's start and the group columns.
    #[serde(with = "fingerprint")]
    pub group: u128,
    /// How many rows went into the group.
    pub contributions: u64,
    /// The row, as its dead letter shows it.
    pub row: serde_json::Map<String, serde_json::Value>,
}

#[derive(Serialize, Deserialize)]
struct Versioned {
    version: u8,
    #[serde(flatten)]
    origin: Origin,
}

impl Origin {
    /// Whether it lies below `next_offset`: what was refused has its dead letter where progress is as far. A row of a window that lies right
    /// there may have none: the table of a sink that was set back is repaired where the progress is already.
    pub fn is_below(&self, next_offset: i64) -> bool {
        let offset = match self {
            Self::Record(record) => record.offset,
            Self::Window(window) => window.offset,
        };
        offset < next_offset
    }

    /// The text that a sink keeps.
    pub fn encode(&self) -> String {
        let stored = Versioned {
            version: VERSION,
            origin: self.clone(),
        };
        String::from_utf8(json(&stored)).unwrap_or_default()
    }

    /// Reads what a sink has kept.
    pub fn decode(text: &str) -> Result<Self, WireError> {
        let damaged = |reason: String| WireError::new("refused row", reason);
        let stored: Versioned =
            serde_json::from_str(text).map_err(|error| damaged(error.to_string()))?;
        if stored.version != VERSION {
            return Err(damaged(format!(
                "version {} is not known here",
                stored.version
            )));
        }
        Ok(stored.origin)
    }
}

/// 32 hex digits.
mod fingerprint {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(group: &u128, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{group:032x}"))
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<u128, D::Error> {
        u128::from_str_radix(&String::deserialize(from)?, 16).map_err(D::Error::custom)
    }
}
