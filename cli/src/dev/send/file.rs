//! A file as batches of records, made on a thread of its own a little ahead of who appends them.
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use tidewheel_ingest::Checker;
use tidewheel_log::NewRecord;
use tokio::sync::mpsc;

use crate::dev::send::cut::Cutter;
use crate::dev::send::{Position, Target};
use crate::failure::Failure;

/// Events of a batch at full speed.
const BATCH_EVENTS: usize = 4096;
/// Bytes from which a batch is full.
const BATCH_BYTES: usize = 4 << 20;
/// Batches that may wait to be appended.
const BATCHES_AHEAD: usize = 2;
/// Batches a second where a rate is kept.
const BATCHES_PER_SECOND: u32 = 20;

/// Events as records.
pub(crate) struct Batch {
    pub(crate) records: Vec<NewRecord>,
    pub(crate) events: u64,
    pub(crate) refused: u64,
    /// How far the file was read, bytes.
    pub(crate) read_bytes: u64,
}

/// A file that is being read.
pub(crate) struct Feed {
    batches: mpsc::Receiver<io::Result<Batch>>,
    size_bytes: u64,
}

impl Feed {
    /// Begins to read after the events that `start` covers.
    pub(crate) fn open(
        target: &Target,
        partitions: i32,
        start: Position,
        rate: Option<NonZeroU32>,
    ) -> Result<Self, Failure> {
        let file = File::open(&target.path)?;
        let size_bytes = file.metadata()?.len();
        let (sender, batches) = mpsc::channel(BATCHES_AHEAD);
        let maker = BatchMaker {
            checker: Checker::new(&target.source),
            topic: target.source.topic.clone(),
            partitions: partitions.max(1),
            batch_events: rate.map_or(BATCH_EVENTS, |rate| {
                ((rate.get() / BATCHES_PER_SECOND) as usize).clamp(1, BATCH_EVENTS)
            }),
            event: 0,
        };
        tokio::task::spawn_blocking(move || {
            if let Err(error) = maker.read(file, start.events, &sender) {
                // Nobody listens any more: the run has ended.
                let _ = sender.blocking_send(Err(error));
            }
        });
        Ok(Self {
            batches,
            size_bytes,
        })
    }

    /// Size of the file, bytes.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// The next batch; none at the end.
    pub(crate) async fn next(&mut self) -> Option<io::Result<Batch>> {
        self.batches.recv().await
    }
}

/// Counts what passes.
struct Counted<R> {
    inner: R,
    bytes: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.bytes.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

struct BatchMaker {
    checker: Checker,
    topic: String,
    partitions: i32,
    batch_events: usize,
    /// The event that comes next, from 0.
    event: u64,
}

impl BatchMaker {
    fn read(
        mut self,
        file: File,
        skip: u64,
        sender: &mpsc::Sender<io::Result<Batch>>,
    ) -> io::Result<()> {
        let bytes = Arc::new(AtomicU64::new(0));
        let mut events = Cutter::new(decompressed(Counted {
            inner: file,
            bytes: bytes.clone(),
        })?);
        while self.event < skip && events.next_event()?.is_some() {
            self.event += 1;
        }
        loop {
            let (mut batch, mut size, mut ended) = (Vec::new(), 0, None);
            while batch.len() < self.batch_events && size < BATCH_BYTES {
                match events.next_event() {
                    Ok(Some(event)) => {
                        size += event.len();
                        batch.push(event);
                    }
                    end => {
                        ended = Some(end.map(|_| ()));
                        break;
                    }
                }
            }
            if !batch.is_empty() {
                let batch = self.check(&batch, bytes.load(Ordering::Relaxed));
                if sender.blocking_send(Ok(batch)).is_err() {
                    return Ok(());
                }
            }
            if let Some(end) = ended {
                return end;
            }
        }
    }

    /// Records in the order of the events. What would be refused over HTTP goes in as it came, for the pipelines to name it.
    fn check(&mut self, events: &[Bytes], read_bytes: u64) -> Batch {
        let checked = self.checker.check(events);
        let refused_count = checked.refused.len() as u64;
        let mut refused = checked
            .refused
            .iter()
            .map(|refused| refused.index as usize)
            .peekable();
        let mut good = checked.records.into_iter();
        let mut records = Vec::with_capacity(events.len() + 1);
        for (index, event) in events.iter().enumerate() {
            let record = if refused.next_if_eq(&index).is_some() {
                None
            } else {
                good.next()
            };
            let mut record = record.unwrap_or_else(|| NewRecord {
                topic: self.topic.clone(),
                value: Some(event.clone()),
                ..NewRecord::default()
            });
            if record.key.is_none() {
                record.partition = Some(self.partition_of(self.event));
            }
            records.push(record);
            self.event += 1;
        }
        Batch {
            records,
            events: events.len() as u64,
            refused: refused_count,
            read_bytes,
        }
    }

    /// Where an event without a key goes: decided by its place in the file, so that every run decides alike.
    fn partition_of(&self, event: u64) -> i32 {
        (event % u64::from(self.partitions.unsigned_abs())) as i32
    }
}

/// What is in a gzip file, told by its first bytes, or the file as it is.
fn decompressed(mut file: Counted<File>) -> io::Result<Box<dyn Read>> {
    let mut magic = Vec::with_capacity(2);
    file.by_ref().take(2).read_to_end(&mut magic)?;
    let is_gzip = magic == [0x1f, 0x8b];
    let whole = BufReader::with_capacity(256 << 10, io::Cursor::new(magic).chain(file));
    Ok(if is_gzip {
        Box::new(MultiGzDecoder::new(whole))
    } else {
        Box::new(whole)
    })
}
