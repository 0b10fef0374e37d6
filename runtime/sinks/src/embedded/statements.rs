//! The SQL that moves rows, many of them to a statement.
use arrow::array::RecordBatch;
use sqlx::{
    Arguments as _, AssertSqlSafe, SqlSafeStr as _, SqlStr, error::BoxDynError,
    sqlite::SqliteArguments,
};
use tidewheel_planner::plan::{Table, TableKind};

use super::{encode, names};
use crate::{Change, rows::Rows};

/// SQLite takes at most 32,766 parameters; beyond a few thousand, longer statements bring no more speed.
const PARAMETERS: usize = 4096;
/// Rows to a statement, the largest that fits first. Few sizes, so that each is prepared once and kept.
const SIZES: [usize; 5] = [256, 64, 16, 4, 1];

/// A statement with its parameters.
pub(super) struct Statement {
    pub(super) sql: SqlStr,
    pub(super) arguments: SqliteArguments,
}

/// Rows that cannot be stored: their index, and why.
pub(super) type LeftOut = Vec<(usize, String)>;

/// The statements of one table.
#[derive(Debug)]
pub(super) struct Statements {
    insert: Repeated,
    /// Window tables only.
    delete: Option<Repeated>,
}

impl Statements {
    /// For the table called `name` in the file.
    pub(super) fn new(name: &str, table: &Table) -> Self {
        let quoted = names::quoted(name);
        let columns: Vec<_> = table
            .columns
            .iter()
            .map(|column| names::quoted(&column.name))
            .collect();
        match table.kind {
            TableKind::Rows => Self {
                insert: Repeated::new(
                    &format!("INSERT INTO {quoted} ({}) VALUES ", columns.join(", ")),
                    columns.len(),
                    "",
                ),
                delete: None,
            },
            TableKind::Windows { .. } => {
                let updates: Vec<_> = columns
                    .iter()
                    .map(|column| format!("{column} = excluded.{column}"))
                    .collect();
                let forward = format!(
                    " ON CONFLICT ({}) DO UPDATE SET {} WHERE (excluded._generation, excluded._offset) > ({quoted}._generation, {quoted}._offset)",
                    names::KEY,
                    updates.join(", ")
                );
                let insert = format!(
                    "INSERT INTO {quoted} ({}, {}) VALUES ",
                    columns.join(", "),
                    names::KEY
                );
                let delete = format!(
                    "DELETE FROM {quoted} WHERE {key} IN (SELECT stored.{key} FROM (VALUES ",
                    key = names::KEY
                );
                let older = format!(
                    ") AS gone JOIN {quoted} AS stored ON stored.{key} = gone.column1
                      WHERE (gone.column2, gone.column3) > (stored._generation, stored._offset))",
                    key = names::KEY
                );
                Self {
                    insert: Repeated::new(&insert, columns.len() + 1, &forward),
                    delete: Some(Repeated::new(&delete, 3, &older)),
                }
            }
        }
    }

    /// What applies `change`, and the rows that it leaves out because they cannot be stored.
    pub(super) fn of(
        &self,
        table: &Table,
        change: &Change,
    ) -> Result<(Vec<Statement>, LeftOut), String> {
        let mut statements = Vec::new();
        let mut refused = Vec::new();
        match (change, &self.delete) {
            (Change::Nothing, _) => {}
            (Change::Append(batch), None) => {
                refused = self.insert_rows(table, batch, &mut statements)?;
            }
            (Change::Windows { upserts, deletes }, Some(delete)) => {
                refused = self.insert_rows(table, upserts, &mut statements)?;
                let rows = Rows::new(table, deletes)?;
                fill_deletes(delete, &rows, (0..rows.len()).collect(), &mut statements)?;
                // What the table has of a refused row's key is out of date.
                let rows = Rows::new(table, upserts)?;
                let outdated = refused.iter().map(|(row, _)| *row).collect();
                fill_deletes(delete, &rows, outdated, &mut statements)?;
            }
            (Change::Append(_), Some(_)) => {
                return Err("rows came for a table of windows".to_owned());
            }
            (Change::Windows { .. }, None) => {
                return Err("windows came for a table of rows".to_owned());
            }
        }
        Ok((statements, refused))
    }

    fn insert_rows(
        &self,
        table: &Table,
        batch: &RecordBatch,
        statements: &mut Vec<Statement>,
    ) -> Result<LeftOut, String> {
        let rows = Rows::new(table, batch)?;
        let (accepted, refused) = rows.divided();
        if self.delete.is_none() {
            self.insert.fill(&accepted, statements, |row, arguments| {
                encode::bind(&rows, *row, arguments)
            })?;
            return Ok(refused);
        }
        let keyed = in_key_order(&rows, accepted);
        self.insert
            .fill(&keyed, statements, |(key, row), arguments| {
                encode::bind(&rows, *row, arguments)?;
                arguments.add(key.as_slice())
            })?;
        Ok(refused)
    }
}

fn fill_deletes(
    delete: &Repeated,
    rows: &Rows<'_>,
    of: Vec<usize>,
    statements: &mut Vec<Statement>,
) -> Result<(), String> {
    let keyed = in_key_order(rows, of);
    delete.fill(&keyed, statements, |(key, row), arguments| {
        arguments.add(key.as_slice())?;
        arguments.add(rows.position("_generation", *row))?;
        arguments.add(rows.position("_offset", *row))
    })
}

/// In the order of the table, so that neighbours find its pages still in the cache.
fn in_key_order(rows: &Rows<'_>, of: Vec<usize>) -> Vec<(Vec<u8>, usize)> {
    let mut keyed: Vec<_> = of
        .into_iter()
        .map(|row| (encode::key(rows, row), row))
        .collect();
    keyed.sort_unstable();
    keyed
}

/// A statement with a list of rows in it, for each of [`SIZES`] that fits.
#[derive(Debug)]
struct Repeated {
    parameters_per_row: usize,
    sized: Vec<(usize, SqlStr)>,
}

impl Repeated {
    fn new(before: &str, parameters_per_row: usize, after: &str) -> Self {
        let row = format!("({})", vec!["?"; parameters_per_row].join(","));
        let fitting = SIZES
            .into_iter()
            .filter(|rows| *rows == 1 || rows * parameters_per_row <= PARAMETERS);
        let sized = fitting.map(|rows| {
            let sql: std::sync::Arc<str> =
                format!("{before}{}{after}", vec![row.as_str(); rows].join(",")).into();
            (rows, AssertSqlSafe(sql).into_sql_str())
        });
        Self {
            parameters_per_row,
            sized: sized.collect(),
        }
    }

    /// Adds statements for `rows`, whose parameters `bind` adds.
    fn fill<R>(
        &self,
        mut rows: &[R],
        statements: &mut Vec<Statement>,
        bind: impl Fn(&R, &mut SqliteArguments) -> Result<(), BoxDynError>,
    ) -> Result<(), String> {
        for (size, sql) in &self.sized {
            while let Some((now, later)) = rows.split_at_checked(*size) {
                let mut arguments = SqliteArguments::default();
                arguments.reserve(size * self.parameters_per_row, 0);
                now.iter()
                    .try_for_each(|row| bind(row, &mut arguments))
                    .map_err(|error| error.to_string())?;
                statements.push(Statement {
                    sql: sql.clone(),
                    arguments,
                });
                rows = later;
            }
        }
        Ok(())
    }
}
