//! Why a task cannot go on.
use datafusion_common::DataFusionError;

use crate::wire::WireError;

/// Why a task cannot go on. None of these is the fault of an event: bad events become dead letters.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A stored value cannot be read.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// A newer plan has taken the task.
    #[error(
        "plan revision {ours} is older than revision {theirs}, which has taken this task: let it go"
    )]
    Outdated {
        /// Revision of our plan.
        ours: i64,
        /// Revision that wrote the state.
        theirs: i64,
    },
    /// Retention took records that were not read.
    #[error(
        "offsets {from} to {to} of {input}/{partition} were deleted by retention before they were read"
    )]
    Lost {
        /// The input.
        input: String,
        /// Its partition.
        partition: i32,
        /// The first lost offset.
        from: i64,
        /// The first offset that is there.
        to: i64,
    },
    /// A sink has no progress though it was written before.
    #[error(
        "output {output}: the sink has lost its progress (expected at least offset {expected}): restore the table, or remove the output and add it under another name"
    )]
    ProgressMissing {
        /// The output.
        output: String,
        /// What was written before.
        expected: i64,
    },
    /// Folding aggregates failed as a whole.
    #[error("step {step}: cannot aggregate: {reason}")]
    Aggregation {
        /// The step.
        step: String,
        /// Why.
        reason: String,
    },
}

impl EngineError {
    pub(crate) fn aggregation(step: &str, error: &DataFusionError) -> Self {
        Self::Aggregation {
            step: step.to_owned(),
            reason: crate::rows::reason(error),
        }
    }
}
