//! Writing: routing records to partitions, and one transaction at a time into their segments.
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use async_trait::async_trait;

use crate::{
    Appended, Cleanup, LogError, NewRecord, Producer,
    commit_log::{Commit, End, Entry},
    frame::{BODY_BYTES, Frame, FrameBuilder},
    murmur2::partition_of,
    partition::{Partition, Segment, Store},
    segment_file::{FILE_HEADER_BYTES, SparseIndex},
    shared::{Appender, Shared, Topic, Written, unknown},
};

/// More than any record's lengths, offset and header count take as varints, bytes; per header two lengths more.
const RECORD_OVERHEAD_BYTES: usize = 24;
const HEADER_OVERHEAD_BYTES: usize = 10;
/// Compacted topics close their segments early while they hold little, so that their replay stays short, bytes.
const SMALLEST_ROLL_BYTES: u64 = 1 << 20;

/// After so much, the writer does what [`crate::EmbeddedLog::maintain`] does.
const HOUSEKEEPING_TRANSACTIONS: u32 = 1000;
const HOUSEKEEPING_BYTES: u64 = 16 << 20;

/// Records of one transaction for one partition, encoded.
pub(crate) struct Chunk {
    pub(crate) topic: String,
    pub(crate) number: u32,
    pub(crate) partition: i32,
    frames: Vec<FrameBuilder>,
    /// Which of the records these are, in the order in which they were given.
    records: Vec<usize>,
}

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

    /// Decides the partition of every record and encodes them, all without holding up other writers.
    fn route(&self, records: &[NewRecord]) -> Result<Vec<Chunk>, LogError> {
        let mut topics: HashMap<&str, Target> = HashMap::new();
        let mut chunks: Vec<Chunk> = Vec::new();
        let mut sizes: Vec<usize> = Vec::new();
        let mut by_partition: HashMap<(u32, i32), usize> = HashMap::new();
        let mut last: Option<(&str, Target)> = None;
        for (index, record) in records.iter().enumerate() {
            let target = match last {
                Some((topic, target)) if topic == record.topic => target,
                _ => match topics.get(record.topic.as_str()) {
                    Some(known) => *known,
                    None => {
                        let target = self.target(&record.topic)?;
                        topics.insert(&record.topic, target);
                        target
                    }
                },
            };
            last = Some((&record.topic, target));
            let size = self.check(record, target)?;
            let partition = target.partition_of(record)?;
            let chunk = *by_partition
                .entry((target.number, partition))
                .or_insert_with(|| {
                    chunks.push(Chunk::new(&record.topic, target.number, partition));
                    sizes.push(0);
                    chunks.len() - 1
                });
            chunks[chunk].records.push(index);
            sizes[chunk] += size;
        }
        for (chunk, size) in chunks.iter_mut().zip(sizes) {
            chunk.encode(records, size, self.folder.is_some());
        }
        Ok(chunks)
    }

    fn target(&self, topic: &str) -> Result<Target, LogError> {
        let mut state = self.state.lock();
        let topic = state
            .topics
            .get_mut(topic)
            .ok_or_else(|| unknown(topic, 0))?;
        let partitions = topic.settings.partitions;
        topic.round_robin = topic.round_robin.wrapping_add(1);
        Ok(Target {
            number: topic.number,
            partitions,
            keyless: (topic.round_robin % partitions.unsigned_abs().max(1)) as i32,
            needs_key: topic.settings.cleanup == Cleanup::Compact,
        })
    }

    /// The size of a record when encoded, at most.
    fn check(&self, record: &NewRecord, target: Target) -> Result<usize, LogError> {
        if target.needs_key && record.key.is_none() {
            let reason = format!(
                "topic {} is compacted: every record needs a key",
                record.topic
            );
            return Err(LogError::Invalid { reason });
        }
        let payload = |bytes: &Option<bytes::Bytes>| bytes.as_ref().map_or(0, bytes::Bytes::len);
        let headers: usize = record
            .headers
            .iter()
            .map(|header| header.name.len() + header.value.len())
            .sum();
        let size_bytes = payload(&record.key) + payload(&record.value) + headers;
        let limit_bytes = self.options.max_record_bytes;
        if size_bytes > limit_bytes {
            return Err(LogError::TooLarge {
                size_bytes,
                limit_bytes,
            });
        }
        Ok(size_bytes + RECORD_OVERHEAD_BYTES + record.headers.len() * HEADER_OVERHEAD_BYTES)
    }

    /// Writes one transaction, whole or not at all; returns the first offset of each chunk. `gap` offsets stay unused
    /// behind it in each partition. With a holder, only while that is the newest of its transactional id.
    fn write(
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

/// What routing needs to know of a topic.
#[derive(Debug, Clone, Copy)]
struct Target {
    number: u32,
    partitions: i32,
    /// Where records without a key go this time.
    keyless: i32,
    needs_key: bool,
}

impl Target {
    fn partition_of(self, record: &NewRecord) -> Result<i32, LogError> {
        match (record.partition, &record.key) {
            (Some(partition), _) if (0..self.partitions).contains(&partition) => Ok(partition),
            (Some(partition), _) => Err(LogError::UnknownPartition {
                topic: record.topic.clone(),
                partition,
            }),
            (None, Some(key)) => Ok(partition_of(key, self.partitions)),
            (None, None) => Ok(self.keyless),
        }
    }
}

impl Chunk {
    fn new(topic: &str, number: u32, partition: i32) -> Self {
        Self {
            topic: topic.to_owned(),
            number,
            partition,
            frames: Vec::new(),
            records: Vec::new(),
        }
    }

    fn encode(&mut self, records: &[NewRecord], bytes: usize, checksum: bool) {
        let mut frame = FrameBuilder::with_capacity(bytes.min(BODY_BYTES + BODY_BYTES / 8));
        for index in &self.records {
            if frame.body_bytes() >= BODY_BYTES {
                let full = std::mem::replace(
                    &mut frame,
                    FrameBuilder::with_capacity(BODY_BYTES + BODY_BYTES / 8),
                );
                self.frames.push(full);
            }
            let NewRecord {
                key,
                value,
                headers,
                ..
            } = &records[*index];
            frame.push(
                u64::from(frame.records()),
                key.as_deref(),
                value.as_deref(),
                headers,
            );
        }
        self.frames.push(frame);
        if checksum {
            self.frames.iter_mut().for_each(FrameBuilder::checksum);
        }
    }
}

/// Who may commit.
struct Holder {
    transactional_id: String,
    epoch: u64,
}

/// A holder of a transactional id of the embedded log.
pub(crate) struct EmbeddedProducer {
    shared: Arc<Shared>,
    holder: Holder,
}

impl EmbeddedProducer {
    /// Takes the id over. An earlier holder's commit is either done or will be refused: commits hold the same lock.
    pub(crate) fn new(shared: Arc<Shared>, transactional_id: &str) -> Self {
        let epoch = {
            let mut appender = shared.appender.lock();
            let epoch = appender
                .epochs
                .entry(transactional_id.to_owned())
                .or_default();
            *epoch += 1;
            *epoch
        };
        Self {
            shared,
            holder: Holder {
                transactional_id: transactional_id.to_owned(),
                epoch,
            },
        }
    }
}

#[async_trait]
impl Producer for EmbeddedProducer {
    async fn commit(&mut self, records: Vec<NewRecord>) -> Result<(), LogError> {
        let chunks = self.shared.route(&records)?;
        let gap = i64::from(self.shared.options.transaction_markers);
        self.shared.write(chunks, gap, Some(&self.holder)).map(drop)
    }
}
