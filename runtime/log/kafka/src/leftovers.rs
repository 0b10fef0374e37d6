//! Transactions that a broker forgot to end.
//!
//! Kafka 4.3.1 may take a transaction for complete without having written its end to its partitions, where they had no leader at that
//! moment (KAFKA-20734). Its records are part of the next transaction of the id then, and committed along with that one, although
//! nobody has ever read them as committed. Where it wrote stands in its record at home.
use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::try_join_all;
use tidewheel_log::{Home, LogError, NewRecord};
use tokio::time::Instant;

use crate::{lookup::Lookup, manifest::Manifest, uncommitted::Uncommitted};

/// How long the end of a transaction may take to reach its partitions.
const ENDED_WITHIN: Duration = Duration::from_secs(2);
/// How often that is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Looks for them.
pub(crate) struct Leftovers {
    lookup: Arc<Lookup>,
    uncommitted: Arc<Uncommitted>,
}

impl Leftovers {
    pub(crate) fn new(lookup: Arc<Lookup>, uncommitted: Arc<Uncommitted>) -> Self {
        Self {
            lookup,
            uncommitted,
        }
    }

    /// Whether something in a partition stays undecided that is there by now.
    pub(crate) async fn is_open(&self, topic: &str, partition: i32) -> Result<bool, LogError> {
        let written = self.uncommitted.end(topic, partition).await?;
        let deadline = Instant::now() + ENDED_WITHIN;
        while self.lookup.offsets(topic, partition).await?.end < written {
            if Instant::now() > deadline {
                return Ok(true);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(false)
    }

    /// Records for a transaction that is to be aborted, in every partition where one of those that came after the last committed one may
    /// still be open. None where all have ended, as they do unless a broker forgets them.
    pub(crate) async fn throwaways(&self, home: &Home) -> Result<Vec<NewRecord>, LogError> {
        let mut open = self.open(&self.written(home).await?).await?;
        if open.is_empty() {
            return Ok(Vec::new());
        }
        // This transaction may be forgotten as well.
        open.add(&home.topic, home.partition);
        let mut records: Vec<NewRecord> = open.partitions().map(throwaway).collect();
        open.declare(&mut records, home);
        Ok(records)
    }

    /// The partitions of a transaction in which something stays open.
    async fn open(&self, written: &Manifest) -> Result<Manifest, LogError> {
        let places = written.partitions();
        let looks = places.map(|(topic, partition)| async move {
            match self.is_open(topic, partition).await {
                Ok(is_open) => Ok(is_open.then_some((topic, partition))),
                // Deleted since, with whatever it held.
                Err(LogError::UnknownPartition { .. }) => Ok(None),
                Err(error) => Err(error),
            }
        });
        let mut open = Manifest::default();
        for (topic, partition) in try_join_all(looks).await?.into_iter().flatten() {
            open.add(topic, partition);
        }
        Ok(open)
    }

    /// Where the transactions wrote that came after the last committed one.
    async fn written(&self, home: &Home) -> Result<Manifest, LogError> {
        let (topic, partition) = (&home.topic, home.partition);
        let mut written = Manifest::default();
        let each = |record| {
            written.add(topic, partition);
            written.add_from(&record);
        };
        let from = home.undecided_from;
        self.uncommitted.read(topic, partition, from, each).await?;
        Ok(written)
    }
}

/// A record that nobody is ever to see.
fn throwaway((topic, partition): (&str, i32)) -> NewRecord {
    NewRecord {
        topic: topic.to_owned(),
        partition: Some(partition),
        key: Some(Bytes::from_static(b"aborted")), // compacted topics refuse records without one
        ..NewRecord::default()
    }
}
