//! A member of a consumer group.
use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use async_trait::async_trait;
use tokio::time::{Instant, Sleep};

use crate::{
    Assignment, LogError, Member,
    group::{GroupKey, MemberId},
    shared::Shared,
};

/// How often a member that waits in a tokio runtime looks whether somebody's session timed out.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A member of a group of the embedded log. Leaves when it is dropped.
pub(crate) struct EmbeddedMember {
    shared: Arc<Shared>,
    topic: String,
    key: GroupKey,
    id: MemberId,
}

impl EmbeddedMember {
    pub(crate) fn join(shared: Arc<Shared>, group: &str, topic: &str) -> Result<Self, LogError> {
        let (number, partitions) = {
            let state = shared.state.lock();
            let topic = state.topic(topic)?;
            (topic.number, topic.settings.partitions)
        };
        let key = (group.to_owned(), number);
        let timeout_ms =
            i64::try_from(shared.options.session_timeout.as_millis()).unwrap_or(i64::MAX);
        let id = shared
            .groups
            .lock()
            .entry(key.clone(), partitions, timeout_ms)
            .join(shared.now_ms());
        Ok(Self {
            shared,
            topic: topic.to_owned(),
            key,
            id,
        })
    }

    fn unknown(&self) -> LogError {
        LogError::UnknownPartition {
            topic: self.topic.clone(),
            partition: 0,
        }
    }

    /// The answer as of now; none means to wait.
    fn answer(&self) -> Result<Option<Assignment>, LogError> {
        let mut groups = self.shared.groups.lock();
        let group = groups.get(&self.key).ok_or_else(|| self.unknown())?;
        Ok(group.answer(self.id, self.shared.now_ms()))
    }
}

/// Marks a member as waiting for as long as it lives, however the waiting ends.
struct Waiting<'a>(&'a EmbeddedMember);

impl<'a> Waiting<'a> {
    fn begin(member: &'a EmbeddedMember) -> Result<(Self, Arc<tokio::sync::Notify>), LogError> {
        let mut groups = member.shared.groups.lock();
        let group = groups.get(&member.key).ok_or_else(|| member.unknown())?;
        group.call(member.id, member.shared.now_ms());
        Ok((Self(member), Arc::clone(&group.changed)))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Self(member) = self;
        if let Some(group) = member.shared.groups.lock().get(&member.key) {
            group.hang_up(member.id, member.shared.now_ms());
        }
    }
}

/// Wakes a member now and then where there is a runtime to do so; others poll again when they have moved their clock.
struct Look(Option<Pin<Box<Sleep>>>);

impl Look {
    fn new() -> Self {
        let in_runtime = tokio::runtime::Handle::try_current().is_ok();
        Self(in_runtime.then(|| Box::pin(tokio::time::sleep(LOOK_EVERY))))
    }

    fn is_due(&mut self, context: &mut Context<'_>) -> bool {
        let Some(sleep) = &mut self.0 else {
            return false;
        };
        let is_due = sleep.as_mut().poll(context).is_ready();
        if is_due {
            sleep.as_mut().reset(Instant::now() + LOOK_EVERY);
        }
        is_due
    }
}

#[async_trait]
impl Member for EmbeddedMember {
    async fn next(&mut self) -> Result<Assignment, LogError> {
        let (_waiting, changed) = Waiting::begin(self)?;
        let mut look = Look::new();
        let mut rung = pin!(changed.notified());
        poll_fn(|context| {
            loop {
                // Listening before looking, so that no change falls between; every poll looks, whoever caused it.
                let is_rung = rung.as_mut().poll(context).is_ready();
                if is_rung {
                    rung.set(changed.notified());
                }
                if let Some(answer) = self.answer().transpose() {
                    return Poll::Ready(answer);
                }
                if !is_rung && !look.is_due(context) {
                    return Poll::Pending;
                }
            }
        })
        .await
    }

    async fn report(&mut self, partition: i32, next_offset: i64) -> Result<(), LogError> {
        let mut groups = self.shared.groups.lock();
        groups
            .get(&self.key)
            .ok_or_else(|| self.unknown())?
            .report(partition, next_offset);
        Ok(())
    }

    async fn leave(self: Box<Self>) -> Result<(), LogError> {
        Ok(()) // dropping leaves
    }
}

impl Drop for EmbeddedMember {
    fn drop(&mut self) {
        if let Some(group) = self.shared.groups.lock().get(&self.key) {
            group.leave(self.id, self.shared.now_ms());
        }
    }
}
