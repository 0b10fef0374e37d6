//! Routing: deciding the partition of every record and encoding them, without holding up other writers.
use std::collections::HashMap;

use crate::{
    Cleanup, LogError, NewRecord,
    frame::{BODY_BYTES, FrameBuilder},
    murmur2::partition_of,
    shared::{Shared, unknown},
};

/// More than any record's lengths, offset and header count take as varints, bytes; per header two lengths more.
const RECORD_OVERHEAD_BYTES: usize = 24;
const HEADER_OVERHEAD_BYTES: usize = 10;

/// Records of one transaction for one partition, encoded.
pub(crate) struct Chunk {
    pub(crate) topic: String,
    pub(crate) number: u32,
    pub(crate) partition: i32,
    pub(crate) frames: Vec<FrameBuilder>,
    /// Which of the records these are, in the order in which they were given.
    pub(crate) records: Vec<usize>,
}

impl Shared {
    /// Decides the partition of every record and encodes them by partition.
    pub(crate) fn route(&self, records: &[NewRecord]) -> Result<Vec<Chunk>, LogError> {
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
