//! Writing: one transaction at a time into the segments of its partitions.
use std::{collections::VecDeque, sync::Arc};

use crate::{
    Appended, Cleanup, LogError, NewRecord,
    commit_log::{Commit, End, Entry},
    frame::Frame,
    partition::{Partition, Segment, Store},
    producer::Holder,
    routing::Chunk,
    segment_file::{FILE_HEADER_BYTES, SparseIndex},
    shared::{Appender, Shared, Topic, Written},
};

/// Compacted topics close their segments early while they hold little, so that their replay stays short, bytes.
const SMALLEST_ROLL_BYTES: u64 = 1 << 20;

/// After so much, the writer does what [`crate::EmbeddedLog::maintain`] does.
const HOUSEKEEPING_TRANSACTIONS: u32 = 1000;
const HOUSEKEEPING_BYTES: u64 = 16 << 20;

/// A chunk whose place is decided.
pub(crate) struct Planned {
    pub(crate) topic: String,
    pub(crate) number: u32,
    pub(crate) partition: i32,
    /// The segment it goes to, and whether that is still to be made.
    pub(crate) segment: u64,
    pub(crate) segment_base: i64,
    pub(crate) is_new_segment: bool,
    /// Where in the segment it begins, bytes.
    pub(crate) position: u64,
    pub(crate) frames: Vec<Frame>,
    pub(crate) base_offset: i64,
    pub(crate) next_offset: i64,
    pub(crate) append_time_ms: i64,
}

impl Shared {
    /// Appends outside of a transaction: atomic too, but without a gap behind it.
    pub(crate) fn append(&self, records: &[NewRecord]) -> Result<Vec<Appended>, LogError> {
        let chunks = self.route(records)?;
        let mut appended = vec![
            Appended {
                partition: 0,
                offset: 0
            };
            records.len()
        ];
        let placed: Vec<(i32, Vec<usize>)> = chunks
            .iter()
            .map(|chunk| (chunk.partition, chunk.records.clone()))
            .collect();
        let bases = self.write(chunks, 0, None)?;
        for ((partition, indices), base) in placed.into_iter().zip(bases) {
            for (index, offset) in indices.into_iter().zip(base..) {
                appended[index] = Appended { partition, offset };
            }
        }
        Ok(appended)
    }

    /// Writes one transaction, whole or not at all; returns the first offset of each chunk. `gap` offsets stay unused
    /// behind it in each partition. With a holder, only while that is the newest of its transactional id.
    pub(crate) fn write(
        &self,
        chunks: Vec<Chunk>,
        gap: i64,
        holder: Option<&Holder>,
    ) -> Result<Vec<i64>, LogError> {
        let mut appender = self.appender.lock();
        if let Some(Holder {
            transactional_id,
            epoch,
        }) = holder
            && appender.epochs.get(transactional_id) != Some(epoch)
        {
            return Err(LogError::Fenced {
                transactional_id: transactional_id.clone(),
            });
        }
        if chunks.is_empty() {
            return Ok(Vec::new());
        }
        let sequence = appender.sequence + 1;
        let planned = self.plan(chunks, sequence, gap)?;
        let bases = planned.iter().map(|planned| planned.base_offset).collect();
        self.make_durable(&mut appender, sequence, &planned)?;
        appender.sequence = sequence;
        let is_due = appender.since_housekeeping.add(&planned);
        self.publish(planned);
        if is_due {
            self.shorten_commits(&mut appender);
            drop(appender);
            self.maintain_quietly();
        }
        Ok(bases)
    }

    fn make_durable(
        &self,
        appender: &mut Appender,
        sequence: u64,
        planned: &[Planned],
    ) -> Result<(), LogError> {
        let (Some(folder), Some(commits)) = (&self.folder, &mut appender.commits) else {
            return Ok(());
        };
        folder.write(planned, &self.files)?;
        let entries = planned
            .iter()
            .map(|planned| Entry::End(planned.end()))
            .collect();
        let committed = commits.append(&Commit { sequence, entries });
        committed.inspect_err(|_| folder.take_back(planned, &self.files))
    }

    fn plan(&self, chunks: Vec<Chunk>, sequence: u64, gap: i64) -> Result<Vec<Planned>, LogError> {
        let now_ms = self.now_ms();
        let state = self.state.lock();
        let plan = |chunk: Chunk| {
            let partition = state.same_partition(&chunk.topic, chunk.number, chunk.partition)?;
            let roll_bytes = self.roll_bytes(state.topic(&chunk.topic)?, partition);
            Ok(self.plan_chunk(chunk, partition, roll_bytes, sequence, gap, now_ms))
        };
        chunks.into_iter().map(plan).collect()
    }

    fn roll_bytes(&self, topic: &Topic, partition: &Partition) -> u64 {
        match topic.settings.cleanup {
            Cleanup::Retention { .. } => self.options.segment_bytes,
            Cleanup::Compact => self
                .options
                .segment_bytes
                .min(partition.closed_bytes().0.max(SMALLEST_ROLL_BYTES)),
        }
    }

    fn plan_chunk(
        &self,
        chunk: Chunk,
        partition: &Partition,
        roll_bytes: u64,
        sequence: u64,
        gap: i64,
        now_ms: i64,
    ) -> Planned {
        let append_time_ms = now_ms.max(partition.append_time_ms);
        let (segment, segment_base, is_new_segment, position) =
            match partition.open_segment(roll_bytes) {
                Some(open) => (open.id, open.base_offset, false, open.bytes),
                None => (self.next_segment(), partition.end, true, FILE_HEADER_BYTES),
            };
        let last = chunk.frames.len().saturating_sub(1);
        let mut next_offset = partition.end;
        let mut frames = Vec::with_capacity(chunk.frames.len());
        for (index, builder) in chunk.frames.into_iter().enumerate() {
            let base_offset = next_offset;
            next_offset += i64::from(builder.records()) + if index == last { gap } else { 0 };
            frames.push(builder.finish(sequence, base_offset, next_offset, append_time_ms));
        }
        Planned {
            topic: chunk.topic,
            number: chunk.number,
            partition: chunk.partition,
            segment,
            segment_base,
            is_new_segment,
            position,
            frames,
            base_offset: partition.end,
            next_offset,
            append_time_ms,
        }
    }

    /// Makes a written transaction visible: at one moment in all its partitions.
    fn publish(&self, planned: Vec<Planned>) {
        let mut changed = Vec::with_capacity(planned.len());
        let mut state = self.state.lock();
        for planned in planned {
            let topic = state.topics.get_mut(&planned.topic);
            let Some(partition) =
                topic.and_then(|topic| topic.partitions.get_mut(planned.partition as usize))
            else {
                continue; // cannot be: topics are deleted under the lock that this writer holds
            };
            let store = match &self.folder {
                None => Store::Memory(VecDeque::new()),
                Some(folder) => Store::File {
                    path: folder.segment(
                        planned.number,
                        planned.partition.unsigned_abs(),
                        planned.segment_base,
                    ),
                    index: SparseIndex::default(),
                },
            };
            partition.publish(planned, store);
            changed.push(Arc::clone(&partition.changed));
        }
        drop(state);
        changed.iter().for_each(|changed| changed.notify_waiters());
    }
}

impl Planned {
    fn frame_bytes(&self) -> u64 {
        self.frames
            .iter()
            .map(|frame| frame.header.frame_bytes())
            .sum()
    }

    fn end(&self) -> End {
        End {
            topic: self.number,
            partition: self.partition.unsigned_abs(),
            segment_base: self.segment_base,
            segment_bytes: self.position + self.frame_bytes(),
            next_offset: self.next_offset,
            append_time_ms: self.append_time_ms,
        }
    }
}

impl Written {
    /// Whether so much was written that it is time for housekeeping.
    fn add(&mut self, planned: &[Planned]) -> bool {
        self.transactions += 1;
        self.bytes += planned.iter().map(Planned::frame_bytes).sum::<u64>();
        let is_due =
            self.transactions >= HOUSEKEEPING_TRANSACTIONS || self.bytes >= HOUSEKEEPING_BYTES;
        if is_due {
            *self = Self::default();
        }
        is_due
    }
}

impl Partition {
    fn publish(&mut self, planned: Planned, store: Store) {
        if planned.is_new_segment {
            if let Some(last) = self.segments.last_mut() {
                last.closed = true;
            }
            self.segments.push(Segment {
                id: planned.segment,
                base_offset: planned.segment_base,
                next_offset: planned.segment_base,
                bytes: FILE_HEADER_BYTES,
                newest_ms: planned.append_time_ms,
                closed: false,
                compacted: false,
                store,
            });
        }
        self.end = planned.next_offset;
        self.append_time_ms = planned.append_time_ms;
        if let Some(last) = self.segments.last_mut() {
            last.extend(planned.frames);
        }
    }
}
