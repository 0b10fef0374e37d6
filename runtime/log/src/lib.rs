//! One trait for a partitioned, transactional log, and the embedded log that implements it.
//!
//! The contract is Kafka's: topics of partitions of records with increasing offsets (which may have gaps), records that
//! carry the time at which the log appended them, transactions that become visible whole or not at all, transactional ids
//! whose newest holder fences the older ones, consumer groups that share out partitions.
//!
//! [`EmbeddedLog`] keeps that contract in one process: in memory, or in a folder that survives `kill -9`.
//! ```
//! use tidewheel_log::{Cleanup, EmbeddedLog, Log, LogError, NewRecord, Options, TopicSettings};
//!
//! # async fn run() -> Result<(), LogError> {
//! let log = EmbeddedLog::in_memory(Options::default());
//! log.create_topic(&TopicSettings { name: "shop.clicks".into(), partitions: 6, cleanup: Cleanup::Retention { ms: None } })?;
//!
//! let mut producer = log.producer("shop.kpis.clicks.0").await?;
//! let record = NewRecord { topic: "shop.clicks".into(), key: Some("7".into()), value: Some("{}".into()), ..Default::default() };
//! producer.commit(vec![record]).await?;
//! # Ok(())
//! # }
//! ```
//!
//! ```text
//!  append, commit ──▶ route by key ──▶ frames ──▶ segments of each partition ──▶ readers
//!                                        │              │
//!                                        │ folder       ├─ retention, delete_below: closed segments go
//!                                        ▼              └─ compaction: closed segments are written again, smaller
//!                                  commit log: what counts after a crash
//! ```
mod append;
mod clock;
mod commit_log;
mod compaction;
mod contract;
mod embedded;
mod error;
mod folder;
mod frame;
mod group;
mod home;
mod housekeeping;
mod member;
mod murmur2;
mod options;
mod partition;
mod producer;
mod reader;
mod record;
mod recovery;
mod rewrite;
mod routing;
mod segment_file;
mod segment_scan;
mod shared;
mod to_end;

pub use clock::{Clock, SystemClock};
pub use contract::{
    Appended, Assignment, Fetched, Home, Log, Member, Offsets, Producer, Reader, TopicInfo,
};
pub use embedded::EmbeddedLog;
pub use error::LogError;
pub use home::{keep_newest, take_over};
pub use murmur2::partition_of;
pub use options::{Cleanup, Options, TopicSettings};
pub use record::{Header, NewRecord, Record};
pub use to_end::{arrival, first_record, read_to_end, read_until};
