//! Transactions that a broker forgot to end.
//!
//! Kafka 4.3.1 may take a transaction for complete without having written its end to its partitions, where they had no leader at that
//! moment (KAFKA-20734). Its records are part of the next transaction of the id there then, and committed or aborted along with that one.
//! Where it wrote stands in its records at home. What is not committed at home is aborted elsewhere too, and what is committed there is
//! committed elsewhere.
use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tidewheel_log::{Home, LogError, NewRecord, Record};
use tokio::time::Instant;

use crate::{ending, lookup::Lookup, manifest::Manifest, places::Places, uncommitted::Uncommitted};

/// How long the end of a transaction may take to reach its partitions.
const ENDED_WITHIN: Duration = Duration::from_secs(2);
/// How often that is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Looks for them.
pub(crate) struct Leftovers {
    lookup: Arc<Lookup>,
    uncommitted: Arc<Uncommitted>,
}

/// Records for the transactions that end what was forgotten. None where all have ended, as they do unless a broker forgets them.
pub(crate) struct Amends {
    /// For one that is to be committed: in each partition where only the last committed transaction of the home, or the one before it, may
    /// be open.
    pub(crate) endings: Vec<NewRecord>,
    /// For one that is to be aborted: in each partition where one of those that came after it may be.
    pub(crate) throwaways: Vec<NewRecord>,
}

impl Leftovers {
    pub(crate) fn new(lookup: Arc<Lookup>, uncommitted: Arc<Uncommitted>) -> Self {
        Self {
            lookup,
            uncommitted,
        }
    }

    /// Waits for a while until transactions have ended that began to write `at` these places. Leaves those where something stays open that
    /// is no younger; whether it begins right there somewhere, so that it is one of these and nobody else's.
    pub(crate) async fn await_ends(&self, at: &mut Places) -> Result<bool, LogError> {
        let deadline = Instant::now() + ENDED_WITHIN;
        loop {
            let ends = self.lookup.ends(at).await?;
            let end = |topic: &str, partition| ends.get(topic, partition);
            *at = at.filter(|topic, partition, first| {
                end(topic, partition).is_some_and(|end| end <= first)
            });
            if at.is_empty() {
                return Ok(false);
            }
            if Instant::now() > deadline {
                let mut open = at.iter();
                return Ok(
                    open.any(|(topic, partition, first)| end(topic, partition) == Some(first))
                );
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// In which of these partitions something stays undecided that is there by now.
    pub(crate) async fn open(&self, manifest: &Manifest) -> Result<Manifest, LogError> {
        let mut partitions = Places::default();
        for (topic, partition) in manifest.partitions() {
            partitions.add(topic, partition, 0);
        }
        let mut newest = Places::default();
        for (topic, partition, end) in self.uncommitted.ends(&partitions).await?.iter() {
            newest.add(topic, partition, end - 1);
        }
        self.await_ends(&mut newest).await?;
        Ok(newest.manifest())
    }

    /// What is to be done about what the holders of a home have left.
    pub(crate) async fn amends(&self, home: &Home) -> Result<Amends, LogError> {
        let undecided = self.undecided(home).await?;
        let mut all = undecided.clone();
        all.add_from(&home.newest_headers);
        all.add_before_from(&home.newest_headers);
        let open = self.open(&all).await?;
        let (mut forgotten, mut committed) = (Manifest::default(), Manifest::default());
        for (topic, partition) in open.partitions() {
            match undecided.has(topic, partition) {
                true => forgotten.add(topic, partition),
                false => committed.add(topic, partition),
            }
        }
        let mut throwaways = Vec::new();
        if !forgotten.is_empty() {
            // This transaction may be forgotten as well.
            forgotten.add(&home.topic, home.partition);
            throwaways = forgotten.partitions().map(throwaway).collect();
            forgotten.declare(&Manifest::default(), &mut throwaways, home);
        }
        Ok(Amends {
            endings: committed.partitions().map(ending::of).collect(),
            throwaways,
        })
    }

    /// Where the transactions wrote that came after the last committed one.
    async fn undecided(&self, home: &Home) -> Result<Manifest, LogError> {
        let (topic, partition) = (&home.topic, home.partition);
        let mut written = Manifest::default();
        let each = |record: Record| {
            written.add(topic, partition);
            written.add_from(&record.headers);
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
