//! What the watermarks topic says: read once for all tasks of a worker, however many there are.
use std::collections::BTreeMap;
use std::time::Duration;

use tidewheel_engine::wire::watermark::WatermarkRecord;
use tidewheel_log::{Fetched, Log, LogError, Reader, Record};
use tokio::sync::Mutex;

use crate::error::AttemptError;

const FETCH_RECORDS: usize = 10_000;
const FETCH_BYTES: usize = 16 * 1024 * 1024;
/// How long the log may take to bring what it says that it has.
const ARRIVES_WITHIN: Duration = Duration::from_secs(10);

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
    /// Decrees of each partition: the offset from which each holds, and the watermark.
    decrees: BTreeMap<SourcePartition, Vec<(i64, i64)>>,
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
            followed.look(log, topic, Wait::UntilItArrives).await?;
        }
        let own = (source.to_owned(), partition);
        Ok(Told {
            newest: followed.since(Seen(0)),
            decrees: followed.decrees.get(&own).cloned().unwrap_or_default(),
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
            while followed.look(log, topic, Wait::No).await? {}
            let news = followed.since(*seen);
            *seen = followed.seen();
            return Ok(news);
        }
        Ok(Vec::new())
    }
}

/// Whether a look waits for what the log says that it has.
#[derive(Clone, Copy)]
enum Wait {
    No,
    UntilItArrives,
}

impl Followed {
    /// Takes the next records; whether there were any.
    async fn look(&mut self, log: &dyn Log, topic: &str, wait: Wait) -> Result<bool, AttemptError> {
        // Out of here while it is waited for: a look that fails or is given up is followed by a new reader.
        let mut reader = match self.reader.take() {
            Some(reader) => reader,
            None => self.open(log, topic).await?,
        };
        let before = self.next_offset;
        let mut fetched = fetch(reader.as_mut(), Duration::ZERO).await?;
        let is_new =
            |fetched: &Fetched| !fetched.records.is_empty() || Some(fetched.next_offset) > before;
        if matches!(wait, Wait::UntilItArrives) && !is_new(&fetched) {
            fetched = fetch(reader.as_mut(), ARRIVES_WITHIN).await?;
            if !is_new(&fetched) {
                let reason = format!("{topic} did not bring what it has within {ARRIVES_WITHIN:?}");
                return Err(LogError::Unavailable { reason }.into());
            }
        }
        for record in &fetched.records {
            self.take(record)?;
        }
        self.next_offset = Some(fetched.next_offset);
        self.reader = Some(reader);
        Ok(!fetched.records.is_empty() && !fetched.at_end)
    }

    async fn open(&mut self, log: &dyn Log, topic: &str) -> Result<Box<dyn Reader>, LogError> {
        let earliest = log.offsets(topic, 0).await?.earliest;
        // Retention may have taken what nobody has looked at for long.
        let from = self.next_offset.map_or(earliest, |next| next.max(earliest));
        self.next_offset = Some(from);
        log.reader(topic, 0, from).await
    }

    fn take(&mut self, record: &Record) -> Result<(), AttemptError> {
        let value = record.value.as_deref().unwrap_or_default();
        let told = WatermarkRecord::decode(value)?;
        let partition = (told.source.clone(), told.partition);
        if let Some(decree_ms) = told.decree_ms {
            let decrees = self.decrees.entry(partition.clone()).or_default();
            decrees.push((told.next_offset, decree_ms));
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

async fn fetch(reader: &mut dyn Reader, wait: Duration) -> Result<Fetched, LogError> {
    reader.fetch(FETCH_RECORDS, FETCH_BYTES, wait).await
}
