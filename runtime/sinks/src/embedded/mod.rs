//! Embedded tables: one SQLite file for each Sink.
//!
//! | column type | stored as |
//! |---|---|
//! | text, uuid, json | TEXT |
//! | bigint | INTEGER |
//! | double | REAL; infinities are kept, NaN becomes NULL |
//! | boolean | INTEGER, 0 or 1 |
//! | timestamp | TEXT, RFC 3339 with `+00:00`: `2015-05-17T10:00:00+00:00`; sorts in time at every precision |
//! | numeric | TEXT, exact |
//! | date | TEXT, `2015-05-17` |
//!
//! A table in the schema `public` has its own name, any other is called `schema.table` (in SQL: `"schema.table"`). Rows of windows also have
//! `_key`, the bytes of their key columns. What cannot be stored (U+0000 in a text, a year beyond 1 to 9999, a NULL where the plan has none) is refused row
//! by row. The tables `_tidewheel_*` hold each output's progress, generation and refused rows, written in the transaction of its rows.
mod catalog;
mod connection;
mod encode;
mod key;
mod names;
mod read;
mod statements;
mod write;

use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use sqlx::Connection as _;
use tidewheel_planner::plan::Table;

pub use self::read::{Columns, Row};
use self::{
    connection::{Connection, Failure, Lease},
    statements::Statements,
    write::TableWriter,
};
use crate::{Guarantee, OutputId, Sink, SinkError, TaskId, Writer};

/// The tables of one Sink. Clones share the file.
#[derive(Debug, Clone)]
pub struct Database {
    shared: Arc<Shared>,
}

/// What a database and its writers share.
#[derive(Debug)]
struct Shared {
    path: PathBuf,
    writer: Connection,
    reader: Connection,
}

impl Database {
    /// Opens the file at `path`, which is made if need be.
    ///
    /// # Errors
    /// [`SinkError::Unavailable`] where the file cannot be opened for now, [`SinkError::Misfit`] where it is not ours, damaged, or of a newer build.
    /// Both carry the path as `output`.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, SinkError> {
        let path = path.as_ref().to_owned();
        let shared = Shared {
            writer: Connection::writing(&path),
            reader: Connection::reading(&path),
            path,
        };
        let mut lease = shared.writer.lease().await;
        let outcome = lay_out(&mut lease).await;
        lease.settle(&shared.path.display().to_string(), outcome)?;
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// The name that `table` has in the file; to be quoted in SQL.
    ///
    /// # Errors
    /// [`SinkError::Misfit`] where SQLite cannot have a table of that name.
    pub fn table_name(table: &Table) -> Result<String, SinkError> {
        names::table_name(table).map_err(|reason| Failure::Misfit(reason).of(&table.name))
    }

    /// Creates the table of an output, or adds to it the columns that it lacks (NULL in the rows it has). Columns that are no
    /// longer planned stay, and are NULL in new rows. Idempotent.
    ///
    /// # Errors
    /// [`SinkError::Misfit`] where that would not do: another type or key, another output's table, a table that is not ours.
    /// [`SinkError::Unavailable`] where the file cannot be written for now.
    pub async fn create_table(&self, output: &OutputId, table: &Table) -> Result<(), SinkError> {
        let mut lease = self.shared.writer.lease().await;
        let outcome = create_table(&mut lease, output, table).await;
        lease.settle(&output.to_string(), outcome)
    }

    /// Everything for which [`create_table`](Self::create_table) would refuse these tables, one after the other: the index into `tables`, and
    /// what is wrong and what to do. Changes nothing.
    ///
    /// # Errors
    /// As for [`create_table`](Self::create_table), with the path as `output`, where the file cannot be asked.
    pub async fn obstacles(
        &self,
        tables: &[(OutputId, &Table)],
    ) -> Result<Vec<(usize, String)>, SinkError> {
        let mut lease = self.shared.writer.lease().await;
        let outcome = obstacles(&mut lease, tables).await;
        lease.settle(&self.shared.path.display().to_string(), outcome)
    }

    /// Gives every row of a table to `each` until it breaks off: rows by partition, offset and ordinal, windows by key.
    /// All of them are of one moment, however long it takes; writers are not held up.
    ///
    /// # Errors
    /// [`SinkError::Unavailable`], [`SinkError::Misfit`], with the table's name as `output`.
    pub async fn for_each_row(
        &self,
        table: &Table,
        columns: Columns,
        each: impl FnMut(Row) -> ControlFlow<()>,
    ) -> Result<(), SinkError> {
        read::for_each_row(&self.shared.path, table, columns, each).await
    }

    /// The rows that [`for_each_row`](Self::for_each_row) gives, all at once.
    ///
    /// # Errors
    /// As there.
    pub async fn rows(&self, table: &Table, columns: Columns) -> Result<Vec<Row>, SinkError> {
        let mut rows = Vec::new();
        let collected = self.for_each_row(table, columns, |row| {
            rows.push(row);
            ControlFlow::Continue(())
        });
        collected.await?;
        Ok(rows)
    }

    /// The newest rows without our columns, newest first: rows as they were written, windows from the highest key.
    ///
    /// # Errors
    /// As for [`for_each_row`](Self::for_each_row).
    pub async fn newest(&self, table: &Table, limit: u32) -> Result<Vec<Row>, SinkError> {
        read::newest(&self.shared.reader, table, limit).await
    }

    /// How many rows a table has.
    ///
    /// # Errors
    /// As for [`for_each_row`](Self::for_each_row).
    pub async fn count(&self, table: &Table) -> Result<u64, SinkError> {
        read::count(&self.shared.reader, table).await
    }

    /// Closes the connections, after which SQLite leaves a single file. Whoever uses the database afterwards opens them again.
    ///
    /// # Errors
    /// [`SinkError::Unavailable`], with the path as `output`; nothing is lost then either.
    pub async fn close(&self) -> Result<(), SinkError> {
        for connection in [&self.shared.reader, &self.shared.writer] {
            let closed = connection.lease().await.close().await;
            closed
                .map_err(|error| Failure::Sql(error).of(&self.shared.path.display().to_string()))?;
        }
        Ok(())
    }
}

#[async_trait]
impl Sink for Database {
    fn guarantee(&self) -> Guarantee {
        Guarantee::ExactlyOnce
    }

    async fn writer(
        &self,
        output: &OutputId,
        table: &Table,
        task: &TaskId,
    ) -> Result<Box<dyn Writer>, SinkError> {
        let mut lease = self.shared.writer.lease().await;
        let outcome =
            async { catalog::check_table(lease.connection().await?, output, table).await }.await;
        let name = lease.settle(&output.to_string(), outcome)?;
        Ok(Box::new(TableWriter {
            shared: Arc::clone(&self.shared),
            output: output.clone(),
            task: task.clone(),
            statements: Statements::new(&name, table),
            table: table.clone(),
            name,
        }))
    }
}

async fn lay_out(lease: &mut Lease<'_>) -> Result<(), Failure> {
    let mut transaction = lease
        .connection()
        .await?
        .begin_with("BEGIN IMMEDIATE")
        .await?;
    catalog::lay_out(&mut transaction).await?;
    Ok(transaction.commit().await?)
}

async fn create_table(
    lease: &mut Lease<'_>,
    output: &OutputId,
    table: &Table,
) -> Result<(), Failure> {
    let mut transaction = lease
        .connection()
        .await?
        .begin_with("BEGIN IMMEDIATE")
        .await?;
    catalog::create_table(&mut transaction, output, table).await?;
    Ok(transaction.commit().await?)
}

/// Makes the tables, since later ones may be in the way of earlier ones, and takes that back.
async fn obstacles(
    lease: &mut Lease<'_>,
    tables: &[(OutputId, &Table)],
) -> Result<Vec<(usize, String)>, Failure> {
    let mut transaction = lease
        .connection()
        .await?
        .begin_with("BEGIN IMMEDIATE")
        .await?;
    let mut found = Vec::new();
    for (index, (output, table)) in tables.iter().enumerate() {
        let obstacles = catalog::prepare_table(&mut transaction, output, table).await?;
        found.extend(obstacles.into_iter().map(|obstacle| (index, obstacle)));
    }
    transaction.rollback().await?;
    Ok(found)
}
