//! How Kafka is reached: the properties of its Secret, which are librdkafka's own names, and never printed.
//!
//! Shared by the log (`runtime/log/kafka`) and the administrator's side (`provision`), which know nothing of each other.
//! ```
//! use tidewheel_kafka::Connection;
//!
//! # fn run() -> Result<(), tidewheel_kafka::ConnectionError> {
//! let connection = Connection::new([
//!     ("bootstrap.servers", "kafka-0:9093,kafka-1:9093"),
//!     ("security.protocol", "SASL_SSL"),
//!     ("sasl.mechanism", "SCRAM-SHA-512"),
//!     ("sasl.username", "shop"),
//!     ("sasl.password", "correct horse battery"),
//! ])?;
//! assert!(!format!("{connection:?}").contains("horse"));
//! # Ok(())
//! # }
//! ```
mod connection;
mod logging;

pub use connection::{Connection, ConnectionError, describe};
pub use logging::log_line;
