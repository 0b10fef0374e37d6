//! What servers have in common: how starting and stopping them fails.

/// What starting or stopping a server can fail with.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The server's programs are not there.
    #[error("{what}: run scripts/prerequisites.sh servers (make test does)")]
    NotInstalled {
        /// What is missing.
        what: String,
    },
    /// The server did not come up, or not go down, or did not do what it was asked.
    #[error("{server} {what}; the end of its log:\n{log}")]
    Server {
        /// Which server.
        server: &'static str,
        /// What it did not do.
        what: String,
        /// The last lines of its log.
        log: String,
    },
    /// A file or a process could not be made.
    #[error("{doing}: {error}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        #[source]
        error: std::io::Error,
    },
    /// A certificate could not be made.
    #[error("no certificate for the server: {0}")]
    Certificate(#[from] rcgen::Error),
}

pub(crate) fn io(doing: &'static str) -> impl FnOnce(std::io::Error) -> ServerError {
    move |error| ServerError::Io { doing, error }
}
