//! Replacing windows that no task writes any more.
//!
//! ```text
//!  BEGIN, hold the generation ──► COPY rows to the staging table ──► upsert, delete the others ──► COMMIT
//! ```
//!
//! Who begins another generation waits until this is done, and so nobody else touches these windows meanwhile. Progress is only read.
use arrow::array::RecordBatch;
use sqlx::{Row as _, postgres::PgRow};
use tidewheel_planner::{plan::Table, postgres::shown};

use super::{
    batch::Batch,
    connection::{Connections, Session},
    failure::Failure,
    statements::Statements,
    table,
};
use crate::{Change, OutputId, TaskId, fencing, time};

/// Windows, and what takes their place.
#[derive(Debug)]
pub struct Replacement<'a> {
    /// The output that the table is of.
    pub output: &'a OutputId,
    /// Its table.
    pub table: &'a Table,
    /// The aggregate step whose windows they are.
    pub step: &'a str,
    /// The generation that has to be the output's; none where no task writes the table.
    pub generation: Option<i64>,
    /// When the first of the windows starts, ms.
    pub first_ms: i64,
    /// When the next window would start after the last of them, ms: what starts before that, and is not among them, was of another length.
    pub next_ms: i64,
    /// Whether the windows overlap; where they do not, none of the table may lie across the edges of what is replaced.
    pub overlap: bool,
    /// Their rows, with the columns of the table in its order; each key once.
    pub rows: &'a [RecordBatch],
}

/// What was replaced.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replaced {
    /// Windows that have rows now.
    pub windows: u64,
    /// Their rows.
    pub rows: u64,
    /// Rows that were there and hold no longer.
    pub removed: u64,
    /// Why each row that cannot be stored for its data was left out.
    pub refused: Vec<String>,
}

/// All or nothing.
pub(super) async fn replace(
    connections: &Connections,
    replacement: &Replacement<'_>,
) -> Result<Replaced, Failure> {
    let Replacement {
        output,
        table,
        step,
        ..
    } = *replacement;
    // Of a task only the input counts here.
    let task = TaskId {
        input: step.to_owned(),
        partition: 0,
    };
    let statements = Statements::new(output, table, &task);
    let mut session = connections.session().await?;
    let patience = session.limits().generation;
    let begin = session.limits().begin(patience);
    session.run(begin + statements.prepare()).await?;
    table::check(&mut session, output, table).await?;
    hold_generation(&mut session, &statements, replacement.generation).await?;
    check_edges(&mut session, &statements, replacement).await?;
    let mut replaced = Replaced::default();
    for rows in replacement.rows {
        stage(&mut session, &statements, table, rows, &mut replaced).await?;
    }
    let written = session
        .run_for(statements.replace(), patience)
        .await
        .map_err(refused_whole)?;
    (replaced.windows, replaced.rows) = (count(&written, 0)?, count(&written, 1)?);
    let others = statements.delete_others(replacement.first_ms, replacement.next_ms);
    replaced.removed = count(&session.run_for(others, patience).await?, 0)?;
    session
        .run("COMMIT".to_owned())
        .await
        .map_err(refused_whole)?;
    session.keep();
    Ok(replaced)
}

/// Copies rows to the staging table, but for those that cannot be stored.
async fn stage(
    session: &mut Session<'_>,
    statements: &Statements,
    table: &Table,
    rows: &RecordBatch,
    replaced: &mut Replaced,
) -> Result<(), Failure> {
    let change = Change::Windows {
        upserts: rows.clone(),
        deletes: rows.slice(0, 0),
    };
    let batch = Batch::new(table, &change).map_err(Failure::Misfit)?;
    let refused = batch.refused.iter().map(|(_, reason)| reason.clone());
    replaced.refused.extend(refused);
    let pieces = batch.pieces(&batch.accepted, &[]);
    let copied = session.copy(&statements.copy(), pieces).await;
    copied.map_err(refused_whole)
}

async fn hold_generation(
    session: &mut Session<'_>,
    statements: &Statements,
    expected: Option<i64>,
) -> Result<(), Failure> {
    let Some(expected) = expected else {
        return Ok(());
    };
    let rows = session.run(statements.hold_generation()).await?;
    let found = rows.first().map(|row| row.try_get::<i64, _>(0));
    let found = found.transpose().map_err(Failure::Sql)?;
    match found == Some(expected) {
        true => Ok(()),
        false => Err(Failure::Fenced(fencing::other_generation(found, expected))),
    }
}

/// Fails where a window that would stay lies across the first or the last moment of those that are replaced: events would be in two windows,
/// or in none.
async fn check_edges(
    session: &mut Session<'_>,
    statements: &Statements,
    replacement: &Replacement<'_>,
) -> Result<(), Failure> {
    if replacement.overlap {
        return Ok(());
    }
    for edge_ms in [replacement.first_ms, replacement.next_ms] {
        let Some(query) = statements.end_before(edge_ms) else {
            return Ok(());
        };
        let rows = session.run(query).await?;
        let before = rows.first().map(|row| row.try_get::<Option<i64>, _>(0));
        let before = before.transpose().map_err(Failure::Sql)?.flatten();
        if before.is_some_and(|before_ms| before_ms > edge_ms) {
            let edge = edge_ms.checked_mul(1_000).and_then(time::timestamp_text);
            return Err(Failure::Misfit(format!(
                "table `{}` has a window of another length that lies across {}: replace windows from and to moments at which windows of both lengths begin",
                shown(replacement.table),
                edge.unwrap_or_default()
            )));
        }
    }
    Ok(())
}

/// A row that the database refuses for its data is not left out: whoever made the constraint has to say what is to become of it.
fn refused_whole(failure: Failure) -> Failure {
    match failure.refusal() {
        Some(reason) => Failure::Misfit(format!(
            "the database refuses a row: {reason}. Nothing was written: change the constraint, or the pipeline's SQL"
        )),
        None => failure,
    }
}

fn count(rows: &[PgRow], column: usize) -> Result<u64, Failure> {
    let Some(row) = rows.first() else {
        return Ok(0);
    };
    let count: i64 = row.try_get(column).map_err(Failure::Sql)?;
    Ok(count.unsigned_abs())
}
