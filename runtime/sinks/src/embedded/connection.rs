//! One connection that tasks take turns on, and what its failures mean.
use std::{path::Path, time::Duration};

use sqlx::{
    ConnectOptions, Connection as _, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};
use tokio::sync::{Mutex, MutexGuard};

use crate::SinkError;

/// How long SQLite waits for another process that has the file locked.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Prepared statements kept per connection: a handful for each table that is written.
const STATEMENTS_KEPT: usize = 512;
/// Pages of 4 KiB that the write-ahead log gathers before they go to the file. Windows are rewritten again and again: the more versions of a
/// page meet in the log, the fewer reach the disk.
const CHECKPOINT_PAGES: &str = "8000";
/// What the write-ahead log is cut down to once its pages are in the file.
const WAL_LIMIT_BYTES: &str = "67108864";

/// A connection that is opened when first needed, used by one task at a time in the order of asking, and opened anew after a failure.
///
/// No pool: its timers and background tasks would make the outcome of a cancelled call depend on a scheduler. Here the rollback of
/// a dropped transaction is queued on the connection before anybody else gets it.
#[derive(Debug)]
pub(super) struct Connection {
    options: SqliteConnectOptions,
    slot: Mutex<Option<SqliteConnection>>,
}

impl Connection {
    /// A connection that may write. The file is made if need be.
    ///
    /// A commit survives the death of the process. After a power failure the newest commits may be missing, rows and progress together.
    pub(super) fn writing(path: &Path) -> Self {
        let options = options(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .pragma("cache_size", "-32000")
            .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
            .pragma("journal_size_limit", WAL_LIMIT_BYTES);
        Self {
            options,
            slot: Mutex::new(None),
        }
    }

    /// A connection that only reads; it neither waits for the writer nor holds it up.
    pub(super) fn reading(path: &Path) -> Self {
        Self {
            options: options(path).read_only(true),
            slot: Mutex::new(None),
        }
    }

    /// Waits for its turn. Cancel-safe.
    pub(super) async fn lease(&self) -> Lease<'_> {
        Lease {
            options: &self.options,
            slot: self.slot.lock().await,
        }
    }
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(BUSY_TIMEOUT)
        .statement_cache_capacity(STATEMENTS_KEPT)
        .disable_statement_logging()
}

/// The right to use the connection.
pub(super) struct Lease<'a> {
    options: &'a SqliteConnectOptions,
    slot: MutexGuard<'a, Option<SqliteConnection>>,
}

impl Lease<'_> {
    /// The connection, opened if need be.
    pub(super) async fn connection(&mut self) -> Result<&mut SqliteConnection, sqlx::Error> {
        match &mut *self.slot {
            Some(connection) => Ok(connection),
            empty => Ok(empty.insert(self.options.connect().await?)),
        }
    }

    /// Ends the lease. After an error of SQLite the connection is dropped: some errors end its transaction behind our back.
    pub(super) fn settle<T>(
        mut self,
        output: &str,
        outcome: Result<T, Failure>,
    ) -> Result<T, SinkError> {
        if matches!(outcome, Err(Failure::Sql(_))) {
            *self.slot = None;
        }
        outcome.map_err(|failure| failure.of(output))
    }

    /// Ends the lease and the connection.
    pub(super) async fn close(mut self) -> Result<(), sqlx::Error> {
        match self.slot.take() {
            Some(connection) => connection.close().await,
            None => Ok(()),
        }
    }
}

/// Why something was not done.
#[derive(Debug)]
pub(super) enum Failure {
    /// What was found where something else was expected.
    Fenced(String),
    /// What a person has to do.
    Misfit(String),
    /// SQLite or the way to it failed.
    Sql(sqlx::Error),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

impl Failure {
    /// The error of an output.
    pub(super) fn of(self, output: &str) -> SinkError {
        let output = output.to_owned();
        match self {
            Self::Fenced(found) => SinkError::Fenced { output, found },
            Self::Misfit(reason) => SinkError::Misfit { output, reason },
            Self::Sql(error) => match advice(&error) {
                Some(advice) => SinkError::Misfit {
                    output,
                    reason: format!("{error}: {advice}"),
                },
                None => SinkError::Unavailable {
                    output,
                    reason: error.to_string(),
                },
            },
        }
    }
}

/// What to do about an error that does not go away by itself; none for those that may (locked, disk full, I/O, out of memory).
/// The numbers are SQLite's primary result codes, the low byte of what it reports.
fn advice(error: &sqlx::Error) -> Option<&'static str> {
    let code: i32 = error.as_database_error()?.code()?.parse().ok()?;
    match code & 0xFF {
        1 | 19 | 20 => Some(
            "the file is not as it was left; undo what changed it, or start over with a new file",
        ),
        8 => Some("make the file and its folder writable"),
        11 => Some("the file is damaged; restore it, or start over with a new one"),
        26 => Some("this is no SQLite database; give the path of another file"),
        _ => None,
    }
}
