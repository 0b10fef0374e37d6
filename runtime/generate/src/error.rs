//! What making events can fail with.
use tidewheel_log::LogError;

/// A declaration that no events can be made from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GeneratorError {
    /// The EventSource takes its events from elsewhere.
    #[error("the EventSource has no `generator`: declare one, or send events to it")]
    NoGenerator,
    /// A column's values cannot be made.
    #[error("generator.fields, `{field}`: {reason}")]
    Field {
        /// The column.
        field: String,
        /// What is wrong and what to write instead.
        reason: String,
    },
}

/// Why a runner cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum RunnerError {
    /// No events can be made.
    #[error(transparent)]
    Generator(#[from] GeneratorError),
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// An event that its own schema refuses: a constant or a choice that is not of the column's type.
    #[error(
        "generated event {index} breaks its schema: {field}{reason}; correct the column's entry in generator.fields"
    )]
    Refused {
        /// Which event, from 0.
        index: u64,
        /// The column and `: `, or nothing where the event as a whole is refused.
        field: String,
        /// What is wrong.
        reason: String,
    },
    /// The stored position cannot be read.
    #[error(
        "the position of the generator of {topic} is unreadable ({reason}): it was written by another version of tidewheel"
    )]
    Position {
        /// Topic of the source.
        topic: String,
        /// Why.
        reason: String,
    },
}

impl RunnerError {
    /// Whether trying again later may help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Log(LogError::Unavailable { .. }))
    }

    /// Whether a topic is not there: whoever administers the log makes it.
    pub fn is_missing_topic(&self) -> bool {
        matches!(self, Self::Log(LogError::UnknownPartition { .. }))
    }
}
