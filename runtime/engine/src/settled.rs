//! How far the log surely has what a task has committed.
use crate::sabotage::{self, Bug};

/// The newest progress that was committed, and the one before. An outage may undo a commit that the log has acknowledged, but none of those
/// before it: a log that had taken the newest back has this one for certain.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settled {
    before: i64,
    newest: i64,
}

impl Settled {
    /// Of a task that goes on from what it has found in the log.
    pub(crate) fn recovered(next_offset: i64) -> Self {
        Self {
            before: next_offset,
            newest: next_offset,
        }
    }

    /// Progress goes to the log. What went there before was acknowledged.
    pub(crate) fn commit(&mut self, next_offset: i64) {
        self.before = std::mem::replace(&mut self.newest, next_offset);
    }

    /// What lies below this offset nobody takes back.
    pub(crate) fn below(self) -> i64 {
        match sabotage::is(Bug::SettledOnceAcknowledged) {
            true => self.newest,
            false => self.before,
        }
    }
}
