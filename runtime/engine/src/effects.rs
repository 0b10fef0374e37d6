//! What a task wants done, in this order: sinks first, then everything on the log in one transaction.
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use tidewheel_log::{NewRecord, Record};

use crate::stage2::group_letters::describe;
use crate::wire::refusal::{Origin, RecordOrigin, WindowOrigin};
use crate::wire::state::Position;

/// What a task wants done after a part of a batch.
#[derive(Debug, Clone)]
pub struct Effects {
    /// How many of the records given were taken; the others are to be given again.
    pub consumed: usize,
    /// Where the task is afterwards.
    pub position: Position,
    /// To be committed to sinks, each with its progress, before anything goes to the log.
    pub writes: Vec<TableWrite>,
    /// To be written to the log, in one transaction with the task's progress: the rows of outputs over topics among it.
    pub log: Vec<NewRecord>,
}

/// What goes to one output's table.
#[derive(Debug, Clone)]
pub struct TableWrite {
    /// Index into the plan's outputs.
    pub output: usize,
    /// Generation that writes.
    pub generation: i64,
    /// Rows to append, or window rows to insert or replace.
    pub rows: RecordBatch,
    /// Window rows to delete; none for outputs of rows.
    pub deletes: Option<RecordBatch>,
    /// Which group each of `rows` is; empty for outputs of rows.
    pub windows: Vec<WindowRow>,
}

/// Which group a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowRow {
    /// Start of the window, ms.
    pub start_ms: i64,
    /// Fingerprint of the window's start and the group columns.
    pub group: u128,
    /// How many rows went into the group.
    pub contributions: u64,
}

impl TableWrite {
    /// Where a row of [`TableWrite::rows`] comes from: what its dead letter is made of, should the sink refuse it.
    pub fn origin(&self, row: usize) -> Origin {
        let columns = self.rows.num_columns();
        // The last two columns are the offset and, by kind of table, the ordinal or the revision.
        let offset = self
            .rows
            .column(columns - 2)
            .as_primitive::<Int64Type>()
            .value(row);
        match self.windows.get(row) {
            None => Origin::Record(RecordOrigin { offset }),
            Some(window) => Origin::Window(WindowOrigin {
                offset,
                start_ms: window.start_ms,
                group: window.group,
                contributions: window.contributions,
                row: describe(&self.rows.slice(row, 1), columns),
            }),
        }
    }
}

/// A row that a sink refused for its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Index into the plan's outputs.
    pub output: usize,
    /// Where it comes from.
    pub origin: Origin,
    /// Why, for people.
    pub reason: String,
}

/// How many of `records` a task at `at` takes of what was fetched to before `fetched_to`, and where it is afterwards: it stops at
/// `limit`, the next offset from which it has more to do, where there is one.
pub(crate) fn take_up_to(
    limit: Option<i64>,
    records: &[Record],
    fetched_to: i64,
    at: i64,
) -> (usize, i64) {
    let consumed = limit.map_or(records.len(), |limit| {
        records.partition_point(|record| record.offset < limit)
    });
    let next = if consumed < records.len() {
        limit
    } else {
        limit.map(|limit| limit.min(fetched_to))
    };
    (consumed, next.unwrap_or(fetched_to).max(at))
}
