//! What can end a worker, and what can end an attempt of a task.
use tidewheel_engine::EngineError;
use tidewheel_engine::wire::WireError;
use tidewheel_log::LogError;
use tidewheel_planner::generations::{NewerPlan, UnreadableAllotment};
use tidewheel_sinks::SinkError;

use crate::status::TaskKey;

/// Why a worker cannot run its plan.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The log failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A stored value cannot be read.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// An output names a sink that was not given.
    #[error("output {output} writes to sink {sink}, which this worker was not given")]
    UnknownSink {
        /// The output.
        output: String,
        /// The sink.
        sink: String,
    },
    /// The progress of a source's task cannot be read.
    #[error(transparent)]
    Progress(EngineError),
    /// The allotment of generations cannot be read.
    #[error(transparent)]
    Allotment(#[from] UnreadableAllotment),
    /// A newer plan has taken over.
    #[error(transparent)]
    NewerPlan(#[from] NewerPlan),
    /// Another plan was begun at the same time.
    #[error(
        "another plan of this pipeline was begun at the same time, and nothing says which of the two is newer: run one at a time, or give them `metadata.generation`"
    )]
    Outbid,
    /// Records of a source name schemas, and nobody has said where those are.
    #[error(
        "the records of source {source_name} name schemas, and this worker was not given its schema registry"
    )]
    NoRegistry {
        /// The source.
        source_name: String,
    },
    /// A topic that has to exist before a worker starts does not.
    #[error("topic {topic} is not there: `tidewheel provision` or the operator makes it")]
    NoTopic {
        /// The topic.
        topic: String,
    },
}

/// Why an attempt of a task ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AttemptError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Sink(#[from] SinkError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// A source's topic is not the one that the task has read.
    #[error(
        "topic {topic} was deleted and made anew: partition {partition} was read up to offset {covered}, and now {evidence}. Restore the old topic, or give the Pipeline and its tables other names to begin with the new one"
    )]
    MadeAnew {
        /// The topic.
        topic: String,
        /// Its partition.
        partition: i32,
        /// The first offset that was not covered.
        covered: i64,
        /// By what it shows.
        evidence: String,
    },
    /// Tables were filled by a task of which no state was ever written: whoever began from nothing would leave out what comes until it is as
    /// far as they are, or write what is in them already.
    #[error(
        "the state of {}/{} in Kafka is gone, while {outputs} by it: restore topic {topic}, or give the Pipeline and its tables other names to begin anew", key.0, key.1
    )]
    StateGone {
        /// The task.
        key: TaskKey,
        /// The topic that had the state.
        topic: String,
        /// How far each output was written, for people.
        outputs: String,
    },
    /// A newer plan writes an output of the task.
    #[error(transparent)]
    Superseded(SinkError),
    /// The task was told to stop while it waited.
    #[error("stopped")]
    Stopped,
}

impl AttemptError {
    /// Whether another attempt fails in the same way until somebody has mended what is wrong.
    pub(crate) fn needs_mending(&self) -> bool {
        match self {
            Self::Sink(error) => matches!(error, SinkError::Misfit { .. }),
            Self::Engine(error) => {
                matches!(error, EngineError::Wire(_) | EngineError::Unacknowledged(_))
            }
            Self::Log(error) | Self::Worker(WorkerError::Log(error)) => {
                matches!(error, LogError::Damaged { .. } | LogError::Invalid { .. })
            }
            Self::Worker(error) => matches!(
                error,
                WorkerError::Wire(_)
                    | WorkerError::UnknownSink { .. }
                    | WorkerError::NoRegistry { .. }
                    | WorkerError::Allotment(_)
            ),
            Self::MadeAnew { .. } | Self::StateGone { .. } => true,
            Self::Superseded(_) | Self::Stopped => false,
        }
    }
}

impl From<WireError> for AttemptError {
    fn from(error: WireError) -> Self {
        Self::Engine(error.into())
    }
}
