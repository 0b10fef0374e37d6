//! How long things may take.
use std::time::Duration;

/// How many connections there may be, and how long each step may take before it is given up and tried again.
///
/// Within transactions these hold in the place of what the role or the database has been given (`ALTER ROLE ... SET statement_timeout`):
/// limits for people who ask do not stop a pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections at the same time, besides one for questions whether the database is there.
    pub connections: usize,
    /// To connect.
    pub connect: Duration,
    /// A statement, on the server.
    pub statement: Duration,
    /// Waiting for a lock that somebody else holds.
    pub lock: Duration,
    /// Holding a transaction open without a word: a process that was stopped in the middle of one holds others up no longer.
    pub idle_in_transaction: Duration,
    /// Beginning a generation, which may delete many rows.
    pub generation: Duration,
    /// How much longer than the server's own limit an answer may be on its way.
    pub network: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 8,
            connect: Duration::from_secs(10),
            statement: Duration::from_secs(30),
            lock: Duration::from_secs(5),
            idle_in_transaction: Duration::from_secs(10),
            generation: Duration::from_secs(600),
            network: Duration::from_secs(10),
        }
    }
}

impl Limits {
    /// How long to wait for the answer to a statement.
    pub(super) fn answer(&self) -> Duration {
        self.statement + self.network
    }

    /// What begins a transaction of statements that take no longer than usual.
    pub(super) fn begin_usual(&self) -> String {
        self.begin(self.statement)
    }

    /// What begins a transaction in which no statement takes longer than `statement`.
    pub(super) fn begin(&self, statement: Duration) -> String {
        format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; \
             SET LOCAL statement_timeout = {}; SET LOCAL lock_timeout = {}; \
             SET LOCAL idle_in_transaction_session_timeout = {}; SET LOCAL client_min_messages = warning; ",
            statement.as_millis(),
            self.lock.as_millis(),
            self.idle_in_transaction.as_millis()
        )
    }
}
