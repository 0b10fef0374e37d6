//! Connections that tasks take turns on.
//!
//! Everything is a simple query, with its values in its text: nothing is prepared, so nothing is lost where a pooler gives each
//! transaction another session, and a transaction's first and last steps are one round trip each.
use std::{ops::ControlFlow, sync::Arc, time::Duration};

use futures::TryStreamExt as _;
use parking_lot::Mutex;
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, PgConnection,
    postgres::{PgConnectOptions, PgRow},
};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

use super::{
    failure::Failure,
    health::{Health, HealthBoard},
    limits::Limits,
};
use crate::SinkError;

/// The connections of one sink.
pub(super) struct Connections {
    limits: Limits,
    permits: Semaphore,
    /// Who only asks whether the database is there does not wait until others are done.
    probes: Semaphore,
    state: Mutex<State>,
    health: HealthBoard,
}

struct State {
    options: Arc<PgConnectOptions>,
    /// Connections that nobody uses, all of them made with `options`.
    idle: Vec<PgConnection>,
}

impl Connections {
    pub(super) fn new(options: PgConnectOptions, limits: Limits) -> Self {
        Self {
            permits: Semaphore::new(limits.connections.max(1)),
            probes: Semaphore::new(1),
            limits,
            state: Mutex::new(State {
                options: Arc::new(options),
                idle: Vec::new(),
            }),
            health: HealthBoard::default(),
        }
    }

    /// Connects as `options` say from now on. Connections that are in use are not used again.
    pub(super) fn set_options(&self, options: PgConnectOptions) {
        let mut state = self.state.lock();
        state.options = Arc::new(options);
        state.idle.clear();
    }

    pub(super) fn health(&self) -> Health {
        self.health.read()
    }

    /// Waits for its turn and connects if need be. Cancel-safe.
    pub(super) async fn session(&self) -> Result<Session<'_>, Failure> {
        self.session_by(&self.permits).await
    }

    /// A session for a question that takes no time, however many others work. Cancel-safe.
    pub(super) async fn probe(&self) -> Result<Session<'_>, Failure> {
        self.session_by(&self.probes).await
    }

    async fn session_by<'a>(&'a self, permits: &'a Semaphore) -> Result<Session<'a>, Failure> {
        let permit = permits.acquire().await;
        // The semaphore is never closed.
        let permit = permit.map_err(|_| Failure::Misfit("the sink was closed".to_owned()))?;
        let (options, idle) = {
            let mut state = self.state.lock();
            (Arc::clone(&state.options), state.idle.pop())
        };
        let connection = match idle {
            Some(connection) => connection,
            None => self.connect(&options).await?,
        };
        Ok(Session {
            connections: self,
            options,
            connection,
            _permit: permit,
        })
    }

    /// Ends a piece of work: says how the sink is, and makes the error that of `subject`.
    pub(super) fn settle<T>(
        &self,
        subject: &str,
        outcome: Result<T, Failure>,
    ) -> Result<T, SinkError> {
        self.health.note(outcome.as_ref().err());
        outcome.map_err(|failure| failure.of(subject))
    }

    async fn connect(&self, options: &PgConnectOptions) -> Result<PgConnection, Failure> {
        let connecting = timeout(self.limits.connect, options.connect()).await;
        connecting
            .map_err(|_| Failure::Silent(self.limits.connect))?
            .map_err(Failure::Connect)
    }
}

/// The right to use a connection. Where it is dropped without [`keep`](Self::keep) the connection ends, and with it whatever
/// transaction it was in.
pub(super) struct Session<'a> {
    connections: &'a Connections,
    options: Arc<PgConnectOptions>,
    connection: PgConnection,
    _permit: SemaphorePermit<'a>,
}

impl Session<'_> {
    /// Runs statements and returns the rows of all of them; where one fails, those behind it are not run.
    pub(super) async fn run(&mut self, sql: String) -> Result<Vec<PgRow>, Failure> {
        self.run_for(sql, self.connections.limits.answer()).await
    }

    /// As [`run`](Self::run), for statements that may take that long.
    pub(super) async fn run_for(
        &mut self,
        sql: String,
        patience: Duration,
    ) -> Result<Vec<PgRow>, Failure> {
        let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&mut self.connection);
        within(patience, rows).await
    }

    /// Gives each row of a query to `each`, as they come, until it breaks off. However long it takes: nobody waits for a person who reads.
    pub(super) async fn each(
        &mut self,
        sql: String,
        mut each: impl FnMut(PgRow) -> Result<ControlFlow<()>, Failure>,
    ) -> Result<ControlFlow<()>, Failure> {
        let mut rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch(&mut self.connection);
        while let Some(row) = rows.try_next().await.map_err(Failure::Sql)? {
            if each(row)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Copies binary rows, which come in pieces, by a `COPY ... FROM STDIN`.
    pub(super) async fn copy(
        &mut self,
        statement: &str,
        pieces: impl Iterator<Item = Vec<u8>> + Send,
    ) -> Result<(), Failure> {
        let patience = self.connections.limits.answer();
        let copying = async {
            let mut copy = self.connection.copy_in_raw(statement).await?;
            for piece in pieces {
                copy.send(piece).await?;
            }
            copy.finish().await.map(drop)
        };
        within(patience, copying).await
    }

    /// The server's version, as `server_version_num` has it.
    pub(super) fn version(&self) -> Option<u32> {
        self.connection.server_version_num()
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.connections.limits
    }

    /// Leaves the connection, which is in no transaction, to the next.
    pub(super) fn keep(self) {
        let mut state = self.connections.state.lock();
        if Arc::ptr_eq(&state.options, &self.options) {
            state.idle.push(self.connection);
        }
    }
}

async fn within<T>(
    patience: Duration,
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, Failure> {
    let outcome = timeout(patience, work).await;
    outcome
        .map_err(|_| Failure::Silent(patience))?
        .map_err(Failure::Sql)
}
