//! What the tasks of a worker are doing, for views, metrics and those who wait.
use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tidewheel_engine::Ledger;
use tidewheel_engine::stage2::OpenWindow;

/// A task: an input (a source or an aggregate step) and a partition of it.
pub type TaskKey = (String, i32);

/// What a task is doing.
#[derive(Debug, Clone, Default)]
pub struct TaskStatus {
    /// Stage 1 or 2.
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
}

/// What all tasks of a worker are doing.
pub type Status = BTreeMap<TaskKey, TaskStatus>;

/// Where tasks post their status.
#[derive(Debug, Clone, Default)]
pub(crate) struct Board(Arc<Mutex<Status>>);

impl Board {
    pub(crate) fn read(&self) -> Status {
        self.0.lock().clone()
    }

    pub(crate) fn update(&self, key: &TaskKey, change: impl FnOnce(&mut TaskStatus)) {
        change(self.0.lock().entry(key.clone()).or_default());
    }

    pub(crate) fn closed_ms(&self, key: &TaskKey) -> Option<i64> {
        self.0.lock().get(key).and_then(|status| status.closed_ms)
    }

    /// The first offset that a task has not covered; none before it begins.
    pub(crate) fn next_offset(&self, key: &TaskKey) -> Option<i64> {
        let board = self.0.lock();
        let status = board.get(key).filter(|status| status.stage > 0)?;
        Some(status.next_offset)
    }

    pub(crate) fn remove(&self, key: &TaskKey) {
        self.0.lock().remove(key);
    }
}
