//! Tables of PostgreSQL 15 or newer.
//!
//! | column type | stored as |
//! |---|---|
//! | text, bigint, boolean, uuid, date | itself |
//! | double | double precision; NaN and infinities are kept |
//! | timestamp | timestamp with time zone |
//! | json | jsonb |
//! | numeric | numeric(precision, scale) |
//!
//! Rows come by binary COPY; those of windows by way of a temporary table, from which they are upserted in the order of their key. Each
//! schema has tables `_tidewheel_*` with progress, generations and refused rows, written in the transaction of the rows. Tables
//! are made by whoever administers them, never here.
//!
//! Rows that PostgreSQL refuses for their data (SQLSTATE classes 22 and 23) are found by bisection, once it is clear that the table
//! is as planned. Every other error is [`SinkError::Unavailable`], to be tried again, or [`SinkError::Misfit`] where a person has
//! changed the table.
mod batch;
mod connection;
mod encode;
mod failure;
mod health;
mod limits;
mod numeric;
mod read;
mod replace;
mod sieve;
mod statements;
mod table;
mod url;
mod write;

use std::{fmt, ops::ControlFlow, sync::Arc};

use async_trait::async_trait;
use tidewheel_planner::plan::Table;
pub use tidewheel_planner::postgres::InvalidUrl;

use self::{connection::Connections, failure::Failure, statements::Statements, write::TableWriter};
pub use self::{
    health::Health,
    limits::Limits,
    replace::{Replaced, Replacement},
};
use crate::embedded::{Columns, Row};
use crate::{Guarantee, OutputId, Sink, SinkError, TaskId, Writer};

/// The tables of one Sink. Clones share their connections.
#[derive(Clone)]
pub struct Postgres {
    connections: Arc<Connections>,
}

impl Postgres {
    /// For the database at `url`: `postgres://user:password@host:port/database`, with `sslmode` (`disable`, `prefer`, `require`,
    /// `verify-ca`, `verify-full`), `sslrootcert` and the like behind a `?`. Connects when first needed.
    ///
    /// # Errors
    /// [`InvalidUrl`], which holds no secret.
    pub fn new(url: &str, limits: Limits) -> Result<Self, InvalidUrl> {
        let connections = Connections::new(url::parse(url)?, limits);
        Ok(Self {
            connections: Arc::new(connections),
        })
    }

    /// Uses another URL from now on, such as one with a new password; whoever is connected finishes what it does.
    ///
    /// # Errors
    /// [`InvalidUrl`], after which the old one stays in use.
    pub fn set_url(&self, url: &str) -> Result<(), InvalidUrl> {
        self.connections.set_options(url::parse(url)?);
        Ok(())
    }

    /// How the database was when it was last asked.
    pub fn health(&self) -> Health {
        self.connections.health()
    }

    /// Gives every row of a table to `each` until it breaks off: rows by partition, offset and ordinal, windows by key.
    /// All of them are of one moment, however long it takes.
    ///
    /// # Errors
    /// [`SinkError::Unavailable`], [`SinkError::Misfit`], with the table's name as `output`.
    pub async fn for_each_row(
        &self,
        table: &Table,
        columns: Columns,
        each: impl FnMut(Row) -> ControlFlow<()>,
    ) -> Result<(), SinkError> {
        let outcome = read::for_each_row(&self.connections, table, columns, each).await;
        self.connections.settle(&table.name, outcome)
    }

    /// The newest rows without our columns, newest first: rows about as they were written, windows from the highest key.
    ///
    /// # Errors
    /// As for [`for_each_row`](Self::for_each_row).
    pub async fn newest(&self, table: &Table, limit: u32) -> Result<Vec<Row>, SinkError> {
        let outcome = read::newest(&self.connections, table, limit).await;
        self.connections.settle(&table.name, outcome)
    }

    /// How many rows a table has.
    ///
    /// # Errors
    /// As for [`for_each_row`](Self::for_each_row).
    pub async fn count(&self, table: &Table) -> Result<u64, SinkError> {
        let outcome = read::count(&self.connections, table).await;
        self.connections.settle(&table.name, outcome)
    }

    /// Replaces windows that are final by others, all in one transaction: those that are not among the new ones go. Progress stays as it
    /// is, and so do all other windows.
    ///
    /// # Errors
    /// [`SinkError::Fenced`] where another generation writes the output by now, and [`SinkError::Misfit`] where the table or a row of the
    /// replacement is not as it has to be: nothing is written. [`SinkError::Unavailable`]: it may have been; once more does no harm.
    pub async fn replace(&self, replacement: &Replacement<'_>) -> Result<Replaced, SinkError> {
        let outcome = replace::replace(&self.connections, replacement).await;
        self.connections
            .settle(&replacement.output.to_string(), outcome)
    }

    /// Asks the database whether it is there.
    ///
    /// # Errors
    /// [`SinkError::Unavailable`].
    pub async fn ping(&self) -> Result<(), SinkError> {
        let outcome = async {
            let mut session = self.connections.probe().await?;
            let begin = session.limits().begin_usual();
            session.run(begin + "SELECT 1; COMMIT").await?;
            session.keep();
            Ok(())
        };
        let outcome: Result<(), Failure> = outcome.await;
        self.connections.settle("the database", outcome)
    }
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres").finish_non_exhaustive()
    }
}

#[async_trait]
impl Sink for Postgres {
    fn guarantee(&self) -> Guarantee {
        Guarantee::ExactlyOnce
    }

    async fn writer(
        &self,
        output: &OutputId,
        table: &Table,
        task: &TaskId,
    ) -> Result<Box<dyn Writer>, SinkError> {
        let outcome = async {
            let mut session = self.connections.session().await?;
            let begin = session.limits().begin_usual();
            session.run(begin).await?;
            table::check(&mut session, output, table).await?;
            session.run("COMMIT".to_owned()).await?;
            session.keep();
            Ok(())
        };
        let outcome: Result<(), Failure> = outcome.await;
        self.connections.settle(&output.to_string(), outcome)?;
        Ok(Box::new(TableWriter {
            connections: Arc::clone(&self.connections),
            output: output.clone(),
            statements: Statements::new(output, table, task),
            table: table.clone(),
        }))
    }
}
