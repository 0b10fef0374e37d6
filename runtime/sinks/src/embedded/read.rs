//! Reading tables back, for people and tests.
use std::{ops::ControlFlow, path::Path};

use futures::TryStreamExt as _;
use serde_json::{Map, Value};
use sqlx::{AssertSqlSafe, Row as _, sqlite::SqliteRow};
use tidewheel_planner::plan::{Column, ColumnType, Table, TableKind};

use super::{
    connection::{Connection, Failure, Lease},
    names,
};
use crate::{SinkError, time};

/// A row as JSON, columns in the order of the table.
///
/// Booleans, bigints and doubles are JSON's own (an infinite double is the text `Infinity` or `-Infinity`); timestamps are RFC 3339 in
/// UTC with `Z`; dates, uuids and, to stay exact, numerics are text. So is json: the text that the table holds, since a reader of JSON may
/// take digits from numbers and drop members of one name.
pub type Row = Map<String, Value>;

/// Which columns a reader is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Columns {
    /// Those of the output's rows.
    Data,
    /// Also ours, which say where each row comes from (`_partition`, `_offset`, ...).
    WithPosition,
}

/// The rows of a table: by partition, offset and ordinal, windows by key.
pub(super) async fn for_each_row(
    path: &Path,
    table: &Table,
    columns: Columns,
    each: impl FnMut(Row) -> ControlFlow<()>,
) -> Result<(), SinkError> {
    let order = match table.kind {
        TableKind::Rows => "_partition, _offset, _ordinal, rowid",
        TableKind::Windows { .. } => names::KEY,
    };
    // A connection of its own: a long read sees one state of the file and holds up nobody.
    let connection = Connection::reading(path);
    let mut lease = connection.lease().await;
    let outcome = select(&mut lease, table, columns, order, each).await;
    lease.settle(&table.name, outcome)
}

/// The newest rows of a table, newest first: rows as they were written, windows from the highest key.
pub(super) async fn newest(
    reader: &Connection,
    table: &Table,
    limit: u32,
) -> Result<Vec<Row>, SinkError> {
    let order = match table.kind {
        TableKind::Rows => format!("rowid DESC LIMIT {limit}"),
        TableKind::Windows { .. } => format!("{} DESC LIMIT {limit}", names::KEY),
    };
    let mut rows = Vec::new();
    let mut lease = reader.lease().await;
    let outcome = select(&mut lease, table, Columns::Data, &order, |row| {
        rows.push(row);
        ControlFlow::Continue(())
    });
    let outcome = outcome.await;
    lease.settle(&table.name, outcome)?;
    Ok(rows)
}

/// How many rows a table has.
pub(super) async fn count(reader: &Connection, table: &Table) -> Result<u64, SinkError> {
    let mut lease = reader.lease().await;
    let outcome = async {
        let name = names::table_name(table).map_err(Failure::Misfit)?;
        let sql = format!("SELECT count(*) FROM {}", names::quoted(&name));
        let count: i64 = sqlx::query_scalar(AssertSqlSafe(sql))
            .fetch_one(lease.connection().await?)
            .await?;
        Ok(count.unsigned_abs())
    };
    let outcome = outcome.await;
    lease.settle(&table.name, outcome)
}

async fn select(
    lease: &mut Lease<'_>,
    table: &Table,
    columns: Columns,
    order: &str,
    mut each: impl FnMut(Row) -> ControlFlow<()>,
) -> Result<(), Failure> {
    let name = names::table_name(table).map_err(Failure::Misfit)?;
    let shown = |column: &&Column| columns == Columns::WithPosition || !table.is_ours(&column.name);
    let columns: Vec<_> = table.columns.iter().filter(shown).collect();
    let list: Vec<_> = columns
        .iter()
        .map(|column| names::quoted(&column.name))
        .collect();
    // A row without columns is still a row.
    let list = if list.is_empty() {
        "NULL".to_owned()
    } else {
        list.join(", ")
    };
    let sql = format!(
        "SELECT {list} FROM {} ORDER BY {order}",
        names::quoted(&name)
    );
    let mut rows = sqlx::query(AssertSqlSafe(sql)).fetch(lease.connection().await?);
    while let Some(row) = rows.try_next().await? {
        let values = columns
            .iter()
            .enumerate()
            .map(|(place, column)| Ok((column.name.clone(), json(&row, place, column.data_type)?)));
        if each(values.collect::<Result<Row, sqlx::Error>>()?).is_break() {
            break;
        }
    }
    Ok(())
}

fn json(row: &SqliteRow, place: usize, data_type: ColumnType) -> Result<Value, sqlx::Error> {
    Ok(match data_type {
        ColumnType::Bigint => row.try_get_unchecked::<Option<i64>, _>(place)?.into(),
        ColumnType::Boolean => row.try_get_unchecked::<Option<bool>, _>(place)?.into(),
        ColumnType::Double => match row.try_get_unchecked::<Option<f64>, _>(place)? {
            Some(f64::INFINITY) => "Infinity".into(),
            Some(f64::NEG_INFINITY) => "-Infinity".into(),
            finite => finite.into(),
        },
        ColumnType::Text
        | ColumnType::Uuid
        | ColumnType::Numeric { .. }
        | ColumnType::Date
        | ColumnType::Json => row.try_get_unchecked::<Option<String>, _>(place)?.into(),
        ColumnType::Timestamp => row
            .try_get_unchecked::<Option<String>, _>(place)?
            .as_deref()
            .map(time::with_z)
            .into(),
    })
}
