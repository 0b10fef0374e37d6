//! The pure stream engine: records and clock readings in, effects out.
//!
//! A *task* is one partition of one input: [`stage1::SourceTask`] for a partition of a source, [`stage2::StepTask`] for a partition of
//! the partials of an aggregate step. A task does no I/O and reads no clock: whoever drives it hands it records and carries out
//! the [`Effects`] it returns, sinks first, then the log in one transaction.
//!
//! ```mermaid
//! flowchart LR
//!   records --> decode --> rows[row-wise steps] --> dedup[deduplication] --> fold[partial fold]
//!   decode -. refused .-> dead[dead letters]
//!   dedup --> out1[row outputs]
//!   fold -- partials topic --> runs[runs of windows] -- watermark --> result[fold, result, row-wise steps] --> out2[window outputs]
//! ```
pub mod chain;
pub mod deduplication;
pub mod effects;
pub mod error;
mod extreme;
mod fold;
pub mod generation;
pub mod ledger;
mod partials;
mod publish;
mod rows;
#[doc(hidden)]
pub mod sabotage;
mod session;
mod settled;
mod sink_place;
pub mod stage1;
pub mod stage2;
mod timestamp;
pub mod window;
pub mod wire;

pub use effects::{Effects, Refusal, TableWrite, WindowRow};
pub use error::EngineError;
pub use generation::{Generations, StepGeneration};
pub use ledger::Ledger;
pub use wire::state::Position;
