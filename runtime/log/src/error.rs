//! What a log can fail with.

/// What a log can fail with.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Another holder has the transactional id.
    #[error("transactional id {transactional_id} was taken over by another task")]
    Fenced {
        /// The id.
        transactional_id: String,
    },
    /// The log cannot be reached or refused for now; retry with backoff.
    #[error("the log is unavailable: {reason}")]
    Unavailable {
        /// Why, for people.
        reason: String,
    },
    /// No such topic or partition.
    #[error("topic {topic} has no partition {partition}")]
    UnknownPartition {
        /// Topic.
        topic: String,
        /// Partition.
        partition: i32,
    },
    /// The offset was deleted by retention (or never existed).
    #[error(
        "offset {offset} of {topic}/{partition} is gone: the oldest retained one is {earliest}"
    )]
    OutOfRange {
        /// Topic.
        topic: String,
        /// Partition.
        partition: i32,
        /// The offset that was asked for.
        offset: i64,
        /// The oldest retained one.
        earliest: i64,
    },
    /// A record is larger than the log takes.
    #[error("a record of {size_bytes} bytes is larger than the {limit_bytes} bytes the log takes")]
    TooLarge {
        /// Size.
        size_bytes: usize,
        /// Limit.
        limit_bytes: usize,
    },
    /// Stored bytes fail their checksum.
    #[error("the log is damaged: {reason}")]
    Damaged {
        /// Where and how.
        reason: String,
    },
    /// The log will never take this, however often it is tried: a record without a key in a compacted topic, a topic
    /// name with characters Kafka does not take.
    #[error("{reason}")]
    Invalid {
        /// What is wrong and what to do.
        reason: String,
    },
}
