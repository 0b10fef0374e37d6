//! What every log promises, whoever implements it.
use std::time::Duration;

use async_trait::async_trait;

use crate::{Header, LogError, NewRecord, Record};

/// A partitioned, transactional log.
///
/// Readers see committed records only, and nothing beyond the first record of a transaction that is still open.
/// Nothing here creates topics: that is the administrator's side.
#[async_trait]
pub trait Log: Send + Sync + 'static {
    /// What is known of a topic, or none where it does not exist.
    async fn topic(&self, topic: &str) -> Result<Option<TopicInfo>, LogError>;

    /// Appends outside of any transaction. Returns where each record went, once all are durable.
    /// Records without a partition go by the hash of their key (murmur2 as Kafka's clients do), those without a key anywhere.
    /// On an error some of them may have been appended.
    async fn append(&self, records: Vec<NewRecord>) -> Result<Vec<Appended>, LogError>;

    /// Takes a transactional id over: ends its open transaction and fences every earlier holder.
    async fn producer(&self, transactional_id: &str) -> Result<Box<dyn Producer>, LogError>;

    /// Reads one partition from an offset on, in no group.
    async fn reader(
        &self,
        topic: &str,
        partition: i32,
        from: i64,
    ) -> Result<Box<dyn Reader>, LogError>;

    /// The oldest retained offset and the end of what is committed (the next offset to be read there).
    async fn offsets(&self, topic: &str, partition: i32) -> Result<Offsets, LogError>;

    /// Where the first record appended at or after `append_time_ms` is read next: its offset, or one in a gap before it; the end where
    /// there is none.
    async fn offset_at(
        &self,
        topic: &str,
        partition: i32,
        append_time_ms: i64,
    ) -> Result<i64, LogError>;

    /// Joins a consumer group over one topic.
    async fn join(&self, group: &str, topic: &str) -> Result<Box<dyn Member>, LogError>;

    /// Lets the log forget records below `offset`. Only ever moves forward.
    async fn delete_below(&self, topic: &str, partition: i32, offset: i64) -> Result<(), LogError>;
}

/// A holder of a transactional id.
#[async_trait]
pub trait Producer: Send {
    /// Writes all records in one transaction and commits it. Without records nothing is done, and a fenced holder may not notice.
    ///
    /// [`LogError::Fenced`]: another holder took the id over; nothing was written. [`LogError::Unavailable`]: the outcome is
    /// unknown: who goes on must take the id over again and read back what is committed. Every other error: nothing was
    /// written, and the holder may commit something else.
    async fn commit(&mut self, records: Vec<NewRecord>) -> Result<(), LogError>;

    /// Makes sure that no record of earlier holders that is not committed by now ever will be, and that all records of the transaction
    /// that is committed in the home are. Called by who has taken the id over and has read what is committed there, before the first
    /// commit; a log that ends transactions whole by itself has nothing to do.
    ///
    /// [`LogError::Unavailable`]: it is not certain yet: who goes on must take the id over again.
    async fn settle(&mut self, home: Home) -> Result<(), LogError>;
}

/// The partition in which every transaction of a transactional id leaves a record: what is committed there says how far the holders of the id
/// have come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// Where records begin that are not committed: behind the last committed one and the marker of its transaction, or, where others
    /// write there as well, the end of what is committed.
    pub undecided_from: i64,
    /// Headers of the newest record that is committed there; none where others write there as well.
    pub newest_headers: Vec<Header>,
}

/// Reads one partition in order.
#[async_trait]
pub trait Reader: Send {
    /// The next records, at most `max_records` (and at most about `max_bytes` of keys and values, but at least one record);
    /// waits up to `max_wait` for the first. Comes back without records when the time is up, and when it has come to the end.
    /// Without time to wait it brings what is at hand, which over a network may be nothing: [`Fetched::at_end`] says whether there is
    /// more. Cancel-safe: nothing is lost when the future is dropped.
    async fn fetch(
        &mut self,
        max_records: usize,
        max_bytes: usize,
        max_wait: Duration,
    ) -> Result<Fetched, LogError>;
}

/// A member of a consumer group.
#[async_trait]
pub trait Member: Send {
    /// The next change of the assignment: of nothing at all, where the group says that there is nothing for this member. Partitions that are revoked may be worked on until the next call of this method;
    /// those that are lost belong to somebody else already. Cancel-safe.
    async fn next(&mut self) -> Result<Assignment, LogError>;

    /// Tells the group how far a partition was read; for tools that watch lag, never for correctness.
    async fn report(&mut self, partition: i32, next_offset: i64) -> Result<(), LogError>;

    /// Leaves the group at once, so that others take over without waiting for a timeout.
    async fn leave(self: Box<Self>) -> Result<(), LogError>;
}

/// A change of a member's partitions. Incremental, as in the cooperative protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Assignment {
    /// These are ours from now on, beside those that were before. None: the member is in the group, and gets nothing more.
    Assigned(Vec<i32>),
    /// These are being taken away.
    Revoked(Vec<i32>),
    /// These were taken away without asking.
    Lost(Vec<i32>),
}

/// What is known of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicInfo {
    /// Identity: a topic that is deleted and made again has another, where the log can tell.
    pub id: String,
    /// How many partitions it has.
    pub partitions: i32,
}

/// Where a record went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
}

/// What a fetch brought.
#[derive(Debug, Clone, Default)]
pub struct Fetched {
    /// Records in order of their offsets.
    pub records: Vec<Record>,
    /// Where the next fetch begins: beyond the last record, and beyond gaps that were seen.
    pub next_offset: i64,
    /// Whether that was the end of what is committed, as the log answered it not long ago: never while it cannot be reached.
    pub at_end: bool,
}

/// The range of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offsets {
    /// The oldest retained offset.
    pub earliest: i64,
    /// One beyond the newest committed record.
    pub end: i64,
}
