//! Records, as they are written and as they are read.
use bytes::Bytes;

/// A header of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Name.
    pub name: String,
    /// Value.
    pub value: Bytes,
}

/// A record that is to be written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NewRecord {
    /// Topic.
    pub topic: String,
    /// Partition, or none to let the key decide.
    pub partition: Option<i32>,
    /// Key.
    pub key: Option<Bytes>,
    /// Value; none deletes the key from a compacted topic.
    pub value: Option<Bytes>,
    /// Headers.
    pub headers: Vec<Header>,
}

/// A record of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Offset within its partition.
    pub offset: i64,
    /// When the log appended it, ms since the epoch. It is what stands in the record: it goes back where the clock of a broker did. In
    /// topics that are not ours it may be what the producer says, in any order, and -1 where it says nothing.
    pub append_time_ms: i64,
    /// Key.
    pub key: Option<Bytes>,
    /// Value; none in compacted topics means that the key was deleted.
    pub value: Option<Bytes>,
    /// Headers.
    pub headers: Vec<Header>,
}

impl Record {
    /// The size of key and value, bytes.
    pub fn payload_bytes(&self) -> usize {
        let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        length(&self.key) + length(&self.value)
    }
}
