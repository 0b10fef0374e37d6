//! Writing one output for one task.
//!
//! ```text
//!  BEGIN, read progress ──► COPY rows ──► move progress, upsert, delete, keep refusals ──► COMMIT
//!                             │                        │
//!                             └── refused for its data ┴──► ROLLBACK, is the table as planned?, once more in parts
//! ```
//!
//! What others could wait for is locked as late as possible: a process that is stopped while it copies holds up nobody.
use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use sqlx::{Row as _, postgres::PgRow};
use tidewheel_planner::plan::Table;

use super::{
    batch::{Batch, Gone},
    connection::{Connections, Session},
    failure::Failure,
    sieve::Sieve,
    statements::Statements,
    table,
};
use crate::{Change, Committed, Origin, OutputId, Progress, Refused, SinkError, Writer, fencing};

/// Before a part of a transaction is tried.
const SAVE: &str = "SAVEPOINT part";
/// After one that was written, before the next.
const SAVE_ANEW: &str = "RELEASE part; SAVEPOINT part";
/// After one that was refused, before the next.
const UNDO: &str = "ROLLBACK TO SAVEPOINT part";

/// Writes one table for one task.
pub(super) struct TableWriter {
    pub(super) connections: Arc<Connections>,
    pub(super) output: OutputId,
    /// As planned.
    pub(super) table: Table,
    pub(super) statements: Statements,
}

/// A commit.
struct Step<'a> {
    generation: i64,
    batch: Batch<'a>,
    expected: Option<Progress>,
    next: Progress,
    kept: &'a [Refused],
    origin: Origin<'a>,
}

/// Rows that were refused, and why.
type Refusals = BTreeMap<usize, String>;

#[async_trait]
impl Writer for TableWriter {
    async fn begin_generation(
        &mut self,
        generation: i64,
        cut_ms: Option<i64>,
    ) -> Result<(), SinkError> {
        let outcome = self.move_generation(generation, cut_ms).await;
        self.connections.settle(&self.output.to_string(), outcome)
    }

    async fn last_commit(&mut self) -> Result<Option<(Progress, Vec<Refused>)>, SinkError> {
        let outcome = self.read_last_commit().await;
        self.connections.settle(&self.output.to_string(), outcome)
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
        let subject = self.output.to_string();
        let batch = Batch::new(&self.table, change);
        let batch = batch.map_err(|reason| Failure::Misfit(reason).of(&subject))?;
        let step = Step {
            generation,
            batch,
            expected,
            next,
            kept,
            origin,
        };
        let outcome = self.write(&step).await;
        self.connections.settle(&subject, outcome)
    }
}

impl TableWriter {
    async fn write(&self, step: &Step<'_>) -> Result<Committed, Failure> {
        let mut session = self.connections.session().await?;
        let known: Refusals = step.batch.refused.iter().cloned().collect();
        let mut outcome = self.write_whole(&mut session, step, &known).await;
        if let Err(failure) = &outcome
            && (failure.refusal().is_some() || failure.doubts_the_table())
        {
            let begin = session.limits().begin_usual();
            session.run(format!("ROLLBACK; {begin}")).await?;
            // Rows are not to blame for a table that somebody changed.
            table::check_columns(&mut session, &self.table).await?;
            session.run("COMMIT".to_owned()).await?;
            if failure.refusal().is_some() {
                outcome = self.write_apart(&mut session, step, known).await;
            }
        }
        let committed = outcome?;
        session.keep();
        Ok(committed)
    }

    /// All rows at once.
    async fn write_whole(
        &self,
        session: &mut Session<'_>,
        step: &Step<'_>,
        refused: &Refusals,
    ) -> Result<Committed, Failure> {
        let batch = &step.batch;
        self.begin(session, step, "").await?;
        let gone = batch.gone(&batch.refused);
        let mut sql = self
            .statements
            .move_progress(step.generation, step.expected, step.next);
        if !batch.accepted.is_empty() || !gone.is_empty() {
            let pieces = batch.pieces(&batch.accepted, &gone);
            session.copy(&self.statements.copy(), pieces).await?;
            sql += self.statements.upsert();
            sql += &self.statements.delete(&batch.null_patterns(&gone));
        }
        let committed = committed(refused, step.origin);
        let moved = self.keep_refusals(session, step, &committed, sql).await?;
        self.end(session, step, &moved).await?;
        Ok(committed)
    }

    /// In parts, until those that are refused stand alone.
    async fn write_apart(
        &self,
        session: &mut Session<'_>,
        step: &Step<'_>,
        mut refused: Refusals,
    ) -> Result<Committed, Failure> {
        let batch = &step.batch;
        // Constraints that wait for the end would refuse everything or nothing.
        self.begin(session, step, "SET CONSTRAINTS ALL IMMEDIATE; ")
            .await?;
        // Whoever begins a generation takes the progress first too, and then rows.
        let progress = self
            .statements
            .move_progress(step.generation, step.expected, step.next);
        let moved = session.run(progress + SAVE).await?;
        let mut sieve = Sieve::new(&batch.accepted);
        while let Some(part) = sieve.part() {
            let Some(reason) = self.try_rows(session, batch, part).await? else {
                sieve.passes();
                continue;
            };
            if let Some(row) = sieve.refuses() {
                refused.insert(*row, reason);
            }
        }
        let all: Vec<(usize, String)> = refused.clone().into_iter().collect();
        let gone = batch.gone(&all);
        let mut sieve = Sieve::new(&gone);
        while let Some(part) = sieve.part() {
            if self.try_gone(session, batch, part).await?.is_none() {
                sieve.passes();
            } else {
                sieve.refuses(); // A single key that the database refuses is not there.
            }
        }
        let committed = committed(&refused, step.origin);
        self.keep_refusals(session, step, &committed, String::new())
            .await?;
        self.end(session, step, &moved).await?;
        Ok(committed)
    }

    /// Carries out `sql`, and keeps what is refused. What the first of it returns.
    async fn keep_refusals(
        &self,
        session: &mut Session<'_>,
        step: &Step<'_>,
        committed: &Committed,
        mut sql: String,
    ) -> Result<Vec<PgRow>, Failure> {
        let all = step.kept.iter().chain(&committed.refused);
        let mut texts = self.statements.replace_refusals(all);
        sql += &texts.next().unwrap_or_default();
        let returned = session.run(sql).await?;
        for sql in texts {
            session.run(sql).await?;
        }
        Ok(returned)
    }

    /// Writes rows, or says why the database refuses at least one of them.
    async fn try_rows(
        &self,
        session: &mut Session<'_>,
        batch: &Batch<'_>,
        rows: &[usize],
    ) -> Result<Option<String>, Failure> {
        let outcome = async {
            let pieces = batch.pieces(rows, &[]);
            session.copy(&self.statements.copy(), pieces).await?;
            let upsert = self.statements.upsert().to_owned() + &self.statements.clear();
            session.run(upsert + SAVE_ANEW).await
        };
        let outcome = outcome.await;
        undo_where_refused(session, outcome).await
    }

    /// Deletes windows, or says why the database refuses the key of at least one of them.
    async fn try_gone(
        &self,
        session: &mut Session<'_>,
        batch: &Batch<'_>,
        gone: &[Gone],
    ) -> Result<Option<String>, Failure> {
        let outcome = async {
            let pieces = batch.pieces(&[], gone);
            session.copy(&self.statements.copy(), pieces).await?;
            let delete = self.statements.delete(&batch.null_patterns(gone));
            let delete = delete + &self.statements.clear();
            session.run(delete + SAVE_ANEW).await
        };
        let outcome = outcome.await;
        undo_where_refused(session, outcome).await
    }

    /// Begins the transaction of a step, unless somebody else was faster already.
    async fn begin(
        &self,
        session: &mut Session<'_>,
        step: &Step<'_>,
        more: &str,
    ) -> Result<(), Failure> {
        let begin = session.limits().begin_usual();
        let prepare = self.statements.prepare();
        let state = self.statements.read_state();
        let rows = session
            .run(format!("{begin}{more}{prepare}{state}"))
            .await?;
        let (generation, progress) = state_of(&rows)?;
        compare(step, generation, progress)
    }

    /// Commits a step that moved its progress, `moved`; says what is there instead where it did not.
    async fn end(
        &self,
        session: &mut Session<'_>,
        step: &Step<'_>,
        moved: &[PgRow],
    ) -> Result<(), Failure> {
        if !moved.is_empty() {
            return session.run("COMMIT".to_owned()).await.map(drop);
        }
        let rows = session.run(self.statements.read_state()).await?;
        let (generation, progress) = state_of(&rows)?;
        compare(step, generation, progress)?;
        // It was there a moment ago, or will be in a moment.
        Err(Failure::Fenced("progress that moved meanwhile".to_owned()))
    }

    async fn read_last_commit(&self) -> Result<Option<(Progress, Vec<Refused>)>, Failure> {
        let mut session = self.connections.session().await?;
        let begin = session.limits().begin_usual();
        let progress = self.statements.read_progress();
        let rows = session.run(format!("{begin}{progress}")).await?;
        let progress = rows.first().map(|row| progress_of(row, 0)).transpose()?;
        let refusals = self.statements.read_refusals();
        let rows = session.run(format!("{refusals}; COMMIT")).await?;
        session.keep();
        let Some(progress) = progress.flatten() else {
            return Ok(None);
        };
        let refused = rows.iter().map(|row| {
            Ok(Refused {
                origin: row.try_get(0)?,
                reason: row.try_get(1)?,
            })
        });
        let refused = refused.collect::<Result<_, _>>().map_err(Failure::Sql)?;
        Ok(Some((progress, refused)))
    }

    async fn move_generation(&self, generation: i64, cut_ms: Option<i64>) -> Result<(), Failure> {
        let mut session = self.connections.session().await?;
        let patience = session.limits().generation;
        let begin = session.limits().begin(patience);
        let read = self.statements.read_generation();
        let rows = session.run(format!("{begin}{read}")).await?;
        let mut current = generation_of(&rows)?;
        if current.is_none_or(|current| current < generation) {
            let moved = session
                .run(self.statements.move_generation(generation))
                .await?;
            if moved.is_empty() {
                current = generation_of(&session.run(read).await?)?;
            } else {
                current = Some(generation);
                let follow = self.statements.follow_generation(generation, cut_ms);
                session.run_for(follow, patience).await?;
            }
        }
        session.run("COMMIT".to_owned()).await?;
        session.keep();
        match current {
            Some(newer) if newer > generation => Err(Failure::Fenced(fencing::newer_generation(
                newer, generation,
            ))),
            _ => Ok(()),
        }
    }
}

/// Why rows were refused, where that is how a part failed; it is as if the part had not been tried then.
async fn undo_where_refused(
    session: &mut Session<'_>,
    outcome: Result<Vec<PgRow>, Failure>,
) -> Result<Option<String>, Failure> {
    let Err(failure) = outcome else {
        return Ok(None);
    };
    let Some(reason) = failure.refusal() else {
        return Err(failure);
    };
    session.run(UNDO.to_owned()).await?;
    Ok(Some(reason))
}

fn compare(
    step: &Step<'_>,
    generation: Option<i64>,
    progress: Option<Progress>,
) -> Result<(), Failure> {
    if generation != Some(step.generation) {
        return Err(Failure::Fenced(fencing::other_generation(
            generation,
            step.generation,
        )));
    }
    if progress != step.expected {
        return Err(Failure::Fenced(fencing::other_progress(
            progress,
            step.expected,
        )));
    }
    Ok(())
}

fn committed(refused: &Refusals, origin: Origin<'_>) -> Committed {
    let refused = refused.iter().map(|(row, reason)| Refused {
        origin: origin(*row),
        reason: reason.clone(),
    });
    Committed {
        refused: refused.collect(),
    }
}

fn generation_of(rows: &[PgRow]) -> Result<Option<i64>, Failure> {
    let generation = rows.first().map(|row| row.try_get(0)).transpose();
    generation.map_err(Failure::Sql)
}

fn state_of(rows: &[PgRow]) -> Result<(Option<i64>, Option<Progress>), Failure> {
    let row = rows.first().ok_or(Failure::Sql(sqlx::Error::RowNotFound))?;
    let generation = row.try_get(0).map_err(Failure::Sql)?;
    Ok((generation, progress_of(row, 1)?))
}

fn progress_of(row: &PgRow, column: usize) -> Result<Option<Progress>, Failure> {
    let read = |column: usize| row.try_get::<Option<i64>, _>(column).map_err(Failure::Sql);
    let Some(next_offset) = read(column)? else {
        return Ok(None);
    };
    Ok(Some(Progress {
        next_offset,
        watermark_ms: read(column + 1)?,
    }))
}
