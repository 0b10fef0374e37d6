//! How commands end.
use std::fmt;
use std::process::ExitCode;

use tidewheel_log::LogError;
use tidewheel_planner::problem::{self, Problem};
use tidewheel_provision::kafka::TopicError;
use tidewheel_sinks::SinkError;
use tidewheel_worker::WorkerError;

/// Exit codes. They are documented in `--help`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All is well.
    Good = 0,
    /// Something failed, or a ledger does not balance.
    Failed = 1,
    /// The command line or the files are wrong.
    Refused = 2,
    /// A dry run found something that would be done.
    Pending = 3,
    /// Told to stop before the end, as with Ctrl-C.
    Stopped = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// What was asked cannot be done: what is wrong, and what to do instead.
    Usage { message: String, help: String },
    /// The files are wrong.
    Specs(Vec<Problem>),
    /// Something failed on the way.
    Run(String),
    /// Reading or writing failed.
    Io(std::io::Error),
}

impl Failure {
    pub(crate) fn usage(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Usage {
            message: message.into(),
            help: help.into(),
        }
    }

    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Usage { .. } | Self::Specs(_) => Exit::Refused,
            Self::Run(_) | Self::Io(_) => Exit::Failed,
        }
    }

    /// Whether the reader of our output had enough, as `head` has.
    pub(crate) fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == std::io::ErrorKind::BrokenPipe)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage { message, help } => write!(f, "error: {message}\n  = help: {help}"),
            Self::Specs(problems) => f.write_str(&problem::render(problems)),
            Self::Run(message) => write!(f, "error: {message}"),
            Self::Io(error) => write!(f, "error: {error}"),
        }
    }
}

impl std::error::Error for Failure {}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<LogError> for Failure {
    fn from(error: LogError) -> Self {
        Self::Run(error.to_string())
    }
}

impl From<SinkError> for Failure {
    fn from(error: SinkError) -> Self {
        Self::Run(error.to_string())
    }
}

impl From<prometheus::Error> for Failure {
    fn from(error: prometheus::Error) -> Self {
        Self::Run(format!("the metrics cannot be shown: {error}"))
    }
}

impl From<WorkerError> for Failure {
    fn from(error: WorkerError) -> Self {
        Self::Run(error.to_string())
    }
}

impl From<TopicError> for Failure {
    fn from(error: TopicError) -> Self {
        match error {
            TopicError::Connection { reason } => {
                Self::usage(format!("--kafka: {reason}"), crate::roles::kafka::HELP)
            }
            error => Self::Run(error.to_string()),
        }
    }
}
