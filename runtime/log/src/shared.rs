//! What the clones, readers, producers and members of one embedded log share.
use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    LogError, Options, TopicInfo, TopicSettings,
    commit_log::{Commit, CommitLog, End, Entry},
    folder::Folder,
    group::Groups,
    partition::Partition,
    recovery::{Recovered, recover},
    segment_file::OpenFiles,
};

/// Lengths of frames are 32 bits wide.
const LARGEST_RECORD_BYTES: usize = 1 << 30;

/// Locks are taken in the order of the fields, and `state` only for as long as memory is read or changed.
pub(crate) struct Shared {
    pub(crate) options: Options,
    /// Held by whoever compacts, so that only one does.
    pub(crate) housekeeping: Mutex<()>,
    /// Held by whoever appends or administers: sequences are given and files written in one order.
    pub(crate) appender: Mutex<Appender>,
    pub(crate) state: Mutex<State>,
    pub(crate) groups: Mutex<Groups>,
    /// None in memory.
    pub(crate) folder: Option<Folder>,
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
    /// None in memory.
    pub(crate) commits: Option<CommitLog>,
    pub(crate) since_housekeeping: Written,
}

/// How much was written.
#[derive(Default)]
pub(crate) struct Written {
    pub(crate) transactions: u32,
    pub(crate) bytes: u64,
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

    pub(crate) fn info(&self) -> TopicInfo {
        TopicInfo {
            id: self.id.clone(),
            partitions: self.settings.partitions,
        }
    }

    pub(crate) fn partition(&self, partition: i32) -> Result<&Partition, LogError> {
        usize::try_from(partition)
            .ok()
            .and_then(|at| self.partitions.get(at))
            .ok_or_else(|| unknown(&self.settings.name, partition))
    }
}

impl State {
    pub(crate) fn topic(&self, topic: &str) -> Result<&Topic, LogError> {
        self.topics.get(topic).ok_or_else(|| unknown(topic, 0))
    }

    pub(crate) fn partition(&self, topic: &str, partition: i32) -> Result<&Partition, LogError> {
        self.topics
            .get(topic)
            .ok_or_else(|| unknown(topic, partition))?
            .partition(partition)
    }

    /// The partition of a topic that may have been deleted, and made again, since its number was learnt.
    pub(crate) fn same_partition(
        &self,
        topic: &str,
        number: u32,
        partition: i32,
    ) -> Result<&Partition, LogError> {
        let same = self
            .topics
            .get(topic)
            .filter(|found| found.number == number);
        same.ok_or_else(|| unknown(topic, partition))?
            .partition(partition)
    }

    /// All that the commit log of a folder has to know.
    pub(crate) fn checkpoint(&self, sequence: u64) -> Commit {
        let mut entries = vec![Entry::TopicsMade(self.next_topic)];
        for topic in self.topics.values() {
            let written = topic
                .partitions
                .iter()
                .zip(0..)
                .filter(|(partition, _)| partition.end > 0);
            for (partition, index) in written {
                let last = partition.segments.last();
                entries.push(Entry::End(End {
                    topic: topic.number,
                    partition: index,
                    segment_base: last.map_or(partition.end, |segment| segment.base_offset),
                    segment_bytes: last.map_or(0, |segment| segment.bytes),
                    next_offset: partition.end,
                    append_time_ms: partition.append_time_ms,
                }));
                let offset = partition.start;
                entries.push(Entry::Start {
                    topic: topic.number,
                    partition: index,
                    offset,
                });
            }
        }
        Commit { sequence, entries }
    }
}

/// The error for a partition that does not exist.
pub(crate) fn unknown(topic: &str, partition: i32) -> LogError {
    LogError::UnknownPartition {
        topic: topic.to_owned(),
        partition,
    }
}

impl Shared {
    pub(crate) fn in_memory(mut options: Options) -> Self {
        options.max_record_bytes = options.max_record_bytes.min(LARGEST_RECORD_BYTES);
        let files = OpenFiles::new(options.max_open_files);
        Self {
            options,
            housekeeping: Mutex::default(),
            appender: Mutex::default(),
            state: Mutex::default(),
            groups: Mutex::default(),
            folder: None,
            files,
            next_segment: AtomicU64::new(1),
        }
    }

    pub(crate) fn in_folder(folder: &Path, options: Options) -> Result<Self, LogError> {
        let mut shared = Self::in_memory(options);
        let folder = Folder::open(folder, shared.options.fsync)?;
        let Recovered {
            state,
            sequence,
            commits,
        } = recover(&folder, || shared.next_segment())?;
        shared.state = Mutex::new(state);
        let appender = Appender {
            sequence,
            commits: Some(commits),
            ..Appender::default()
        };
        shared.appender = Mutex::new(appender);
        shared.folder = Some(folder);
        Ok(shared)
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.options.clock.now_ms()
    }

    /// An identity for a segment.
    pub(crate) fn next_segment(&self) -> u64 {
        self.next_segment.fetch_add(1, Ordering::Relaxed)
    }

    /// Commits a fact that is no record.
    pub(crate) fn commit_fact(
        &self,
        appender: &mut Appender,
        entry: Entry,
    ) -> Result<(), LogError> {
        let sequence = appender.sequence + 1;
        if let Some(commits) = &mut appender.commits {
            commits.append(&Commit {
                sequence,
                entries: vec![entry],
            })?;
        }
        appender.sequence = sequence;
        Ok(())
    }

    /// Replaces the commit log by one that only says how things are.
    pub(crate) fn begin_commits_anew(&self, appender: &mut Appender) -> Result<(), LogError> {
        if let Some(commits) = &mut appender.commits {
            let checkpoint = self.state.lock().checkpoint(appender.sequence);
            *commits = CommitLog::begin(commits.path(), &checkpoint, self.options.fsync)?;
        }
        Ok(())
    }

    pub(crate) fn make_topic(
        &self,
        appender: &mut Appender,
        settings: &TopicSettings,
    ) -> Result<TopicInfo, LogError> {
        let number = self.state.lock().next_topic;
        let id = format!("{}/{number}/{}", settings.name, self.now_ms());
        let topic = Topic::new(number, format!("{:016x}", xxh3_64(id.as_bytes())), settings);
        let info = topic.info();
        // The number first: once given, it is never given again, whether the topic comes to be or not.
        self.commit_fact(appender, Entry::TopicsMade(number + 1))?;
        self.state.lock().next_topic = number + 1;
        if let Some(folder) = &self.folder {
            folder.save_topic(number, &topic.id, settings)?;
        }
        self.state
            .lock()
            .topics
            .insert(settings.name.clone(), topic);
        Ok(info)
    }

    /// Brings a topic in line; the caller has seen that it can be, and holds the appender's lock.
    pub(crate) fn change_topic(&self, settings: &TopicSettings) -> Result<TopicInfo, LogError> {
        let (number, id) = {
            let state = self.state.lock();
            let topic = state.topic(&settings.name)?;
            (topic.number, topic.id.clone())
        };
        if let Some(folder) = &self.folder {
            folder.save_topic(number, &id, settings)?;
        }
        if let Some(topic) = self.state.lock().topics.get_mut(&settings.name) {
            let partitions = settings.partitions.unsigned_abs() as usize;
            topic.partitions.resize_with(partitions, Partition::new);
            topic.settings = settings.clone();
        }
        self.groups
            .lock()
            .resize(number, settings.partitions, self.now_ms());
        Ok(TopicInfo {
            id,
            partitions: settings.partitions,
        })
    }

    /// Deletes a topic; the caller holds the appender's lock.
    pub(crate) fn delete_topic(&self, topic: &str) -> Result<(), LogError> {
        let number = self.state.lock().topic(topic)?.number;
        if let Some(folder) = &self.folder {
            folder.delete_topic(number)?;
        }
        if let Some(topic) = self.state.lock().topics.remove(topic) {
            for partition in &topic.partitions {
                partition
                    .segments
                    .iter()
                    .for_each(|segment| self.files.forget(segment.id));
                partition.changed.notify_waiters();
            }
        }
        self.groups.lock().dissolve(number);
        Ok(())
    }
}
