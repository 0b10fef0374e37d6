//! Runs a plan's tasks over a log and sinks.
//!
//! The engine decides, this crate carries out: it joins the consumer groups, takes tasks over, hands records to the engine and commits
//! what comes back, sinks first, then the log. Whatever fails ends one task's attempt, which begins again from its state.
//!
//! Nothing here needs an executor of a particular kind: the futures of [`Worker::inputs`] can be spawned, joined, or polled by hand
//! with a [`Timer`] of one's own.
mod acknowledge;
mod allot;
mod batches;
mod context;
mod cut;
mod cuts;
mod error;
mod input;
mod made_anew;
mod outdated;
mod pace;
mod progress;
mod recovery;
pub mod replay;
mod schemas;
mod source_attempt;
mod status;
mod step_attempt;
mod table_writers;
mod timer;
mod topic_settings;
mod topics;
mod watermarks;
mod work;
mod worker;

pub use acknowledge::acknowledge;
pub use allot::read_allotment;
pub use context::{Limits, Sinks};
pub use error::WorkerError;
pub use schemas::{Schemas, SchemasError, SchemasOf};
pub use status::{Membership, Status, TaskKey, TaskStatus};
pub use timer::{SystemTimer, Timer};
pub use topic_settings::topic_settings;
pub use work::{Durations, Work};
pub use worker::{Control, Worker};
