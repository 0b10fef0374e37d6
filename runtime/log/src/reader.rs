//! Reading one partition in order.
use std::{collections::VecDeque, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::time::Instant;

use crate::{
    Fetched, LogError, Reader, Record,
    frame::{Cursor, Frame},
    partition::{Found, Place},
    shared::Shared,
};

/// How much is read at a time at most, bytes; also what a reader holds on to between two fetches.
const LARGEST_READ_BYTES: usize = 1 << 20;

/// A reader of the embedded log.
pub(crate) struct EmbeddedReader {
    shared: Arc<Shared>,
    topic: String,
    number: u32,
    partition: i32,
    /// The next offset to hand out.
    next_offset: i64,
    /// Frames that were read and are not handed out yet; `cursor` is in the first of them.
    frames: VecDeque<Frame>,
    cursor: Cursor,
    /// Where in a file the frames behind those begin.
    place: Option<Place>,
}

impl EmbeddedReader {
    pub(crate) fn new(
        shared: Arc<Shared>,
        topic: &str,
        partition: i32,
        from: i64,
    ) -> Result<Self, LogError> {
        let number = {
            let state = shared.state.lock();
            check_range(
                state.partition(topic, partition)?.offsets(),
                topic,
                partition,
                from,
            )?;
            state.topic(topic)?.number
        };
        Ok(Self {
            shared,
            topic: topic.to_owned(),
            number,
            partition,
            next_offset: from,
            frames: VecDeque::new(),
            cursor: Cursor::default(),
            place: None,
        })
    }

    /// What there is now, without waiting.
    fn take(&mut self, max_records: usize, max_bytes: usize) -> Result<Fetched, LogError> {
        let mut taken = Taken {
            records: Vec::new(),
            bytes: 0,
            max_records: max_records.max(1),
            max_bytes,
        };
        let mut end = self.check()?;
        if let Err(error) = self.fill(&mut taken, &mut end)
            && taken.records.is_empty()
        {
            return Err(error); // else it comes back at the next fetch, and what was read before it is not lost
        }
        let at_end = self.next_offset >= end;
        Ok(Fetched {
            records: taken.records,
            next_offset: self.next_offset,
            at_end,
        })
    }

    fn fill(&mut self, taken: &mut Taken, end: &mut i64) -> Result<(), LogError> {
        while self.take_loaded(taken)? && self.next_offset < *end {
            *end = self.load(
                taken
                    .max_bytes
                    .saturating_sub(taken.bytes)
                    .clamp(1, LARGEST_READ_BYTES),
            )?;
        }
        Ok(())
    }

    /// The end of the partition, once it is sure that what comes next is still retained.
    fn check(&self) -> Result<i64, LogError> {
        let state = self.shared.state.lock();
        let offsets = state
            .same_partition(&self.topic, self.number, self.partition)?
            .offsets();
        check_range(offsets, &self.topic, self.partition, self.next_offset)?;
        Ok(offsets.end)
    }

    /// Moves records over from the loaded frames; whether there is room for more.
    fn take_loaded(&mut self, taken: &mut Taken) -> Result<bool, LogError> {
        while let Some(frame) = self.frames.front() {
            while !self.cursor.is_done(frame) {
                let mut behind = self.cursor;
                let record = behind.next(frame).ok_or_else(|| self.malformed(frame))?;
                if record.offset >= self.next_offset {
                    if !taken.has_room_for(&record) {
                        return Ok(false);
                    }
                    self.next_offset = record.offset + 1;
                    taken.push(record);
                }
                self.cursor = behind;
            }
            self.next_offset = self.next_offset.max(frame.header.next_offset);
            self.frames.pop_front();
            self.cursor = Cursor::default();
        }
        Ok(taken.has_room())
    }

    /// Loads the next frames; returns the end of the partition as of then.
    fn load(&mut self, budget_bytes: usize) -> Result<i64, LogError> {
        let (found, end) = {
            let state = self.shared.state.lock();
            let partition = state.same_partition(&self.topic, self.number, self.partition)?;
            (
                partition.find(
                    self.next_offset,
                    self.place,
                    budget_bytes,
                    &self.shared.files,
                )?,
                partition.end,
            )
        };
        match found {
            Found::End => self.next_offset = end,
            Found::Frames(frames) => self.frames.extend(frames),
            Found::InFile(span) => {
                let (frames, position) = span.read(self.next_offset, budget_bytes)?;
                if frames.is_empty() {
                    self.next_offset = self.next_offset.max(span.next_offset); // compaction left nothing here
                }
                self.frames.extend(frames);
                self.place = Some((span.segment, position));
            }
        }
        Ok(end)
    }

    fn malformed(&self, frame: &Frame) -> LogError {
        let Self {
            topic, partition, ..
        } = self;
        let offset = frame.header.base_offset;
        LogError::Damaged {
            reason: format!("the frame at offset {offset} of {topic}/{partition} is malformed"),
        }
    }
}

#[async_trait]
impl Reader for EmbeddedReader {
    async fn fetch(
        &mut self,
        max_records: usize,
        max_bytes: usize,
        max_wait: Duration,
    ) -> Result<Fetched, LogError> {
        if max_wait.is_zero() {
            return self.take(max_records, max_bytes); // needs no runtime
        }
        let deadline = Instant::now() + max_wait;
        loop {
            let changed = {
                let state = self.shared.state.lock();
                Arc::clone(
                    &state
                        .same_partition(&self.topic, self.number, self.partition)?
                        .changed,
                )
            };
            let mut rung = std::pin::pin!(changed.notified());
            rung.as_mut().enable(); // from here on nothing is missed
            let fetched = self.take(max_records, max_bytes)?;
            if !fetched.records.is_empty() || tokio::time::timeout_at(deadline, rung).await.is_err()
            {
                return Ok(fetched);
            }
        }
    }
}

fn check_range(
    offsets: crate::Offsets,
    topic: &str,
    partition: i32,
    offset: i64,
) -> Result<(), LogError> {
    if (offsets.earliest..=offsets.end).contains(&offset) {
        return Ok(());
    }
    Err(LogError::OutOfRange {
        topic: topic.to_owned(),
        partition,
        offset,
        earliest: offsets.earliest,
    })
}

/// Records on their way out, and how many more may go.
struct Taken {
    records: Vec<Record>,
    bytes: usize,
    max_records: usize,
    max_bytes: usize,
}

impl Taken {
    fn has_room(&self) -> bool {
        self.records.is_empty()
            || (self.records.len() < self.max_records && self.bytes < self.max_bytes)
    }

    fn has_room_for(&self, record: &Record) -> bool {
        self.records.is_empty()
            || (self.records.len() < self.max_records
                && self.bytes + record.payload_bytes() <= self.max_bytes)
    }

    fn push(&mut self, record: Record) {
        self.bytes += record.payload_bytes();
        self.records.push(record);
    }
}
