//! Writing one output for one task.
use std::sync::Arc;

use async_trait::async_trait;
use sqlx::{
    AssertSqlSafe, Connection as _, Row as _, SqliteConnection, query::Query,
    sqlite::SqliteArguments,
};
use tidewheel_planner::plan::{Table, TableKind};

use super::{
    Shared,
    connection::{Failure, Lease},
    names,
    statements::{Statement, Statements},
};
use crate::{
    Change, Committed, Origin, OutputId, Progress, Refused, SinkError, TaskId, Writer, fencing,
    time,
};

/// Takes the file's only write lock at once, so that what a transaction reads stays true until it commits.
const BEGIN: &str = "BEGIN IMMEDIATE";

type SqliteQuery = Query<'static, sqlx::Sqlite, SqliteArguments>;

/// Writes one table for one task.
pub(super) struct TableWriter {
    pub(super) shared: Arc<Shared>,
    pub(super) output: OutputId,
    pub(super) task: TaskId,
    /// As planned.
    pub(super) table: Table,
    /// Its name in the file.
    pub(super) name: String,
    pub(super) statements: Statements,
}

#[async_trait]
impl Writer for TableWriter {
    async fn begin_generation(
        &mut self,
        generation: i64,
        cut_ms: Option<i64>,
    ) -> Result<(), SinkError> {
        let mut lease = self.shared.writer.lease().await;
        let outcome = self.move_generation(&mut lease, generation, cut_ms).await;
        lease.settle(&self.output.to_string(), outcome)
    }

    async fn last_commit(&mut self) -> Result<Option<(Progress, Vec<Refused>)>, SinkError> {
        // On the writing connection, behind a commit whose answer may have been lost.
        let mut lease = self.shared.writer.lease().await;
        let outcome = self.read_last_commit(&mut lease).await;
        lease.settle(&self.output.to_string(), outcome)
    }

    async fn commit(
        &mut self,
        generation: i64,
        change: &Change,
        expected: Option<Progress>,
        next: Progress,
        kept: &[Refused],
        origin: Origin<'_>,
    ) -> Result<Committed, SinkError> {
        let statements = self.statements.of(&self.table, change);
        let (statements, refused) =
            statements.map_err(|reason| Failure::Misfit(reason).of(&self.output.to_string()))?;
        let refused = refused.into_iter().map(|(row, reason)| Refused {
            origin: origin(row),
            reason,
        });
        let refused: Vec<Refused> = refused.collect();
        let mut lease = self.shared.writer.lease().await;
        let outcome = self
            .apply(
                &mut lease,
                generation,
                statements,
                (kept, &refused),
                expected,
                next,
            )
            .await;
        lease.settle(
            &self.output.to_string(),
            outcome.map(|()| Committed { refused }),
        )
    }
}

impl TableWriter {
    /// A transaction that is dropped before its commit is rolled back before the connection does anything else.
    async fn apply(
        &self,
        lease: &mut Lease<'_>,
        generation: i64,
        statements: Vec<Statement>,
        (kept, refused): (&[Refused], &[Refused]),
        expected: Option<Progress>,
        next: Progress,
    ) -> Result<(), Failure> {
        let mut transaction = lease.connection().await?.begin_with(BEGIN).await?;
        match self.stored_generation(&mut transaction).await? {
            Some(stored) if stored == generation => {}
            other => {
                return Err(Failure::Fenced(fencing::other_generation(
                    other, generation,
                )));
            }
        }
        self.move_progress(&mut transaction, expected, next).await?;
        self.replace_refusals(&mut transaction, kept.iter().chain(refused))
            .await?;
        for statement in statements {
            sqlx::query_with(statement.sql, statement.arguments)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    async fn read_last_commit(
        &self,
        lease: &mut Lease<'_>,
    ) -> Result<Option<(Progress, Vec<Refused>)>, Failure> {
        // Both of one moment: another process may write in between.
        let mut transaction = lease.connection().await?.begin().await?;
        let Some(progress) = self.stored_progress(&mut transaction).await? else {
            return Ok(None);
        };
        let refused = self.stored_refusals(&mut transaction).await?;
        Ok(Some((progress, refused)))
    }

    async fn move_generation(
        &self,
        lease: &mut Lease<'_>,
        generation: i64,
        cut_ms: Option<i64>,
    ) -> Result<(), Failure> {
        let mut transaction = lease.connection().await?.begin_with(BEGIN).await?;
        match self.stored_generation(&mut transaction).await? {
            Some(stored) if stored == generation => return Ok(()),
            Some(stored) if stored > generation => {
                return Err(Failure::Fenced(fencing::newer_generation(
                    stored, generation,
                )));
            }
            _ => {}
        }
        let mark =
            "INSERT INTO _tidewheel_generations (pipeline, output, generation) VALUES (?, ?, ?)
                    ON CONFLICT (pipeline, output) DO UPDATE SET generation = excluded.generation";
        self.of_output(mark)
            .bind(generation)
            .execute(&mut *transaction)
            .await?;
        if let TableKind::Windows { .. } = self.table.kind {
            let forget = "DELETE FROM _tidewheel_progress WHERE pipeline = ? AND output = ?";
            self.of_output(forget).execute(&mut *transaction).await?;
            let forget = "DELETE FROM _tidewheel_refusals WHERE pipeline = ? AND output = ?";
            self.of_output(forget).execute(&mut *transaction).await?;
            if let Some(cut_ms) = cut_ms {
                let cut = format!(
                    "DELETE FROM {} WHERE window_start >= ?",
                    names::quoted(&self.name)
                );
                sqlx::query(AssertSqlSafe(cut))
                    .bind(time::bound_text(cut_ms))
                    .execute(&mut *transaction)
                    .await?;
            }
        }
        transaction.commit().await?;
        Ok(())
    }

    async fn stored_generation(
        &self,
        connection: &mut SqliteConnection,
    ) -> Result<Option<i64>, sqlx::Error> {
        let read =
            "SELECT generation FROM _tidewheel_generations WHERE pipeline = ? AND output = ?";
        let row = self.of_output(read).fetch_optional(connection).await?;
        row.map(|row| row.try_get(0)).transpose()
    }

    async fn stored_progress(
        &self,
        connection: &mut SqliteConnection,
    ) -> Result<Option<Progress>, sqlx::Error> {
        let read = "SELECT next_offset, watermark_ms FROM _tidewheel_progress
                    WHERE pipeline = ? AND output = ? AND input = ? AND partition = ?";
        let row = self.of_task(read).fetch_optional(connection).await?;
        row.map(|row| {
            Ok(Progress {
                next_offset: row.try_get(0)?,
                watermark_ms: row.try_get(1)?,
            })
        })
        .transpose()
    }

    /// The comparison and the move of compare-and-swap: nobody else writes between them.
    async fn move_progress(
        &self,
        connection: &mut SqliteConnection,
        expected: Option<Progress>,
        next: Progress,
    ) -> Result<(), Failure> {
        let stored = self.stored_progress(connection).await?;
        if stored != expected {
            return Err(Failure::Fenced(fencing::other_progress(stored, expected)));
        }
        let write = "INSERT INTO _tidewheel_progress (pipeline, output, input, partition, next_offset, watermark_ms) VALUES (?, ?, ?, ?, ?, ?)
                     ON CONFLICT (pipeline, output, input, partition)
                     DO UPDATE SET next_offset = excluded.next_offset, watermark_ms = excluded.watermark_ms";
        self.of_task(write)
            .bind(next.next_offset)
            .bind(next.watermark_ms)
            .execute(connection)
            .await?;
        Ok(())
    }

    async fn replace_refusals(
        &self,
        connection: &mut SqliteConnection,
        refused: impl Iterator<Item = &Refused>,
    ) -> Result<(), sqlx::Error> {
        let forget = "DELETE FROM _tidewheel_refusals
                      WHERE pipeline = ? AND output = ? AND input = ? AND partition = ?";
        self.of_task(forget).execute(&mut *connection).await?;
        for (number, row) in (0_i64..).zip(refused) {
            let keep = "INSERT INTO _tidewheel_refusals (pipeline, output, input, partition, number, origin, reason)
                        VALUES (?, ?, ?, ?, ?, ?, ?)";
            self.of_task(keep)
                .bind(number)
                .bind(row.origin.clone())
                .bind(row.reason.clone())
                .execute(&mut *connection)
                .await?;
        }
        Ok(())
    }

    async fn stored_refusals(
        &self,
        connection: &mut SqliteConnection,
    ) -> Result<Vec<Refused>, sqlx::Error> {
        let read = "SELECT origin, reason FROM _tidewheel_refusals
                    WHERE pipeline = ? AND output = ? AND input = ? AND partition = ? ORDER BY number";
        let rows = self.of_task(read).fetch_all(connection).await?;
        let refused = rows.iter().map(|row| {
            Ok(Refused {
                origin: row.try_get(0)?,
                reason: row.try_get(1)?,
            })
        });
        refused.collect()
    }

    fn of_output(&self, sql: &'static str) -> SqliteQuery {
        sqlx::query(sql)
            .bind(self.output.pipeline.clone())
            .bind(self.output.output.clone())
    }

    fn of_task(&self, sql: &'static str) -> SqliteQuery {
        self.of_output(sql)
            .bind(self.task.input.clone())
            .bind(self.task.partition)
    }
}
