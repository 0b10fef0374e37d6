//! What the tasks of a worker are doing, for views, metrics and those who wait.
use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tidewheel_engine::Ledger;
use tidewheel_engine::stage2::OpenWindow;

use crate::work::Work;

/// A task: an input (a source or an aggregate step) and a partition of it.
pub type TaskKey = (String, i32);

/// What a task is doing.
#[derive(Debug, Clone, Default)]
pub struct TaskStatus {
    /// Stage 1 or 2; 0 before an attempt has found its place.
    pub stage: u8,
    /// The first offset that is not yet covered.
    pub next_offset: i64,
    /// Whether the last fetch ended at the end of the log.
    pub at_end: bool,
    /// Its watermark, ms.
    pub watermark_ms: Option<i64>,
    /// Records taken by this attempt.
    pub records: u64,
    /// The watermark at which every window with an event of this task is closed, ms; of source tasks.
    pub closing_watermark_ms: Option<i64>,
    /// The closing watermark that was last decreed here, ms; of source tasks.
    pub closed_ms: Option<i64>,
    /// Ledgers of outputs, by name.
    pub ledgers: BTreeMap<String, Ledger>,
    /// Ledgers of aggregate steps, by name: in records, of source tasks.
    pub step_ledgers: BTreeMap<String, Ledger>,
    /// Windows with contributions that were not emitted; of step tasks.
    pub open_windows: Vec<OpenWindow>,
    /// Bytes of window state; of step tasks.
    pub state_bytes: usize,
    /// Why the task cannot go on, where it cannot.
    pub blocked: Option<String>,
    /// Whether that does not go away by itself: somebody has to mend it.
    pub blocked_until_mended: bool,
    /// The sink that does not answer (`<namespace>/<name>`), where that is why.
    pub blocked_by_sink: Option<String>,
    /// What was done for it by this worker, in all attempts.
    pub work: Work,
}

impl TaskStatus {
    /// Whether an attempt has found its place: before that there are no offsets, watermarks or ledgers.
    pub fn has_begun(&self) -> bool {
        self.stage > 0
    }

    /// It goes on, or tries to.
    pub(crate) fn unblock(&mut self) {
        self.blocked = None;
        self.blocked_until_mended = false;
        self.blocked_by_sink = None;
    }
}

/// What all tasks of a worker are doing.
pub type Status = BTreeMap<TaskKey, TaskStatus>;

/// What a worker is to the consumer group of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Membership {
    /// It has no assignment yet, or has lost the group and joins again.
    #[default]
    Joining,
    /// It has its assignment, which may be of no partitions.
    Member,
    /// A newer plan has the input: this worker has left it.
    Superseded,
}

/// Where tasks post their status.
#[derive(Debug, Clone, Default)]
pub(crate) struct Board(Arc<Mutex<Posted>>);

#[derive(Debug, Default)]
struct Posted {
    tasks: Status,
    memberships: BTreeMap<String, Membership>,
}

impl Board {
    pub(crate) fn read(&self) -> Status {
        self.0.lock().tasks.clone()
    }

    pub(crate) fn update(&self, key: &TaskKey, change: impl FnOnce(&mut TaskStatus)) {
        change(self.0.lock().tasks.entry(key.clone()).or_default());
    }

    /// The tasks of an input that were there are not at work, for this reason.
    pub(crate) fn hold_up(&self, input: &str, reason: &str) {
        let mut posted = self.0.lock();
        let tasks = posted.tasks.iter_mut().filter(|(key, _)| key.0 == input);
        for (_, task) in tasks {
            task.at_end = false;
            task.blocked = Some(reason.to_owned());
            task.blocked_until_mended = false;
            task.blocked_by_sink = None;
        }
    }

    pub(crate) fn is_blocked(&self, key: &TaskKey) -> bool {
        let posted = self.0.lock();
        posted
            .tasks
            .get(key)
            .is_some_and(|status| status.blocked.is_some())
    }

    pub(crate) fn closed_ms(&self, key: &TaskKey) -> Option<i64> {
        self.0
            .lock()
            .tasks
            .get(key)
            .and_then(|status| status.closed_ms)
    }

    /// The first offset that a task has not covered; none before it begins.
    pub(crate) fn next_offset(&self, key: &TaskKey) -> Option<i64> {
        let posted = self.0.lock();
        let task = posted.tasks.get(key).filter(|task| task.has_begun())?;
        Some(task.next_offset)
    }

    pub(crate) fn remove(&self, key: &TaskKey) {
        self.0.lock().tasks.remove(key);
    }

    pub(crate) fn joined(&self, input: &str, membership: Membership) {
        self.0
            .lock()
            .memberships
            .insert(input.to_owned(), membership);
    }

    pub(crate) fn memberships(&self) -> BTreeMap<String, Membership> {
        self.0.lock().memberships.clone()
    }
}
