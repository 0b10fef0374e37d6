//! What goes on besides reading and writing: forgetting what is old or no longer needed.
use crate::{
    Cleanup, EmbeddedLog, LogError,
    commit_log::{CommitLog, Entry},
    folder::remove,
    partition::Store,
    shared::{Appender, Shared},
};

impl EmbeddedLog {
    /// Does what is due: forgets records older than their topic's retention, compacts one partition, and passes over
    /// members of groups whose session timed out. Work is bounded by a partition; call it every few seconds.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] where the folder cannot be written, [`LogError::Damaged`] where what it holds cannot be
    /// read; the log is as it was.
    pub fn maintain(&self) -> Result<(), LogError> {
        self.shared.groups.lock().expire(self.shared.now_ms());
        self.shared.expire_records()?;
        self.shared.compact()
    }
}

impl Shared {
    /// Forgets what is below an offset; the end of the partition where that lies beyond it.
    pub(crate) fn delete_below(
        &self,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> Result<(), LogError> {
        let mut appender = self.appender.lock();
        let (number, start) = {
            let state = self.state.lock();
            let found = state.partition(topic, partition)?;
            if offset <= found.start {
                return Ok(());
            }
            (state.topic(topic)?.number, offset.min(found.end))
        };
        // Committed before the files go: a file that is missing without a word would be damage.
        let entry = Entry::Start {
            topic: number,
            partition: partition.unsigned_abs(),
            offset: start,
        };
        self.commit_fact(&mut appender, entry)?;
        let forgotten = {
            let mut state = self.state.lock();
            let found = state
                .topics
                .get_mut(topic)
                .and_then(|topic| topic.partitions.get_mut(partition as usize));
            found
                .map(|found| found.forget_below(start))
                .unwrap_or_default()
        };
        for segment in forgotten {
            self.files.forget(segment.id);
            if let Store::File { path, .. } = &segment.store {
                remove(path);
            }
        }
        Ok(())
    }

    /// Begins the commit log anew where it has become long.
    pub(crate) fn shorten_commits(&self, appender: &mut Appender) {
        if appender.commits.as_ref().is_some_and(CommitLog::is_long)
            && let Err(error) = self.begin_commits_anew(appender)
        {
            tracing::warn!(%error, "the commit log grows on");
        }
    }

    /// Housekeeping for the sake of a writer, whose own work is done and did not fail.
    pub(crate) fn maintain_quietly(&self) {
        if let Err(error) = self.expire_records().and_then(|()| self.compact()) {
            tracing::warn!(%error, "housekeeping of the log is put off");
        }
    }

    fn expire_records(&self) -> Result<(), LogError> {
        for (topic, partition, offset) in self.expired(self.now_ms()) {
            self.delete_below(&topic, partition, offset)?;
        }
        Ok(())
    }

    /// Where each partition with something to forget should begin.
    fn expired(&self, now_ms: i64) -> Vec<(String, i32, i64)> {
        let state = self.state.lock();
        let mut expired = Vec::new();
        for (name, topic) in &state.topics {
            let Cleanup::Retention {
                ms: Some(retention_ms),
            } = topic.settings.cleanup
            else {
                continue;
            };
            let oldest_ms = now_ms.saturating_sub(i64::try_from(retention_ms).unwrap_or(i64::MAX));
            for (partition, index) in topic.partitions.iter().zip(0..) {
                let below = partition.expired_below(oldest_ms);
                if below > partition.start {
                    expired.push((name.clone(), index, below));
                }
            }
        }
        expired
    }
}
