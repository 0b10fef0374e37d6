//! The embedded log: what it holds, its administration, and the way in through [`Log`].
use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    Appended, Cleanup, Log, LogError, Member, NewRecord, Offsets, Options, Producer, Reader,
    TopicInfo, TopicSettings, append::EmbeddedProducer, group::Groups, member::EmbeddedMember,
    partition::Partition, reader::EmbeddedReader, segment_file::OpenFiles,
};

/// A log in one process, in memory or in a folder. Clones are the same log.
///
/// Everything is driven by calls: there are no threads and no tasks, so that a simulation decides every interleaving. Only
/// waiting with a time limit ([`Reader::fetch`] with a `max_wait`) needs a tokio runtime with timers. Writes to a folder
/// block the thread for as long as the system takes to copy the bytes, or to force them out with [`Options::fsync`].
///
/// Topics are made here, not through [`Log`]: that is the administrator's side. Call [`EmbeddedLog::maintain`] now and
/// then where little is written; a busy log does it by itself.
#[derive(Clone)]
pub struct EmbeddedLog {
    pub(crate) shared: Arc<Shared>,
}

/// Locks are taken in the order of the fields, and `state` only for as long as memory is read or changed.
pub(crate) struct Shared {
    pub(crate) options: Options,
    /// Held by whoever appends or administers: sequences are given and files written in one order.
    pub(crate) appender: Mutex<Appender>,
    pub(crate) state: Mutex<State>,
    pub(crate) groups: Mutex<Groups>,
    pub(crate) files: OpenFiles,
    next_segment: AtomicU64,
}

/// What only writers need.
#[derive(Default)]
pub(crate) struct Appender {
    /// The newest holder of each transactional id. Not kept in a folder: no holder outlives the process.
    pub(crate) epochs: HashMap<String, u64>,
    /// Sequence of the last committed transaction.
    pub(crate) sequence: u64,
}

/// What readers see.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) topics: BTreeMap<String, Topic>,
    /// Number of the next topic.
    pub(crate) next_topic: u32,
}

/// A topic.
pub(crate) struct Topic {
    /// Identity within this log; never given twice.
    pub(crate) number: u32,
    /// Identity as others see it.
    pub(crate) id: String,
    pub(crate) settings: TopicSettings,
    pub(crate) partitions: Vec<Partition>,
    /// Which partition the next records without a key go to.
    pub(crate) round_robin: u32,
}

impl Topic {
    pub(crate) fn new(number: u32, id: String, settings: &TopicSettings) -> Self {
        let partitions = (0..settings.partitions).map(|_| Partition::new()).collect();
        Self {
            number,
            id,
            settings: settings.clone(),
            partitions,
            round_robin: 0,
        }
    }

    fn info(&self) -> TopicInfo {
        TopicInfo {
            id: self.id.clone(),
            partitions: self.settings.partitions,
        }
    }

    pub(crate) fn partition(&self, partition: i32) -> Result<&Partition, LogError> {
        usize::try_from(partition)
            .ok()
            .and_then(|at| self.partitions.get(at))
            .ok_or_else(|| LogError::UnknownPartition {
                topic: self.settings.name.clone(),
                partition,
            })
    }
}

impl State {
    pub(crate) fn topic(&self, topic: &str) -> Result<&Topic, LogError> {
        self.topics
            .get(topic)
            .ok_or_else(|| LogError::UnknownPartition {
                topic: topic.to_owned(),
                partition: 0,
            })
    }

    pub(crate) fn partition(&self, topic: &str, partition: i32) -> Result<&Partition, LogError> {
        self.topics
            .get(topic)
            .ok_or_else(|| LogError::UnknownPartition {
                topic: topic.to_owned(),
                partition,
            })?
            .partition(partition)
    }

    /// The partition of a topic that may have been deleted, and made again, since its number was learnt.
    pub(crate) fn same_partition(
        &self,
        topic: &str,
        number: u32,
        partition: i32,
    ) -> Result<&Partition, LogError> {
        self.topics
            .get(topic)
            .filter(|found| found.number == number)
            .ok_or_else(|| LogError::UnknownPartition {
                topic: topic.to_owned(),
                partition,
            })?
            .partition(partition)
    }
}

impl Shared {
    pub(crate) fn new(options: Options) -> Self {
        let files = OpenFiles::new(options.max_open_files);
        Self {
            options,
            appender: Mutex::default(),
            state: Mutex::default(),
            groups: Mutex::default(),
            files,
            next_segment: AtomicU64::new(1),
        }
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.options.clock.now_ms()
    }

    /// Whether frames go to files and need checksums.
    pub(crate) fn is_durable(&self) -> bool {
        false
    }

    /// An identity for a segment.
    pub(crate) fn next_segment(&self) -> u64 {
        self.next_segment.fetch_add(1, Ordering::Relaxed)
    }
}

impl EmbeddedLog {
    /// An empty log in memory, gone with the last clone of it.
    #[must_use]
    pub fn in_memory(options: Options) -> Self {
        Self {
            shared: Arc::new(Shared::new(options)),
        }
    }

    /// Makes a topic, or brings an existing one in line: partitions may be added and the time of retention changed.
    /// Does nothing where all is as declared.
    ///
    /// # Errors
    /// [`LogError::Invalid`] for a name Kafka would not take, for fewer partitions than there are, and for changing between
    /// retention and compaction; [`LogError::Unavailable`] where the folder cannot be written.
    pub fn create_topic(&self, settings: &TopicSettings) -> Result<TopicInfo, LogError> {
        check_settings(settings)?;
        let _appender = self.shared.appender.lock();
        let mut state = self.shared.state.lock();
        if let Some(topic) = state.topics.get(&settings.name) {
            check_change(&topic.settings, settings)?;
        }
        let number = state.next_topic;
        let topic = state
            .topics
            .entry(settings.name.clone())
            .or_insert_with(|| {
                Topic::new(
                    number,
                    topic_id(&settings.name, number, self.shared.now_ms()),
                    settings,
                )
            });
        let is_new = topic.number == number;
        topic
            .partitions
            .resize_with(settings.partitions.max(0) as usize, Partition::new);
        topic.settings = settings.clone();
        let (number, info) = (topic.number, topic.info());
        if is_new {
            state.next_topic += 1;
        }
        drop(state);
        self.shared
            .groups
            .lock()
            .resize(number, settings.partitions, self.shared.now_ms());
        Ok(info)
    }

    /// Deletes a topic with all its records; whoever reads or shares it is told that it is unknown.
    ///
    /// # Errors
    /// [`LogError::UnknownPartition`] where there is none; [`LogError::Unavailable`] where the folder cannot be written.
    pub fn delete_topic(&self, topic: &str) -> Result<(), LogError> {
        let _appender = self.shared.appender.lock();
        let mut state = self.shared.state.lock();
        state.topic(topic)?;
        let Some(topic) = state.topics.remove(topic) else {
            return Ok(());
        };
        for partition in &topic.partitions {
            for segment in &partition.segments {
                self.shared.files.forget(segment.id);
            }
            partition.changed.notify_waiters();
        }
        drop(state);
        self.shared.groups.lock().dissolve(topic.number);
        Ok(())
    }

    /// All topics in order of their names.
    #[must_use]
    pub fn topics(&self) -> Vec<TopicSettings> {
        self.shared
            .state
            .lock()
            .topics
            .values()
            .map(|topic| topic.settings.clone())
            .collect()
    }

    /// How far the members of a group reported to have read, by partition; for showing lag.
    #[must_use]
    pub fn reported(&self, group: &str, topic: &str) -> BTreeMap<i32, i64> {
        let number = self
            .shared
            .state
            .lock()
            .topics
            .get(topic)
            .map(|topic| topic.number);
        number
            .map(|number| self.shared.groups.lock().reported(group, number))
            .unwrap_or_default()
    }
}

#[async_trait]
impl Log for EmbeddedLog {
    async fn topic(&self, topic: &str) -> Result<Option<TopicInfo>, LogError> {
        Ok(self.shared.state.lock().topics.get(topic).map(Topic::info))
    }

    async fn append(&self, records: Vec<NewRecord>) -> Result<Vec<Appended>, LogError> {
        self.shared.append(&records)
    }

    async fn producer(&self, transactional_id: &str) -> Result<Box<dyn Producer>, LogError> {
        Ok(Box::new(EmbeddedProducer::new(
            Arc::clone(&self.shared),
            transactional_id,
        )))
    }

    async fn reader(
        &self,
        topic: &str,
        partition: i32,
        from: i64,
    ) -> Result<Box<dyn Reader>, LogError> {
        Ok(Box::new(EmbeddedReader::new(
            Arc::clone(&self.shared),
            topic,
            partition,
            from,
        )?))
    }

    async fn offsets(&self, topic: &str, partition: i32) -> Result<Offsets, LogError> {
        Ok(self
            .shared
            .state
            .lock()
            .partition(topic, partition)?
            .offsets())
    }

    async fn offset_at(
        &self,
        topic: &str,
        partition: i32,
        append_time_ms: i64,
    ) -> Result<i64, LogError> {
        self.shared
            .state
            .lock()
            .partition(topic, partition)?
            .offset_at(append_time_ms, &self.shared.files)
    }

    async fn join(&self, group: &str, topic: &str) -> Result<Box<dyn Member>, LogError> {
        Ok(Box::new(EmbeddedMember::join(
            Arc::clone(&self.shared),
            group,
            topic,
        )?))
    }

    async fn delete_below(&self, topic: &str, partition: i32, offset: i64) -> Result<(), LogError> {
        self.shared.delete_below(topic, partition, offset)
    }
}

fn check_settings(settings: &TopicSettings) -> Result<(), LogError> {
    let TopicSettings {
        name, partitions, ..
    } = settings;
    let taken = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.is_empty()
        || name.len() > 249
        || name == "."
        || name == ".."
        || !name.bytes().all(taken)
    {
        let reason = format!(
            "topic name {name:?} is not possible: use 1 to 249 letters, digits, `.`, `_` and `-`"
        );
        return Err(LogError::Invalid { reason });
    }
    if *partitions < 1 {
        let reason =
            format!("topic {name} cannot have {partitions} partitions: it needs at least one");
        return Err(LogError::Invalid { reason });
    }
    Ok(())
}

fn check_change(is: &TopicSettings, wanted: &TopicSettings) -> Result<(), LogError> {
    let name = &is.name;
    if wanted.partitions < is.partitions {
        let reason = format!(
            "topic {name} has {} partitions and cannot shrink to {}: delete it and make it again, or keep them",
            is.partitions, wanted.partitions
        );
        return Err(LogError::Invalid { reason });
    }
    if matches!(is.cleanup, Cleanup::Compact) != matches!(wanted.cleanup, Cleanup::Compact) {
        let reason = format!(
            "topic {name} cannot change between retention and compaction: delete it and make it again"
        );
        return Err(LogError::Invalid { reason });
    }
    Ok(())
}

fn topic_id(name: &str, number: u32, now_ms: i64) -> String {
    format!(
        "{:016x}",
        xxh3_64(format!("{name}/{number}/{now_ms}").as_bytes())
    )
}
