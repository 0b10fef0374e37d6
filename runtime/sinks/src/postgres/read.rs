//! Reading tables back, for people.
use std::ops::ControlFlow;

use serde_json::Value;
use sqlx::{Row as _, postgres::PgRow};
use tidewheel_planner::plan::{Column, ColumnType, Table, TableKind};
use tidewheel_planner::postgres::{literal, qualified, quoted};

use super::connection::Connections;
use super::failure::Failure;
use crate::embedded::{Columns, Row};
use crate::time;

/// Pages at the end of a table of rows among which the newest are looked for: there may be no index that tells.
const NEWEST_PAGES: u32 = 8;

/// The rows of a table: by partition, offset and ordinal, windows by key.
pub(super) async fn for_each_row(
    connections: &Connections,
    table: &Table,
    columns: Columns,
    each: impl FnMut(Row) -> ControlFlow<()>,
) -> Result<(), Failure> {
    let order = match &table.kind {
        TableKind::Rows => "_partition, _offset, _ordinal".to_owned(),
        TableKind::Windows { key } => key_order(table, key),
    };
    let sql = Selected::new(table, columns).sql(&format!("ORDER BY {order}"));
    select(connections, table, columns, sql, each).await
}

/// The newest rows of a table, newest first: rows as they were written, windows from the highest key.
pub(super) async fn newest(
    connections: &Connections,
    table: &Table,
    limit: u32,
) -> Result<Vec<Row>, Failure> {
    let limit = limit as usize;
    let mut found = Vec::new();
    let selected = Selected::new(table, Columns::Data);
    match &table.kind {
        TableKind::Windows { key } => {
            let clause = format!("ORDER BY {} LIMIT {limit}", ordered(key, " DESC"));
            take(connections, table, selected.sql(&clause), &mut found).await?;
        }
        TableKind::Rows => {
            for leaf in leaves(connections, table).await? {
                let left = limit - found.len();
                if left == 0 {
                    break;
                }
                let clause = format!(
                    "WHERE ctid >= format('(%s,0)', greatest(pg_relation_size({}) / current_setting('block_size')::int - {NEWEST_PAGES}, 0))::tid ORDER BY ctid DESC LIMIT {left}",
                    literal(&leaf)
                );
                take(
                    connections,
                    table,
                    selected.sql_over(&leaf, &clause),
                    &mut found,
                )
                .await?;
            }
        }
    }
    Ok(found)
}

/// The tables that hold the rows of a table: itself, or its partitions that hold any, the newest first.
async fn leaves(connections: &Connections, table: &Table) -> Result<Vec<String>, Failure> {
    let parent = literal(&qualified(table));
    // A moment is written so that later ones sort behind earlier ones, and DEFAULT before them all.
    let query = format!(
        "SELECT c.oid::regclass::text FROM pg_class c WHERE c.relkind = 'r' AND pg_relation_size(c.oid) > 0 \
         AND (c.oid = {parent}::regclass OR c.oid IN (SELECT relid FROM pg_partition_tree({parent}::regclass) WHERE isleaf)) \
         ORDER BY pg_get_expr(c.relpartbound, c.oid) DESC"
    );
    let mut session = connections.session().await?;
    let rows = session.run(query).await?;
    session.keep();
    let names = rows.iter().map(|row| row.try_get(0));
    names.collect::<Result<_, _>>().map_err(Failure::Sql)
}

/// Appends the rows of a query.
async fn take(
    connections: &Connections,
    table: &Table,
    sql: String,
    found: &mut Vec<Row>,
) -> Result<(), Failure> {
    let each = |row| {
        found.push(row);
        ControlFlow::Continue(())
    };
    select(connections, table, Columns::Data, sql, each).await
}

/// How many rows a table has.
pub(super) async fn count(connections: &Connections, table: &Table) -> Result<u64, Failure> {
    let mut session = connections.session().await?;
    let rows = session
        .run(format!("SELECT count(*)::text FROM {}", qualified(table)))
        .await?;
    session.keep();
    let text = rows
        .first()
        .map(|row| row.try_get_unchecked::<String, _>(0));
    let count = text.transpose().map_err(Failure::Sql)?;
    Ok(count.and_then(|count| count.parse().ok()).unwrap_or(0))
}

/// The order of a key that does not depend on the database's language.
fn key_order(table: &Table, key: &[String]) -> String {
    let column = |name: &String| {
        let is_text = table
            .columns
            .iter()
            .any(|column| column.name == *name && column.data_type == ColumnType::Text);
        let collation = if is_text { " COLLATE \"C\"" } else { "" };
        format!("{}{collation}", quoted(name))
    };
    key.iter().map(column).collect::<Vec<_>>().join(", ")
}

fn ordered(key: &[String], direction: &str) -> String {
    let columns = key
        .iter()
        .map(|name| format!("{}{direction}", quoted(name)));
    columns.collect::<Vec<_>>().join(", ")
}

/// The columns that are read, each as what JSON can carry without loss.
struct Selected<'a> {
    table: &'a Table,
    columns: Vec<&'a Column>,
}

impl<'a> Selected<'a> {
    fn new(table: &'a Table, columns: Columns) -> Self {
        let shown =
            |column: &&Column| columns == Columns::WithPosition || !table.is_ours(&column.name);
        Self {
            table,
            columns: table.columns.iter().filter(shown).collect(),
        }
    }

    fn sql(&self, clause: &str) -> String {
        self.sql_over(&qualified(self.table), clause)
    }

    /// Over the table, or a partition of it.
    fn sql_over(&self, from: &str, clause: &str) -> String {
        let column = |column: &&Column| {
            let name = quoted(&column.name);
            let carried = match column.data_type {
                ColumnType::Numeric { .. } | ColumnType::Json => format!("{name}::text"),
                // µs since the epoch, exact since PostgreSQL 14.
                ColumnType::Timestamp => {
                    format!("(extract(epoch FROM {name}) * 1000000)::bigint")
                }
                _ => name.clone(),
            };
            format!("{carried} AS {name}")
        };
        let list: Vec<String> = self.columns.iter().map(column).collect();
        format!(
            "SELECT row_to_json(r)::text FROM (SELECT {} FROM {from} {clause}) r",
            list.join(", ")
        )
    }
}

async fn select(
    connections: &Connections,
    table: &Table,
    columns: Columns,
    sql: String,
    mut each: impl FnMut(Row) -> ControlFlow<()>,
) -> Result<(), Failure> {
    let selected = Selected::new(table, columns).columns;
    let mut session = connections.session().await?;
    let to_end = session
        .each(sql, |row| Ok(each(row_of(&row, &selected)?)))
        .await?;
    // What is left to read of a result that nobody wanted whole goes with its connection.
    if to_end.is_continue() {
        session.keep();
    }
    Ok(())
}

fn row_of(row: &PgRow, columns: &[&Column]) -> Result<Row, Failure> {
    let text = row.try_get_unchecked::<&str, _>(0).map_err(Failure::Sql)?;
    let mut values: Row = serde_json::from_str(text)
        .map_err(|error| Failure::Misfit(format!("a row of the table cannot be read: {error}")))?;
    for column in columns {
        let Some(value) = values.get_mut(&column.name) else {
            continue;
        };
        *value = match (column.data_type, value.take()) {
            (ColumnType::Timestamp, Value::Number(micros)) => {
                let text = micros.as_i64().and_then(time::timestamp_text);
                text.map_or(Value::Null, |text| time::with_z(&text).into())
            }
            // PostgreSQL writes a whole number without a point.
            (ColumnType::Double, Value::Number(number)) => number.as_f64().into(),
            (_, other) => other,
        };
    }
    Ok(values)
}
