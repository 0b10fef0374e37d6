//! One trait for places that results go to, and the sinks that implement it.
//!
//! A task writes an output in steps. Each applies a [`Change`] and moves the output's [`Progress`], both or neither, and only from the progress
//! that the task believes in: whoever lost its partition to another task cannot write any more. Rows that cannot be stored are kept
//! beside the table until the log has their dead letters, so that these survive the process: see [`Writer`].
//!
//! ```text
//!  task ── commit(change, expected, next) ──► Writer ──┬── generation current? progress as expected? ── no ──► Fenced
//!                                                      └── rows, refused rows and progress in one transaction ──► Committed
//! ```
//!
//! ```
//! use std::sync::Arc;
//! use arrow::array::{Int64Array, RecordBatch};
//! use tidewheel_planner::plan::{Column, ColumnType, Table, TableKind};
//! use tidewheel_sinks::{Change, OutputId, Progress, Sink, TaskId, embedded::{Columns, Database}};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! let names = ["n", "_generation", "_partition", "_offset", "_ordinal"];
//! let column = |name: &str| Column { name: name.to_owned(), data_type: ColumnType::Bigint, nullable: false };
//! let table = Table { schema: "public".into(), name: "numbers".into(), columns: names.map(column).into(), kind: TableKind::Rows, retention_ms: None };
//! let output = OutputId { pipeline: "shop/kpis".into(), output: "numbers".into() };
//!
//! let database = Database::open(folder.path().join("tables.db")).await?;
//! database.create_table(&output, &table).await?;
//! let mut writer = database.writer(&output, &table, &TaskId { input: "clicks".into(), partition: 0 }).await?;
//! writer.begin_generation(1, None).await?;
//!
//! let rows = RecordBatch::try_from_iter(names.map(|name| (name, Arc::new(Int64Array::from(vec![7])) as _)))?;
//! let next = Progress { next_offset: 8, watermark_ms: None };
//! let expected = writer.last_commit().await?.map(|(progress, _)| progress);
//! writer.commit(1, &Change::Append(rows), expected, next, &[], &|row| format!("row {row}")).await?;
//! assert_eq!(database.rows(&table, Columns::Data).await?[0]["n"], 7);
//! # Ok(())
//! # }
//! ```
mod collected;
pub mod embedded;
mod fencing;
pub mod postgres;
mod rows;
mod time;

use std::fmt;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use tidewheel_planner::plan::Table;

pub use self::collected::Collected;

/// A place that results go to.
#[async_trait]
pub trait Sink: Send + Sync + 'static {
    /// What it promises.
    fn guarantee(&self) -> Guarantee;

    /// Opens an output for one task. The table exists already: creating it is the administrator's side.
    async fn writer(
        &self,
        output: &OutputId,
        table: &Table,
        task: &TaskId,
    ) -> Result<Box<dyn Writer>, SinkError>;
}

/// Writes one output for one task. Tries once; retrying is the caller's.
///
/// # What is atomic
/// A commit is one transaction: the comparison of generation and progress, the rows, the new progress, and what was refused. Whoever
/// looks sees all of it or nothing, also where the process dies or the future is dropped.
///
/// # What is refused
/// A row that the place cannot store *for its data* (a character, a range, a NULL, a constraint of the user's) is refused alone: the
/// others of the commit are written, and the refused one is kept with them, as [`Refused`]. Everything else is an error of the whole
/// commit. A refused row of a window takes the stored row of its key with it, since that one no longer holds: what the table has of
/// a key is its newest row or none, in whatever steps it came about.
///
/// # How long it is kept
/// Until a later commit of the same task and output, which keeps what it is given as `kept` and what it refuses itself. Whoever leaves
/// something out says by that that the log has its dead letter, and that no outage takes that back.
///
/// # Answers that are lost
/// After [`SinkError::Unavailable`] a commit may have happened, may not, or may still be under way. [`Writer::last_commit`] tells:
/// where it has the progress `next`, the commit has happened, and its answer stands there, behind `kept`. Otherwise commit once more; should the
/// first come through nevertheless, the second is [`SinkError::Fenced`]. Therefore `next` always lies beyond `expected`.
#[async_trait]
pub trait Writer: Send {
    /// Makes `generation` the output's generation, in one transaction: lower generations can no longer commit (whoever
    /// holds them gets [`SinkError::Fenced`]), and for window tables their rows with `window_start >= cut_ms` are
    /// deleted, and progress and refused rows of all their tasks forgotten. Row tables keep both. Does nothing where `generation` is
    /// already current, so it may be repeated; [`SinkError::Fenced`] where a higher one is.
    async fn begin_generation(
        &mut self,
        generation: i64,
        cut_ms: Option<i64>,
    ) -> Result<(), SinkError>;

    /// The newest commit of this task's output, by whichever process: the progress that it moved to, and what is kept of refused rows,
    /// oldest first. None where there was none (in the current generation, for window tables). Waits for a commit of this writer that is
    /// still under way, where it can.
    async fn last_commit(&mut self) -> Result<Option<(Progress, Vec<Refused>)>, SinkError>;

    /// Applies `change` and moves the progress from `expected` to `next`. `origin` is asked about refused rows only. What earlier commits
    /// refused goes, but for `kept`.
    /// [`SinkError::Fenced`], and nothing written, where the progress is not `expected` or the generation is not `generation`.
    async fn commit(
        &mut self,
        generation: i64,
        change: &Change,
        expected: Option<Progress>,
        next: Progress,
        kept: &[Refused],
        origin: Origin<'_>,
    ) -> Result<Committed, SinkError>;
}

/// What is to be kept of a refused row, which is given by its index into the appended or upserted rows.
pub type Origin<'a> = &'a (dyn Fn(usize) -> String + Send + Sync);

/// A row that a sink refused for its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// What [`Origin`] said of it: opaque to the sink.
    pub origin: String,
    /// Why, for people.
    pub reason: String,
}

/// What a sink promises about the rows it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guarantee {
    /// Each row once, whatever fails.
    ExactlyOnce,
    /// The final value of each key is right; values in between may be written more than once.
    Convergent,
    /// Each row at least once, with a key by which the receiver can tell repeats.
    AtLeastOnce,
}

/// An output of a pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OutputId {
    /// `<namespace>/<name>` of the Pipeline.
    pub pipeline: String,
    /// Name of the output.
    pub output: String,
}

impl fmt::Display for OutputId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "output `{}` of pipeline `{}`",
            self.output, self.pipeline
        )
    }
}

/// A task: one partition of one input.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TaskId {
    /// Name of the input: a source, or an aggregate step.
    pub input: String,
    /// Partition of the input.
    pub partition: i32,
}

/// How far an output has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The first offset of the input that is not yet covered.
    pub next_offset: i64,
    /// The watermark there, ms since the epoch; none before the first event.
    pub watermark_ms: Option<i64>,
}

/// What is to be written.
#[derive(Debug, Clone)]
pub enum Change {
    /// Nothing but progress.
    Nothing,
    /// Rows to append, with the columns of the table in its order.
    Append(RecordBatch),
    /// Rows of windows. Both batches have the columns of the table in its order; of the second only the key and our columns matter.
    /// A stored row is replaced or deleted only by a higher (`_generation`, `_offset`); `_revision` is stored as given.
    /// Keys are unique within the two batches together.
    Windows {
        /// To insert or replace.
        upserts: RecordBatch,
        /// To delete.
        deletes: RecordBatch,
    },
}

/// What a commit did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Committed {
    /// Rows that were refused, in the order of the change; the others were written.
    pub refused: Vec<Refused>,
}

/// What a sink can fail with.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// Another task or a newer plan writes this output.
    #[error("{output}: another task or a newer plan writes here (found {found})")]
    Fenced {
        /// The output.
        output: String,
        /// What was found instead of what was expected.
        found: String,
    },
    /// It cannot be reached, or refused for now; the outcome is unknown.
    #[error("{output}: the sink is unavailable: {reason}")]
    Unavailable {
        /// The output.
        output: String,
        /// Why, without any secret.
        reason: String,
    },
    /// The table is not as planned: a person has to act.
    #[error("{output}: {reason}")]
    Misfit {
        /// The output.
        output: String,
        /// What is wrong and what to do.
        reason: String,
    },
}

impl SinkError {
    /// What is wrong, without the name of the output, and without any secret.
    #[must_use]
    pub fn reason(&self) -> String {
        match self {
            Self::Fenced { found, .. } => {
                format!("another task or a newer plan writes here (found {found})")
            }
            Self::Unavailable { reason, .. } | Self::Misfit { reason, .. } => reason.clone(),
        }
    }
}
