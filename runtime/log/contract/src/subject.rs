//! The log under test, and short words for what the promises do with it.
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tidewheel_log::{Cleanup, Fetched, Log, LogError, NewRecord, Record, TopicSettings};

/// How long anything may take, on a machine that has other things to do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// How long a fetch waits.
pub(crate) const WAIT: Duration = Duration::from_millis(100);

/// A log under test.
#[async_trait]
pub trait Subject: Sync {
    /// The log.
    fn log(&self) -> &dyn Log;
    /// A name that nobody else uses, beginning with `stem`.
    fn name(&self, stem: &str) -> String {
        static NAMES: AtomicU32 = AtomicU32::new(0);
        format!("{stem}-{}", NAMES.fetch_add(1, Ordering::Relaxed))
    }
    /// Makes a topic, or brings an existing one in line.
    async fn create_topic(&self, settings: &TopicSettings);
    /// A record with a value of this many bytes is too large for the log.
    fn too_large_bytes(&self) -> usize;
}

impl dyn Subject + '_ {
    /// A new topic that keeps everything.
    pub(crate) async fn topic(&self, partitions: i32) -> String {
        self.topic_of("topic", partitions, Cleanup::Retention { ms: None })
            .await
    }

    pub(crate) async fn topic_of(&self, stem: &str, partitions: i32, cleanup: Cleanup) -> String {
        let name = self.name(stem);
        self.create_topic(&TopicSettings {
            name: name.clone(),
            partitions,
            cleanup,
        })
        .await;
        name
    }

    /// Commits one transaction as a new holder of an id of its own.
    pub(crate) async fn commit(&self, records: Vec<NewRecord>) -> Result<(), LogError> {
        let mut producer = self.log().producer(&self.name("somebody")).await?;
        producer.commit(records).await
    }

    /// Everything from an offset to the end.
    pub(crate) async fn read_from(&self, topic: &str, partition: i32, from: i64) -> Fetched {
        let mut reader = self.log().reader(topic, partition, from).await.unwrap();
        let mut all = Fetched::default();
        let reading = async {
            while !all.at_end {
                let fetched = reader.fetch(1_000, usize::MAX, WAIT).await.unwrap();
                all.records.extend(fetched.records);
                (all.next_offset, all.at_end) = (fetched.next_offset, fetched.at_end);
            }
        };
        tokio::time::timeout(PATIENCE, reading)
            .await
            .expect("the end is not reached");
        all
    }

    /// All records of a partition.
    pub(crate) async fn all(&self, topic: &str, partition: i32) -> Vec<Record> {
        let from = self.log().offsets(topic, partition).await.unwrap().earliest;
        self.read_from(topic, partition, from).await.records
    }

    /// All values of a partition.
    pub(crate) async fn values(&self, topic: &str, partition: i32) -> Vec<String> {
        let records = self.all(topic, partition).await;
        records.iter().map(|record| text(&record.value)).collect()
    }
}

/// A record with a key and a value.
pub fn record(topic: &str, partition: i32, key: &str, value: &str) -> NewRecord {
    NewRecord {
        topic: topic.to_owned(),
        partition: Some(partition),
        key: Some(Bytes::copy_from_slice(key.as_bytes())),
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
        headers: Vec::new(),
    }
}

pub(crate) fn text(bytes: &Option<Bytes>) -> String {
    bytes.as_ref().map_or("-".to_owned(), |bytes| {
        String::from_utf8(bytes.to_vec()).unwrap()
    })
}
