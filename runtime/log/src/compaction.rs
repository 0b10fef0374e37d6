//! Compaction: writing the closed segments of a partition again with only the newest record of each key.
//!
//! It works through them from the oldest on, so that whatever moment a crash chooses, a deletion never goes before what it
//! deletes. Neighbours become one segment as long as that stays small; a new file replaces the first of them by renaming,
//! which alone makes it count: it says up to which offset it counts, so that the others are known to be left over.
use std::collections::{HashMap, VecDeque};

use xxhash_rust::xxh3::xxh3_128;

use crate::{
    Cleanup, LogError, Record,
    folder::remove,
    frame::{Frame, FrameBuilder},
    partition::{Partition, Segment, Store},
    rewrite::Output,
    segment_file::{FILE_HEADER_BYTES, FileSpan},
    shared::Shared,
};

/// How much is read at a time, bytes.
const STEP_BYTES: usize = 1 << 20;

/// A partition whose turn it is.
struct Job {
    topic: String,
    number: u32,
    partition: usize,
    inputs: Vec<Input>,
}

/// A closed segment.
struct Input {
    segment: u64,
    base_offset: i64,
    next_offset: i64,
    newest_ms: i64,
    frames: Source,
}

enum Source {
    Memory(VecDeque<Frame>),
    File(FileSpan),
}

/// The newest offset of each key, by the key's hash: 128 bits, so that no two keys meet.
type Newest = HashMap<u128, i64>;

impl Shared {
    /// Compacts the first partition of which at least half may be garbage: as much was closed since the last time as
    /// remained then. Nobody is held up meanwhile, but for the moments in which segments are exchanged.
    pub(crate) fn compact(&self) -> Result<(), LogError> {
        let Some(_only) = self.housekeeping.try_lock() else {
            return Ok(());
        };
        let Some(job) = self.job()? else {
            return Ok(());
        };
        let mut newest = Newest::new();
        for input in &job.inputs {
            input.frames.each(&mut |frame| {
                for record in job.records(&frame)? {
                    if let Some(key) = &record.key {
                        newest.insert(xxh3_128(key), record.offset);
                    }
                }
                Ok(())
            })?;
        }
        let mut inputs = job.inputs.iter().peekable();
        while let Some(first) = inputs.next() {
            let mut output = self.output(&job, first)?;
            self.take(&mut output, &job, first, &newest)?;
            let mut replaced = vec![first];
            while output.bytes < self.options.segment_bytes
                && let Some(further) = inputs.next()
            {
                self.take(&mut output, &job, further, &newest)?;
                replaced.push(further);
            }
            if !self.exchange(&job, &replaced, output)? {
                return Ok(()); // something of it was deleted meanwhile: another time
            }
        }
        Ok(())
    }

    fn job(&self) -> Result<Option<Job>, LogError> {
        let state = self.state.lock();
        for (name, topic) in &state.topics {
            if topic.settings.cleanup != Cleanup::Compact {
                continue;
            }
            let is_due = |partition: &&Partition| {
                let (compacted, new) = partition.closed_bytes();
                new > 0 && new >= compacted
            };
            let Some(index) = topic
                .partitions
                .iter()
                .position(|partition| is_due(&partition))
            else {
                continue;
            };
            let closed = topic.partitions[index]
                .segments
                .iter()
                .filter(|segment| segment.closed);
            let inputs = closed
                .map(|segment| self.input(segment))
                .collect::<Result<_, _>>()?;
            return Ok(Some(Job {
                topic: name.clone(),
                number: topic.number,
                partition: index,
                inputs,
            }));
        }
        Ok(None)
    }

    fn input(&self, segment: &Segment) -> Result<Input, LogError> {
        Ok(Input {
            segment: segment.id,
            base_offset: segment.base_offset,
            next_offset: segment.next_offset,
            newest_ms: segment.newest_ms,
            frames: match &segment.store {
                Store::Memory(frames) => Source::Memory(frames.clone()),
                Store::File { path, .. } => {
                    Source::File(segment.span(path, FILE_HEADER_BYTES, &self.files)?)
                }
            },
        })
    }

    fn output(&self, job: &Job, first: &Input) -> Result<Output, LogError> {
        match &self.folder {
            None => Ok(Output::in_memory()),
            Some(folder) => {
                Output::in_file(folder.segment(job.number, job.partition as u32, first.base_offset))
            }
        }
    }

    /// Takes over what is needed of a segment.
    fn take(
        &self,
        output: &mut Output,
        job: &Job,
        input: &Input,
        newest: &Newest,
    ) -> Result<(), LogError> {
        input.frames.each(&mut |frame| {
            let records = job.records(&frame)?;
            self.shrink(frame, records, newest)
                .map_or(Ok(()), |frame| output.push(frame))
        })
    }

    /// Puts a new segment in the place of those it was made of, unless one of them is no more.
    fn exchange(&self, job: &Job, replaced: &[&Input], output: Output) -> Result<bool, LogError> {
        let (Some(first), Some(last)) = (replaced.first(), replaced.last()) else {
            return Ok(true);
        };
        let written = output.finish(first.base_offset, last.next_offset, self.options.fsync)?;
        let mut appender = self.appender.lock();
        // What a crash of the machine could take back must not be older than what was dropped here.
        self.begin_commits_anew(&mut appender)?;
        let mut state = self.state.lock();
        let partition = state
            .topics
            .get_mut(&job.topic)
            .filter(|topic| topic.number == job.number);
        let Some(partition) = partition.and_then(|topic| topic.partitions.get_mut(job.partition))
        else {
            return Ok(false);
        };
        let at = partition
            .segments
            .partition_point(|segment| segment.base_offset < first.base_offset);
        let present = partition
            .segments
            .get(at..at + replaced.len())
            .unwrap_or_default();
        if !present
            .iter()
            .map(|segment| segment.id)
            .eq(replaced.iter().map(|input| input.segment))
        {
            return Ok(false);
        }
        let (bytes, store) = written.place()?;
        let segment = Segment {
            id: self.next_segment(),
            base_offset: first.base_offset,
            next_offset: last.next_offset,
            bytes,
            newest_ms: last.newest_ms,
            closed: true,
            compacted: true,
            store,
        };
        let old: Vec<Segment> = partition
            .segments
            .splice(at..at + replaced.len(), [segment])
            .collect();
        drop(state);
        for (segment, is_renamed_over) in old
            .iter()
            .zip(std::iter::once(true).chain(std::iter::repeat(false)))
        {
            self.files.forget(segment.id);
            if let (Store::File { path, .. }, false) = (&segment.store, is_renamed_over) {
                remove(path);
            }
        }
        Ok(true)
    }

    /// Whether a record is still needed.
    fn is_kept(&self, record: &Record, newest: &Newest) -> bool {
        let Some(key) = &record.key else { return true };
        let is_newest = newest.get(&xxh3_128(key)) == Some(&record.offset);
        let tombstone_ms =
            i64::try_from(self.options.tombstone_retention.as_millis()).unwrap_or(i64::MAX);
        let is_news = || self.now_ms().saturating_sub(record.append_time_ms) < tombstone_ms;
        is_newest && (record.value.is_some() || is_news())
    }

    /// The frame with only what is still needed of it.
    fn shrink(&self, frame: Frame, records: Vec<Record>, newest: &Newest) -> Option<Frame> {
        let all = records.len();
        let kept: Vec<Record> = records
            .into_iter()
            .filter(|record| self.is_kept(record, newest))
            .collect();
        let first = kept.first()?.offset;
        if kept.len() == all {
            return Some(frame);
        }
        let mut builder = FrameBuilder::with_capacity(frame.bytes.len());
        for record in &kept {
            let delta = record.offset.abs_diff(first);
            builder.push(
                delta,
                record.key.as_deref(),
                record.value.as_deref(),
                &record.headers,
            );
        }
        builder.checksum();
        let header = frame.header;
        Some(builder.finish(
            header.sequence,
            first,
            header.next_offset,
            header.append_time_ms,
        ))
    }
}

impl Job {
    fn records(&self, frame: &Frame) -> Result<Vec<Record>, LogError> {
        frame.records().ok_or_else(|| {
            let Self {
                topic, partition, ..
            } = self;
            let offset = frame.header.base_offset;
            LogError::Damaged {
                reason: format!("the frame at offset {offset} of {topic}/{partition} is malformed"),
            }
        })
    }
}

impl Source {
    fn each(&self, visit: &mut impl FnMut(Frame) -> Result<(), LogError>) -> Result<(), LogError> {
        match self {
            Self::Memory(frames) => frames.iter().cloned().try_for_each(visit),
            Self::File(span) => {
                let mut span = span.clone();
                while span.position < span.limit {
                    let (frames, position) = span.read(i64::MIN, STEP_BYTES)?;
                    frames.into_iter().try_for_each(&mut *visit)?;
                    span.position = position;
                }
                Ok(())
            }
        }
    }
}
