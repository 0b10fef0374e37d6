//! The log on Apache Kafka: [`KafkaLog`] keeps the contract of [`tidewheel_log::Log`] with librdkafka.
//!
//! ```no_run
//! use tidewheel_kafka::Connection;
//! use tidewheel_log::{Log, NewRecord};
//! use tidewheel_log_kafka::KafkaLog;
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let log = KafkaLog::new(Connection::new([("bootstrap.servers", "127.0.0.1:9092")])?)?;
//! let mut producer = log.producer("shop.kpis.clicks.0").await?; // fences whoever had it
//! let record = NewRecord { topic: "shop.clicks".into(), key: Some("7".into()), value: Some("{}".into()), ..Default::default() };
//! producer.commit(vec![record]).await?;
//! # Ok(())
//! # }
//! ```
//!
//! ```text
//!  producer(id) ──▶ a client of its own ──▶ begin, send, wait until all are stored, commit: on threads that may block
//!  append       ──▶ one idempotent client ──▶ delivery reports
//!  reader       ──▶ a client of the pool: partitions assigned by hand, a queue for each, read committed
//!  join(group)  ──▶ a client of its own that never fetches: it only says who owns what
//!  topic, offsets, offset_at, delete_below ──▶ one client for questions
//! ```
//!
//! What is not as in the embedded log:
//! - [`TopicInfo::id`](tidewheel_log::TopicInfo::id) is the cluster's id and the topic's name, because librdkafka's binding does not show the topic's
//!   own id: a topic that is deleted and made again looks the same. Its offsets do not: what was read before is
//!   [out of range](tidewheel_log::LogError::OutOfRange), unless the new topic has grown longer than the old one was.
//! - An empty commit writes nothing and does not notice that the id was taken over.
//! - A reader learns of what was appended to a topic of creation times (a foreign one) as if append time were the running maximum of those.
mod append;
mod client;
mod close;
mod delivery;
mod ending;
mod error;
mod holder;
mod leftovers;
mod log;
mod lookup;
mod manifest;
mod member;
mod places;
mod pool;
mod reader;
mod record;
mod settings;
mod statistics;
mod transaction;
mod uncommitted;

pub use close::await_closed;
pub use log::KafkaLog;
pub use statistics::{ClientStatistics, PartitionStatistics, Role};
