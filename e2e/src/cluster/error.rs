//! What making a cluster can fail with.
use std::{fmt::Display, path::Path};

use crate::server::ServerError;

/// What making, using or putting away a cluster can fail with.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The machine lacks something.
    #[error("missing: {what}\n  do this: {how}")]
    Missing {
        /// What it lacks.
        what: String,
        /// How to get it.
        how: String,
    },
    /// A step of making the cluster failed, or a program that was run.
    #[error("{doing} failed:\n{said}")]
    Failed {
        /// What was being done.
        doing: String,
        /// What was said about it.
        said: String,
    },
    /// There is a cluster of the name already.
    #[error("there is a cluster named {name} already: put it away first (make cluster-down)")]
    Exists {
        /// Its name.
        name: String,
    },
    /// A name that cannot be a cluster's.
    #[error(
        "{name:?} cannot be the name of a cluster: write up to 20 lower-case letters, digits and hyphens, such as \"local\""
    )]
    Name {
        /// The name.
        name: String,
    },
    /// Kafka, PostgreSQL or a part of Kubernetes did not do what it should.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// A certificate could not be made.
    #[error("no certificate for the cluster: {0}")]
    Certificate(#[from] rcgen::Error),
    /// A file or a process could not be made.
    #[error("{doing}: {error}")]
    Io {
        /// What was being done.
        doing: String,
        /// What the system said.
        #[source]
        error: std::io::Error,
    },
}

pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> ClusterError {
    move |error| ClusterError::Io {
        doing: doing.into(),
        error,
    }
}

/// Of an action on a file or folder: `making /a/b: permission denied`.
pub(crate) fn io_at(
    doing: impl Display,
    path: &Path,
) -> impl FnOnce(std::io::Error) -> ClusterError {
    io(format!("{doing} {}", path.display()))
}
