//! Commits that the log has acknowledged and not ended yet: nobody reads what they wrote. Mostly they are ended soon. Where the log went away
//! before that, whoever takes the task over undoes its newest one, unless it has ended in the task's state: then it is ended elsewhere too.
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use futures::executor::block_on;
use tidewheel_log::{EmbeddedLog, Log as _, LogError, NewRecord, Producer};

use super::world::{Detail, World};

/// The producer of a holder of a transactional id.
pub(crate) type Shared = Arc<Mutex<Box<dyn Producer>>>;

/// By transactional id, whose commits are not ended; each has one at most.
pub(crate) struct Unended(Mutex<Inner>);

/// A commit that is not ended.
struct Commit {
    producer: Shared,
    /// What nobody reads of it.
    records: Vec<NewRecord>,
    /// Whether it has ended in the task's state.
    is_ended_at_home: bool,
}

struct Inner {
    world: Arc<World>,
    commits: BTreeMap<String, Commit>,
    /// How often each id was taken over.
    epochs: BTreeMap<String, u64>,
}

impl Unended {
    pub(crate) fn new(world: Arc<World>) -> Self {
        Self(Mutex::new(Inner {
            world,
            commits: BTreeMap::new(),
            epochs: BTreeMap::new(),
        }))
    }

    /// Somebody takes an id over: the commit of whoever had it is ended, or undone. The epoch of the new holder.
    pub(crate) fn take_over(&self, id: &str, undoes: impl FnOnce() -> bool) -> u64 {
        let mut inner = self.0.lock().unwrap();
        if let Some(commit) = inner.commits.get(id) {
            if !commit.is_ended_at_home && undoes() {
                inner.commits.remove(id);
                inner.trace(|| format!("the newest commit of {id} is undone"));
            } else {
                inner.end(id);
            }
        }
        let epoch = inner.epochs.entry(id.to_owned()).or_default();
        *epoch += 1;
        *epoch
    }

    /// Acknowledges a commit without ending it, or with its end in the task's state alone, where it is one that would succeed.
    pub(crate) fn acknowledge(
        &self,
        log: &EmbeddedLog,
        (id, epoch): (&str, u64),
        producer: &Shared,
        (records, ends_at_home): (&[NewRecord], bool),
    ) -> bool {
        let mut inner = self.0.lock().unwrap();
        let has_place = |record: &NewRecord| {
            let topic = block_on(log.topic(&record.topic)).unwrap();
            topic.is_some_and(|topic| record.partition.unwrap_or(0) < topic.partitions)
        };
        let succeeds = inner.epochs.get(id) == Some(&epoch) && records.iter().all(has_place);
        if succeeds {
            let is_ended = |record: &NewRecord| ends_at_home && record.topic.ends_with(".state");
            let (at_home, records) = records.iter().cloned().partition(is_ended);
            block_on(producer.lock().unwrap().commit(at_home)).unwrap();
            let commit = Commit {
                producer: Arc::clone(producer),
                records,
                is_ended_at_home: ends_at_home,
            };
            inner.commits.insert(id.to_owned(), commit);
            let home = if ends_at_home {
                " but for its state"
            } else {
                ""
            };
            inner.trace(|| format!("a commit of {id} is acknowledged and not ended{home}"));
        }
        succeeds
    }

    /// Ends the commit of a holder, unless the log goes away before that; whether it is ended. No other begins before.
    pub(crate) fn end_of(&self, id: &str, epoch: u64, goes_away: impl FnOnce() -> bool) -> bool {
        let mut inner = self.0.lock().unwrap();
        let has_one = inner.epochs.get(id) == Some(&epoch) && inner.commits.contains_key(id);
        if has_one && goes_away() {
            return false;
        }
        if has_one {
            inner.end(id);
        }
        true
    }

    /// Now and then ends somebody's.
    pub(crate) fn end_one(&self) {
        let mut inner = self.0.lock().unwrap();
        if !inner.commits.is_empty() && inner.world.chance(0.005) {
            let ids: Vec<String> = inner.commits.keys().cloned().collect();
            let id = inner.world.pick(&ids).clone();
            inner.end(&id);
        }
    }
}

impl Inner {
    fn end(&mut self, id: &str) {
        if let Some(Commit {
            producer, records, ..
        }) = self.commits.remove(id)
        {
            let outcome: Result<(), LogError> = block_on(producer.lock().unwrap().commit(records));
            outcome.unwrap();
            self.trace(|| format!("the newest commit of {id} is ended"));
        }
    }

    fn trace(&self, text: impl FnOnce() -> String) {
        self.world.note(Detail::Everything, text);
    }
}
