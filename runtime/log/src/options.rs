//! What an embedded log can be told.
use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{Clock, SystemClock};

/// How an embedded log behaves.
#[derive(Clone)]
pub struct Options {
    /// Decides append times, retention and session timeouts.
    pub clock: Arc<dyn Clock>,
    /// Whether each transaction leaves one offset unused in every partition it wrote, as Kafka's markers do.
    /// On by default, so that everything above lives with gaps from the first day.
    pub transaction_markers: bool,
    /// How long a member of a group may leave [`crate::Member::next`] alone before others take its partitions.
    pub session_timeout: Duration,
    /// Size from which a segment is closed, in bytes. Retention, deletion and compaction work on closed segments.
    pub segment_bytes: u64,
    /// Largest record the log takes: its key, value and headers, in bytes. (Kafka's own default is 1 MiB.)
    pub max_record_bytes: usize,
    /// How long compaction keeps the record of a deletion, so that a reader under way still learns of it.
    pub tombstone_retention: Duration,
    /// Whether a folder is forced to the disk before a write is acknowledged.
    ///
    /// Without it (the default) every acknowledged write survives the death of the process, by kill -9 too, because the
    /// operating system has the bytes. A power failure or a crash of the machine may then cost the newest transactions
    /// (whole ones, in every partition alike), or leave a folder that is refused as [`crate::LogError::Damaged`].
    pub fsync: bool,
    /// How many files a folder keeps open at most, besides the few in use at a time.
    pub max_open_files: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            transaction_markers: true,
            session_timeout: Duration::from_secs(6),
            segment_bytes: 64 << 20,
            max_record_bytes: 32 << 20,
            tombstone_retention: Duration::from_secs(600),
            fsync: false,
            max_open_files: 256,
        }
    }
}

/// A topic as its administrator declares it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicSettings {
    /// Name: what Kafka takes, up to 249 letters, digits, `.`, `_` and `-`.
    pub name: String,
    /// How many partitions; only ever grows.
    pub partitions: i32,
    /// What becomes of old records.
    pub cleanup: Cleanup,
}

/// What becomes of old records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cleanup {
    /// They go when they are older than this, a closed segment at a time.
    Retention {
        /// Age by append time, ms; none keeps them for ever.
        ms: Option<u64>,
    },
    /// The newest record of each key stays; every record needs a key.
    Compact,
}
