//! Why a task cannot go on.
use datafusion_common::DataFusionError;

use crate::wire::WireError;
use crate::wire::acknowledgement::Unacknowledged;

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
    /// Records were deleted before they were read, or a sink has no progress though it was written before: the task waits until somebody
    /// acknowledges that.
    #[error(transparent)]
    Unacknowledged(#[from] Unacknowledged),
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
