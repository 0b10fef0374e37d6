//! What a task wants done, in this order: sinks first, then everything on the log in one transaction.
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use tidewheel_log::NewRecord;

use crate::stage2::describe;
use crate::wire::refusal::{Origin, RecordOrigin, WindowOrigin};
use crate::wire::state::Position;
use crate::wire::{WireError, placement};

/// What a task wants done after a part of a batch.
#[derive(Debug, Clone)]
pub struct Effects {
    /// How many of the records given were taken; the others are to be given again.
    pub consumed: usize,
    /// Where the task is afterwards.
    pub position: Position,
    /// To be committed to sinks, each with its progress, before anything goes to the log.
    pub writes: Vec<TableWrite>,
    /// To be written to the log, in one transaction with the task's progress.
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
    /// What `rows` are, where they are rows of windows.
    pub windows: Option<WindowRows>,
}

/// What the rows of a write are, one by one.
#[derive(Debug, Clone)]
pub struct WindowRows {
    /// The group columns with the window's start (ms) in front.
    pub keys: RecordBatch,
    /// Contributions that no row of the table covers yet; none where a row is only written again.
    pub contributions: Vec<u64>,
}

impl TableWrite {
    /// Where a row of [`TableWrite::rows`] comes from: what its dead letter is made of, should the sink refuse it.
    pub fn origin(&self, row: usize) -> Result<Origin, WireError> {
        let columns = self.rows.num_columns();
        let ours = |from_end: usize| {
            let column = self.rows.column(columns - from_end);
            column.as_primitive::<Int64Type>().value(row)
        };
        let offset = ours(2);
        let Some(windows) = &self.windows else {
            return Ok(Origin::Record(RecordOrigin {
                offset,
                ordinal: ours(1),
            }));
        };
        let key = windows.keys.slice(row, 1);
        let group = placement::fingerprints(key.columns(), 1)?[0];
        Ok(Origin::Window(WindowOrigin {
            offset,
            start_ms: key.column(0).as_primitive::<Int64Type>().value(0),
            group: format!("{group:032x}"),
            contributions: windows.contributions[row],
            row: describe(&self.rows.slice(row, 1), columns.saturating_sub(1)),
        }))
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
