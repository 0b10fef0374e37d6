//! The embedded log: its administration, and the way in through [`Log`].
use std::{collections::BTreeMap, path::Path, sync::Arc};

use async_trait::async_trait;

use crate::{
    Appended, Cleanup, Log, LogError, Member, NewRecord, Offsets, Options, Producer, Reader,
    TopicInfo, TopicSettings,
    member::EmbeddedMember,
    producer::EmbeddedProducer,
    reader::EmbeddedReader,
    shared::{Shared, Topic},
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

impl EmbeddedLog {
    /// An empty log in memory, gone with the last clone of it.
    #[must_use]
    pub fn in_memory(options: Options) -> Self {
        Self {
            shared: Arc::new(Shared::in_memory(options)),
        }
    }

    /// The log in a folder, which is made where it does not exist. One process at a time has it, until the last clone,
    /// reader, producer and member is dropped, or the process ends.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] where another process has the folder or it cannot be read or written,
    /// [`LogError::Damaged`] where what it holds is not what was written.
    pub fn open(folder: impl AsRef<Path>, options: Options) -> Result<Self, LogError> {
        Ok(Self {
            shared: Arc::new(Shared::in_folder(folder.as_ref(), options)?),
        })
    }

    /// Makes a topic, or brings an existing one in line: partitions may be added and the time of retention changed.
    /// Does nothing where all is as declared.
    ///
    /// # Errors
    /// [`LogError::Invalid`] for a name Kafka would not take, for fewer partitions than there are, and for changing between
    /// retention and compaction; [`LogError::Unavailable`] where the folder cannot be written.
    pub fn create_topic(&self, settings: &TopicSettings) -> Result<TopicInfo, LogError> {
        check_settings(settings)?;
        let mut appender = self.shared.appender.lock();
        let known = {
            let state = self.shared.state.lock();
            let topic = state.topics.get(&settings.name);
            topic.map(|topic| (topic.settings.clone(), topic.info()))
        };
        match known {
            None => self.shared.make_topic(&mut appender, settings),
            Some((is, info)) if is == *settings => Ok(info),
            Some((is, _)) => {
                check_change(&is, settings)?;
                self.shared.change_topic(settings)
            }
        }
    }

    /// Deletes a topic with all its records; whoever reads or shares it is told that it is unknown.
    ///
    /// # Errors
    /// [`LogError::UnknownPartition`] where there is none; [`LogError::Unavailable`] where the folder cannot be written.
    pub fn delete_topic(&self, topic: &str) -> Result<(), LogError> {
        let _appender = self.shared.appender.lock();
        self.shared.delete_topic(topic)
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
        let state = self.shared.state.lock();
        state
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
    let is_path = name == "." || name == "..";
    if name.is_empty() || name.len() > 249 || is_path || !name.bytes().all(taken) {
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
