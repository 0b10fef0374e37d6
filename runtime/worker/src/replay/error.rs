//! Why windows of the past are not computed once more.
use tidewheel_engine::wire::WireError;
use tidewheel_log::LogError;

use crate::error::WorkerError;

/// Why windows of the past are not computed once more. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The pipeline has no tumbling or hopping windows of events in tables.
    #[error(
        "no output of the pipeline puts tumbling or hopping windows of events into a table: there is nothing to replay"
    )]
    NoWindows,
    /// Nothing says what the pipeline has read.
    #[error("no worker has run the pipeline yet")]
    NeverRan,
    /// The plan is not the one that runs.
    #[error(
        "the workers of the pipeline run other SQL for the step `{step}` than these files have"
    )]
    OtherPlan {
        /// The step.
        step: String,
    },
    /// No window lies in the range as a whole.
    #[error(
        "no window of the step `{step}`, which are {size_ms} ms long, lies between the two times as a whole"
    )]
    NoWindow {
        /// The step.
        step: String,
        /// Length of its windows, ms.
        size_ms: i64,
    },
    /// Workers may still write some of the windows.
    #[error("windows of the step `{step}` that lie between the two times may still change")]
    NotFinal {
        /// The step.
        step: String,
        /// The time, ms, up to which windows can be computed once more; none: none of them is final.
        until_ms: Option<i64>,
    },
    /// Retention has taken events that the first windows need.
    #[error(
        "retention has taken events that the first windows need: partition {partition} of topic {topic} begins at offset {earliest}, and was read from {first}"
    )]
    OutOfReach {
        /// The source's topic.
        topic: String,
        /// Its partition.
        partition: i32,
        /// Its oldest retained offset.
        earliest: i64,
        /// Where the pipeline began to read it.
        first: i64,
        /// The earliest time, ms, from which windows can be computed once more; none: there is no such time.
        from_ms: Option<i64>,
    },
    /// Retention has taken events while they were read.
    #[error(
        "retention has taken events from partition {partition} of topic {topic} while they were read"
    )]
    Taken {
        /// The source's topic.
        topic: String,
        /// Its partition.
        partition: i32,
    },
    /// The log failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// What a task left in the log cannot be read.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The plan cannot be run.
    #[error(transparent)]
    Worker(#[from] WorkerError),
}
