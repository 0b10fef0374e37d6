//! The embedded log as one process sees it: slow, cut short, failing, half-answering, and forgetful of what it has acknowledged.
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use futures::executor::block_on;
use tidewheel_log::{
    Appended, Assignment, EmbeddedLog, Fetched, Home, Log, LogError, Member, NewRecord, Offsets,
    Producer, Reader, TopicInfo,
};

use super::unended::{Shared, Unended};
use super::world::{Luck, World};

/// How long a member stays silent between two looks at its group, ms.
const HEARTBEAT_MS: i64 = 1_500;

#[derive(Clone)]
pub(crate) struct FaultyLog {
    pub(crate) world: Arc<World>,
    pub(crate) process: usize,
    pub(crate) inner: EmbeddedLog,
    pub(crate) unended: Arc<Unended>,
}

impl FaultyLog {
    /// Lets the scheduler in before and after a call, and may make it fail on either side.
    async fn disturb<T>(
        &self,
        call: impl Future<Output = Result<T, LogError>> + Send,
    ) -> Result<T, LogError> {
        let unavailable = |when: &str| LogError::Unavailable {
            reason: format!("simulated, {when} the call"),
        };
        self.world.pause(self.process, 0).await;
        let luck = self.world.luck();
        if luck == Luck::FailsBefore {
            return Err(unavailable("before"));
        }
        let answer = call.await;
        self.world.pause(self.process, 0).await;
        if luck == Luck::FailsAfter {
            Err(unavailable("after"))
        } else {
            answer
        }
    }
}

impl FaultyLog {
    /// Whether anything was ever in the state of the task with this transactional id. In Kafka a commit that is undone leaves a trace there;
    /// in this log it leaves none, and where it was the first one the topic would look like another.
    async fn has_state(&self, transactional_id: &str) -> bool {
        let Some((input, partition)) = transactional_id.rsplit_once('.') else {
            return false;
        };
        let (topic, partition) = (format!("{input}.state"), partition.parse().unwrap_or(0));
        let offsets = self.inner.offsets(&topic, partition).await;
        offsets.is_ok_and(|offsets| offsets.end > 0)
    }
}

#[async_trait]
impl Log for FaultyLog {
    async fn topic(&self, topic: &str) -> Result<Option<TopicInfo>, LogError> {
        self.inner.topic(topic).await
    }

    async fn append(&self, records: Vec<NewRecord>) -> Result<Vec<Appended>, LogError> {
        self.disturb(self.inner.append(records)).await
    }

    async fn producer(&self, transactional_id: &str) -> Result<Box<dyn Producer>, LogError> {
        let taken = async {
            let leaves_a_trace = self.has_state(transactional_id).await;
            let undoes = || self.world.chance(0.5) && leaves_a_trace;
            let epoch = self.unended.take_over(transactional_id, undoes);
            Ok((epoch, self.inner.producer(transactional_id).await?))
        };
        let (epoch, inner) = self.disturb(taken).await?;
        Ok(Box::new(FaultyProducer {
            log: self.clone(),
            id: transactional_id.to_owned(),
            epoch,
            inner: Arc::new(Mutex::new(inner)),
        }))
    }

    async fn reader(
        &self,
        topic: &str,
        partition: i32,
        from: i64,
    ) -> Result<Box<dyn Reader>, LogError> {
        let inner = self.inner.reader(topic, partition, from).await?;
        Ok(Box::new(FaultyReader {
            log: self.clone(),
            inner,
        }))
    }

    async fn offsets(&self, topic: &str, partition: i32) -> Result<Offsets, LogError> {
        self.inner.offsets(topic, partition).await
    }

    async fn offset_at(
        &self,
        topic: &str,
        partition: i32,
        append_time_ms: i64,
    ) -> Result<i64, LogError> {
        self.inner.offset_at(topic, partition, append_time_ms).await
    }

    async fn join(&self, group: &str, topic: &str) -> Result<Box<dyn Member>, LogError> {
        let inner = self.disturb(self.inner.join(group, topic)).await?;
        Ok(Box::new(FaultyMember {
            log: self.clone(),
            inner: Some(inner),
        }))
    }

    async fn delete_below(&self, topic: &str, partition: i32, offset: i64) -> Result<(), LogError> {
        self.disturb(self.inner.delete_below(topic, partition, offset))
            .await
    }
}

struct FaultyProducer {
    log: FaultyLog,
    id: String,
    epoch: u64,
    inner: Shared,
}

impl FaultyProducer {
    /// Is one step of the simulation.
    fn commit_now(&self, records: Vec<NewRecord>) -> Result<(), LogError> {
        let log = &self.log;
        let goes_away = || log.world.chance(0.1);
        if !log.unended.end_of(&self.id, self.epoch, goes_away) {
            return Err(LogError::Unavailable {
                reason: "simulated, before it was ended".to_owned(),
            });
        }
        let holder = (self.id.as_str(), self.epoch);
        if log.world.is_held_up() {
            let how = (&records[..], log.world.chance(0.3));
            if (log.unended).acknowledge(&log.inner, holder, &self.inner, how) {
                return Ok(());
            }
        }
        block_on(self.inner.lock().unwrap().commit(records))
    }
}

#[async_trait]
impl Producer for FaultyProducer {
    async fn commit(&mut self, records: Vec<NewRecord>) -> Result<(), LogError> {
        let log = self.log.clone();
        log.disturb(async { self.commit_now(records) }).await
    }

    async fn settle(&mut self, home: Home) -> Result<(), LogError> {
        let log = self.log.clone();
        log.disturb(async { block_on(self.inner.lock().unwrap().settle(home)) })
            .await
    }
}

struct FaultyReader {
    log: FaultyLog,
    inner: Box<dyn Reader>,
}

#[async_trait]
impl Reader for FaultyReader {
    async fn fetch(
        &mut self,
        max_records: usize,
        max_bytes: usize,
        max_wait: Duration,
    ) -> Result<Fetched, LogError> {
        let log = self.log.clone();
        let world = &log.world;
        world.pause(log.process, 0).await;
        // Nothing is lost by an error in between: where the reader stands is not told to anybody.
        if world.luck() != Luck::Good {
            return Err(LogError::Unavailable {
                reason: "simulated fetch".to_owned(),
            });
        }
        let most = *world.pick(&[1, 2, 3, 7, 20, 1_000]);
        let fetched = self
            .inner
            .fetch(max_records.min(most), max_bytes, Duration::ZERO)
            .await?;
        if !fetched.records.is_empty() || max_wait.is_zero() {
            return Ok(fetched);
        }
        world
            .pause(log.process, i64::try_from(max_wait.as_millis()).unwrap())
            .await;
        self.inner
            .fetch(max_records.min(most), max_bytes, Duration::ZERO)
            .await
    }
}

struct FaultyMember {
    log: FaultyLog,
    inner: Option<Box<dyn Member>>,
}

#[async_trait]
impl Member for FaultyMember {
    async fn next(&mut self) -> Result<Assignment, LogError> {
        loop {
            let inner = self.inner.as_mut().unwrap();
            // One look, and the call ends: a process that stands still is silent, as a client of a broker would be.
            if let Some(answer) = inner.next().now_or_never() {
                return answer;
            }
            self.log.world.pause(self.log.process, HEARTBEAT_MS).await;
        }
    }

    async fn report(&mut self, partition: i32, next_offset: i64) -> Result<(), LogError> {
        self.inner
            .as_mut()
            .unwrap()
            .report(partition, next_offset)
            .await
    }

    async fn leave(mut self: Box<Self>) -> Result<(), LogError> {
        self.inner.take().unwrap().leave().await
    }
}

impl Drop for FaultyMember {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.take() {
            self.log.world.bury(inner);
        }
    }
}
