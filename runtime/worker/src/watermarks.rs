//! What the watermarks topic says: read once for all tasks of a worker, however many there are.
use std::collections::BTreeMap;
use std::time::Duration;

use tidewheel_engine::wire::watermark::WatermarkRecord;
use tidewheel_log::{Fetched, Log, LogError, Reader, Record, arrival};
use tokio::sync::Mutex;

use crate::error::AttemptError;

const FETCH_RECORDS: usize = 10_000;
const FETCH_BYTES: usize = 16 * 1024 * 1024;

/// A source and a partition of it.
type SourcePartition = (String, i32);

/// The watermarks topic, followed by whichever task looks at it.
#[derive(Default)]
pub(crate) struct Watermarks {
    followed: Mutex<Followed>,
}

/// How far a task has seen the watermarks topic.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen(i64);

#[derive(Default)]
struct Followed {
    /// None before the first look, and after one that failed.
    reader: Option<Box<dyn Reader>>,
    /// Where the next look begins; none: at the oldest record.
    next_offset: Option<i64>,
    /// The newest record of each partition, and its offset.
    newest: BTreeMap<SourcePartition, (i64, WatermarkRecord)>,
    /// Decrees of each partition: the offset from which each holds, and the watermark, ms.
    decrees: BTreeMap<SourcePartition, BTreeMap<i64, i64>>,
}

/// What a task has to know when it begins.
pub(crate) struct Told {
    /// The newest record of every partition.
    pub(crate) newest: Vec<WatermarkRecord>,
    /// The decrees of the task's own partition.
    pub(crate) decrees: Vec<(i64, i64)>,
    /// What it was told with this.
    pub(crate) seen: Seen,
}

impl Watermarks {
    /// All that the topic says up to its end as of now, for the task of a source partition.
    pub(crate) async fn begin(
        &self,
        log: &dyn Log,
        topic: &str,
        source: &str,
        partition: i32,
    ) -> Result<Told, AttemptError> {
        let mut followed = self.followed.lock().await;
        let end = log.offsets(topic, 0).await?.end;
        while followed.next_offset.unwrap_or(0) < end {
            followed.await_more(log, topic).await?;
        }
        let own = followed.decrees.get(&(source.to_owned(), partition));
        Ok(Told {
            newest: followed.since(Seen(0)),
            decrees: own
                .into_iter()
                .flatten()
                .map(|(&from, &ms)| (from, ms))
                .collect(),
            seen: followed.seen(),
        })
    }

    /// The newest record of every partition that has told something since `seen`. Does not wait: what is on its way comes next time.
    pub(crate) async fn news(
        &self,
        log: &dyn Log,
        topic: &str,
        seen: &mut Seen,
    ) -> Result<Vec<WatermarkRecord>, AttemptError> {
        // Whoever has it looks for all.
        if let Ok(mut followed) = self.followed.try_lock() {
            while followed.look(log, topic).await? {}
            let news = followed.since(*seen);
            *seen = followed.seen();
            return Ok(news);
        }
        Ok(Vec::new())
    }
}

impl Followed {
    /// Takes the next records that are at hand; whether there may be more.
    async fn look(&mut self, log: &dyn Log, topic: &str) -> Result<bool, AttemptError> {
        // Out of here while it is waited for: a look that fails or is given up is followed by a new reader.
        let mut reader = self.take_reader(log, topic).await?;
        let fetched = reader.fetch(FETCH_RECORDS, FETCH_BYTES, Duration::ZERO);
        let fetched = fetched.await?;
        let has_more = !fetched.records.is_empty() && !fetched.at_end;
        self.take(fetched, reader)?;
        Ok(has_more)
    }

    /// Takes the next records, for which it waits.
    async fn await_more(&mut self, log: &dyn Log, topic: &str) -> Result<(), AttemptError> {
        let mut reader = self.take_reader(log, topic).await?;
        let fetched = arrival(reader.as_mut(), self.next_offset.unwrap_or(0)).await?;
        self.take(fetched, reader)
    }

    async fn take_reader(
        &mut self,
        log: &dyn Log,
        topic: &str,
    ) -> Result<Box<dyn Reader>, LogError> {
        match self.reader.take() {
            Some(reader) => Ok(reader),
            None => self.open(log, topic).await,
        }
    }

    async fn open(&mut self, log: &dyn Log, topic: &str) -> Result<Box<dyn Reader>, LogError> {
        let earliest = log.offsets(topic, 0).await?.earliest;
        let from = self.next_offset.map_or(earliest, |next| next.max(earliest));
        self.next_offset = Some(from);
        log.reader(topic, 0, from).await
    }

    fn take(&mut self, fetched: Fetched, reader: Box<dyn Reader>) -> Result<(), AttemptError> {
        for record in &fetched.records {
            self.note(record)?;
        }
        self.next_offset = Some(fetched.next_offset);
        self.reader = Some(reader);
        Ok(())
    }

    fn note(&mut self, record: &Record) -> Result<(), AttemptError> {
        let value = record.value.as_deref().unwrap_or_default();
        let told = WatermarkRecord::decode(value)?;
        let partition = (told.source.clone(), told.partition);
        if let Some(decree_ms) = told.decree_ms {
            let decrees = self.decrees.entry(partition.clone()).or_default();
            // Nothing is read between two decrees of one offset: the later one stands for both.
            decrees.insert(told.next_offset, decree_ms);
        }
        self.newest.insert(partition, (record.offset, told));
        Ok(())
    }

    fn since(&self, Seen(seen): Seen) -> Vec<WatermarkRecord> {
        let newest = self.newest.values();
        newest
            .filter(|(offset, _)| *offset >= seen)
            .map(|(_, told)| told.clone())
            .collect()
    }

    fn seen(&self) -> Seen {
        Seen(self.next_offset.unwrap_or(0))
    }
}
