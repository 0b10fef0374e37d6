//! The log as a replay sees it: the sources' topics from where it reads them to where that ends, and in the place of everything else a log
//! in memory. Nothing that is written here ever reaches the log.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tidewheel_engine::wire::watermark::WatermarkRecord;
use tidewheel_log::{
    Appended, Cleanup, EmbeddedLog, Fetched, Log, LogError, Member, NewRecord, Offsets, Options,
    Producer, Reader, TopicInfo, TopicSettings, read_to_end,
};

use super::{Read, ReplayError};

/// The log as a replay sees it.
pub(super) struct View {
    log: Arc<dyn Log>,
    /// By topic, and then by partition.
    reads: BTreeMap<String, Vec<Read>>,
    own: EmbeddedLog,
}

impl View {
    /// `reads`: of every partition of every source, in the order of the partitions.
    pub(super) fn new(log: Arc<dyn Log>, reads: &[Read]) -> Result<Self, LogError> {
        let own = EmbeddedLog::in_memory(Options::default());
        let mut by_topic: BTreeMap<String, Vec<Read>> = BTreeMap::new();
        for read in reads {
            let partitions = by_topic.entry(read.topic.clone()).or_default();
            let mut known = partitions.iter_mut();
            // Several sources may read one topic.
            match known.find(|known| known.partition == read.partition) {
                Some(known) => known.widen(read),
                None => partitions.push(read.clone()),
            }
        }
        // Groups share out the partitions of topics that are there; nothing is ever written to these.
        for (topic, partitions) in &by_topic {
            own.create_topic(&TopicSettings {
                name: topic.clone(),
                partitions: i32::try_from(partitions.len()).unwrap_or(i32::MAX),
                cleanup: Cleanup::Retention { ms: None },
            })?;
        }
        Ok(Self {
            log,
            reads: by_topic,
            own,
        })
    }

    /// The log in memory.
    pub(super) fn own(&self) -> &EmbeddedLog {
        &self.own
    }

    /// Takes over the decrees of the pipeline: they made events late, and do so again.
    pub(super) async fn take_decrees(&self, topic: &str) -> Result<(), ReplayError> {
        if self.log.topic(topic).await?.is_none() {
            return Ok(());
        }
        let mut values = Vec::new();
        read_to_end(self.log.as_ref(), topic, 0, |record| {
            values.extend(record.value);
        })
        .await?;
        let mut decrees = Vec::new();
        for value in values {
            let told = WatermarkRecord::decode(&value)?;
            if told.decree_ms.is_some() {
                decrees.push(NewRecord {
                    topic: topic.to_owned(),
                    partition: Some(0),
                    key: Some(told.key()),
                    value: Some(value),
                    headers: Vec::new(),
                });
            }
        }
        if !decrees.is_empty() {
            self.own.append(decrees).await?;
        }
        Ok(())
    }

    fn read(&self, topic: &str, partition: i32) -> Option<&Read> {
        let partitions = self.reads.get(topic)?;
        partitions.get(usize::try_from(partition).ok()?)
    }
}

#[async_trait]
impl Log for View {
    async fn topic(&self, topic: &str) -> Result<Option<TopicInfo>, LogError> {
        self.own.topic(topic).await
    }

    async fn append(&self, records: Vec<NewRecord>) -> Result<Vec<Appended>, LogError> {
        self.own.append(records).await
    }

    async fn producer(&self, transactional_id: &str) -> Result<Box<dyn Producer>, LogError> {
        self.own.producer(transactional_id).await
    }

    async fn reader(
        &self,
        topic: &str,
        partition: i32,
        from: i64,
    ) -> Result<Box<dyn Reader>, LogError> {
        match self.read(topic, partition) {
            None => self.own.reader(topic, partition, from).await,
            Some(read) => Ok(Box::new(UpTo {
                reader: self.log.reader(topic, partition, from).await?,
                at: from,
                end: read.to,
            })),
        }
    }

    async fn offsets(&self, topic: &str, partition: i32) -> Result<Offsets, LogError> {
        match self.read(topic, partition) {
            None => self.own.offsets(topic, partition).await,
            // What is not needed is as if it were gone.
            Some(read) => Ok(Offsets {
                earliest: read.kept_from,
                end: read.to,
            }),
        }
    }

    async fn offset_at(
        &self,
        topic: &str,
        partition: i32,
        append_time_ms: i64,
    ) -> Result<i64, LogError> {
        match self.read(topic, partition) {
            None => self.own.offset_at(topic, partition, append_time_ms).await,
            Some(read) => {
                let found = self.log.offset_at(topic, partition, append_time_ms).await?;
                Ok(found.min(read.to))
            }
        }
    }

    async fn join(&self, group: &str, topic: &str) -> Result<Box<dyn Member>, LogError> {
        self.own.join(group, topic).await
    }

    async fn delete_below(&self, topic: &str, partition: i32, offset: i64) -> Result<(), LogError> {
        match self.read(topic, partition) {
            None => self.own.delete_below(topic, partition, offset).await,
            Some(_) => Ok(()),
        }
    }
}

/// Reads a partition up to before `end`.
struct UpTo {
    reader: Box<dyn Reader>,
    at: i64,
    end: i64,
}

#[async_trait]
impl Reader for UpTo {
    async fn fetch(
        &mut self,
        max_records: usize,
        max_bytes: usize,
        max_wait: Duration,
    ) -> Result<Fetched, LogError> {
        if self.at >= self.end {
            // As one that waits for what comes, which is nothing.
            tokio::time::sleep(max_wait).await;
            return Ok(Fetched {
                records: Vec::new(),
                next_offset: self.at,
                at_end: true,
            });
        }
        let mut fetched = self.reader.fetch(max_records, max_bytes, max_wait).await?;
        fetched.records.retain(|record| record.offset < self.end);
        fetched.next_offset = fetched.next_offset.min(self.end);
        fetched.at_end = fetched.next_offset >= self.end;
        self.at = fetched.next_offset;
        Ok(fetched)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    async fn view() -> (EmbeddedLog, View) {
        let options = Options {
            transaction_markers: false,
            ..Options::default()
        };
        let log = EmbeddedLog::in_memory(options);
        log.create_topic(&TopicSettings {
            name: "events".to_owned(),
            partitions: 1,
            cleanup: Cleanup::Retention { ms: None },
        })
        .unwrap();
        let record = NewRecord {
            topic: "events".to_owned(),
            partition: Some(0),
            ..NewRecord::default()
        };
        log.append(vec![record; 10]).await.unwrap();
        let read = Read {
            source: "events".to_owned(),
            topic: "events".to_owned(),
            partition: 0,
            from: 2,
            to: 7,
            kept_from: 2,
        };
        let view = View::new(Arc::new(log.clone()), &[read]).unwrap();
        (log, view)
    }

    #[tokio::test]
    async fn a_source_ends_where_it_did_when_the_replay_began() {
        let (_, view) = view().await;
        let offsets = view.offsets("events", 0).await.unwrap();
        assert_eq!((offsets.earliest, offsets.end), (2, 7));
        let mut reader = view.reader("events", 0, 2).await.unwrap();
        let mut found = Vec::new();
        loop {
            let fetched = reader.fetch(3, 1 << 20, Duration::ZERO).await.unwrap();
            found.extend(fetched.records.iter().map(|record| record.offset));
            if fetched.at_end {
                assert_eq!(fetched.next_offset, 7);
                break;
            }
        }
        assert_eq!(found, [2, 3, 4, 5, 6]);
        assert_eq!(view.offset_at("events", 0, i64::MAX).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn nothing_that_is_written_reaches_the_log() {
        let (log, view) = view().await;
        view.delete_below("events", 0, 9).await.unwrap();
        let state = TopicSettings {
            name: "state".to_owned(),
            partitions: 1,
            cleanup: Cleanup::Compact,
        };
        view.own().create_topic(&state).unwrap();
        let record = NewRecord {
            topic: "state".to_owned(),
            key: Some("progress".into()),
            partition: Some(0),
            ..NewRecord::default()
        };
        let mut producer = view.producer("task").await.unwrap();
        producer.commit(vec![record]).await.unwrap();
        assert!(log.topic("state").await.unwrap().is_none());
        assert_eq!(log.offsets("events", 0).await.unwrap().earliest, 0);
        let mut member = view.join("group", "events").await.unwrap();
        let assigned = member.next().await.unwrap();
        assert_eq!(assigned, tidewheel_log::Assignment::Assigned(vec![0]));
    }
}
