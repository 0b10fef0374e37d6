//! What the file holds besides the users' tables: which output fills which table, how far each has come, and in which generation.
//!
//! The layout is durable: version [`VERSION`], kept in `PRAGMA user_version`.
use std::collections::HashMap;

use sqlx::{AssertSqlSafe, Row as _, SqliteConnection};
use tidewheel_planner::plan::{Column, ColumnType, Table, TableKind};

use super::{connection::Failure, names};
use crate::OutputId;

/// Version of the layout.
const VERSION: i64 = 2;
/// `PRAGMA application_id` of a file of ours: `TDWL`.
const APPLICATION: i64 = 0x5444_574C;

/// Version 1.
const LAYOUT: &str = "
    CREATE TABLE _tidewheel_tables (
        name TEXT NOT NULL PRIMARY KEY COLLATE NOCASE,
        pipeline TEXT NOT NULL,
        output TEXT NOT NULL,
        kind TEXT NOT NULL CHECK (kind IN ('rows', 'windows'))
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE _tidewheel_columns (
        table_name TEXT NOT NULL COLLATE NOCASE,
        name TEXT NOT NULL COLLATE NOCASE,
        type TEXT NOT NULL,
        key_position INTEGER,
        PRIMARY KEY (table_name, name)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE _tidewheel_generations (
        pipeline TEXT NOT NULL,
        output TEXT NOT NULL,
        generation INTEGER NOT NULL,
        PRIMARY KEY (pipeline, output)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE _tidewheel_progress (
        pipeline TEXT NOT NULL,
        output TEXT NOT NULL,
        input TEXT NOT NULL,
        partition INTEGER NOT NULL,
        next_offset INTEGER NOT NULL,
        watermark_ms INTEGER,
        PRIMARY KEY (pipeline, output, input, partition)
    ) STRICT, WITHOUT ROWID;";

/// What version 2 has besides: the rows that the newest commit of each task and output refused.
const REFUSALS: &str = "
    CREATE TABLE _tidewheel_refusals (
        pipeline TEXT NOT NULL,
        output TEXT NOT NULL,
        input TEXT NOT NULL,
        partition INTEGER NOT NULL,
        number INTEGER NOT NULL,
        origin TEXT NOT NULL,
        reason TEXT NOT NULL,
        PRIMARY KEY (pipeline, output, input, partition, number)
    ) STRICT, WITHOUT ROWID;";

/// Lays out an empty file, and brings one of an earlier version up to date; checks that any other is ours and of this version.
pub(super) async fn lay_out(connection: &mut SqliteConnection) -> Result<(), Failure> {
    let application: i64 = sqlx::query_scalar("PRAGMA application_id")
        .fetch_one(&mut *connection)
        .await?;
    let version: i64 = sqlx::query_scalar("PRAGMA user_version")
        .fetch_one(&mut *connection)
        .await?;
    let objects: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema")
        .fetch_one(&mut *connection)
        .await?;
    match (application, version) {
        (APPLICATION, VERSION) => return Ok(()),
        (APPLICATION, 1) => {}
        (APPLICATION, newer) => {
            return Err(Failure::Misfit(format!(
                "the file has layout {newer} and this build knows {VERSION}: use the newer tidewheel, or another file"
            )));
        }
        (0, 0) if objects == 0 => {
            sqlx::raw_sql(LAYOUT).execute(&mut *connection).await?;
        }
        _ => {
            return Err(Failure::Misfit(
                "the file is another program's database: give the path of another file".to_owned(),
            ));
        }
    }
    sqlx::raw_sql(REFUSALS).execute(&mut *connection).await?;
    let marks = format!("PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION}");
    sqlx::raw_sql(AssertSqlSafe(marks))
        .execute(connection)
        .await?;
    Ok(())
}

/// Makes the file's table what is planned, or says why it cannot. Idempotent.
pub(super) async fn create_table(
    connection: &mut SqliteConnection,
    output: &OutputId,
    table: &Table,
) -> Result<(), Failure> {
    let obstacles = prepare_table(connection, output, table).await?;
    if obstacles.is_empty() {
        Ok(())
    } else {
        Err(Failure::Misfit(obstacles.join("; ")))
    }
}

/// Makes the file's table what is planned, or does nothing and returns everything that is in the way. Idempotent.
pub(super) async fn prepare_table(
    connection: &mut SqliteConnection,
    output: &OutputId,
    table: &Table,
) -> Result<Vec<String>, sqlx::Error> {
    let named = names::table_name(table).and_then(|name| {
        names::check_columns(table)?;
        Ok(name)
    });
    let name = match named {
        Ok(name) => name,
        Err(obstacle) => return Ok(vec![obstacle]),
    };
    let (stored, present) = (
        find(connection, &name).await?,
        exists(connection, &name).await?,
    );
    let missing = match (&stored, present) {
        (Some(stored), true) => match stored.missing(&name, output, table) {
            Ok(missing) => missing,
            Err(obstacles) => return Ok(obstacles),
        },
        (None, false) => {
            let ddl = create_statement(&name, table);
            sqlx::raw_sql(AssertSqlSafe(ddl))
                .execute(&mut *connection)
                .await?;
            record_table(connection, &name, output, table).await?;
            table.columns.iter().collect()
        }
        (Some(_), false) => return Ok(vec![gone(&name)]),
        (None, true) => {
            return Ok(vec![format!(
                "table `{name}` exists and is not ours: give the output another table, or rename that one"
            )]);
        }
    };
    for column in missing {
        if stored.is_some() {
            let ddl = format!(
                "ALTER TABLE {} ADD COLUMN {} {}",
                names::quoted(&name),
                names::quoted(&column.name),
                storage(column.data_type)
            );
            sqlx::raw_sql(AssertSqlSafe(ddl))
                .execute(&mut *connection)
                .await?;
        }
        record_column(connection, &name, column, &table.kind).await?;
    }
    Ok(Vec::new())
}

/// Checks that the file's table is what is planned. Returns its name.
pub(super) async fn check_table(
    connection: &mut SqliteConnection,
    output: &OutputId,
    table: &Table,
) -> Result<String, Failure> {
    let name = names::table_name(table).map_err(Failure::Misfit)?;
    names::check_columns(table).map_err(Failure::Misfit)?;
    let stored = find(connection, &name).await?;
    let Some(stored) = stored else {
        return Err(Failure::Misfit(format!(
            "table `{name}` was not created yet: create the tables before the pipeline starts"
        )));
    };
    if !exists(connection, &name).await? {
        return Err(Failure::Misfit(gone(&name)));
    }
    match stored
        .missing(&name, output, table)
        .map_err(|obstacles| Failure::Misfit(obstacles.join("; ")))?
        .first()
    {
        Some(column) => Err(Failure::Misfit(format!(
            "table `{name}` has no column `{}` yet: bring the tables up to date before the pipeline starts",
            column.name
        ))),
        None => Ok(name),
    }
}

fn gone(name: &str) -> String {
    format!(
        "table `{name}` was removed, and rows that were in it will not come again: restore the file, or start over with a new one"
    )
}

/// A table as the catalogue knows it.
struct Stored {
    name: String,
    output: OutputId,
    kind: String,
    /// By lower-case name: the name, the type, and the place in the key.
    columns: HashMap<String, (String, String, Option<i64>)>,
}

impl Stored {
    /// The columns that are planned and not there, or everything for which the table cannot become what is planned.
    fn missing<'a>(
        &self,
        name: &str,
        output: &OutputId,
        table: &'a Table,
    ) -> Result<Vec<&'a Column>, Vec<String>> {
        if let Some(obstacle) = self.other_table(name, output, &table.kind) {
            return Err(vec![obstacle]);
        }
        let mut missing = Vec::new();
        let mut obstacles: Vec<String> = self
            .check_key(name, &table.kind)
            .err()
            .into_iter()
            .collect();
        for column in &table.columns {
            match self.columns.get(&column.name.to_ascii_lowercase()) {
                None => missing.push(column),
                Some((stored, ..)) if *stored != column.name => obstacles.push(format!(
                    "column `{}` of table `{name}` was `{stored}` before, and SQLite ignores case: call it `{stored}` again, or give it another name with AS",
                    column.name
                )),
                Some((_, stored, _)) if *stored != type_name(column.data_type) => obstacles.push(format!(
                    "column `{}` of table `{name}` holds {stored} and would get {}: give the column another name with AS, or the output another name",
                    column.name,
                    type_name(column.data_type)
                )),
                Some(_) => {}
            }
        }
        if obstacles.is_empty() {
            Ok(missing)
        } else {
            Err(obstacles)
        }
    }

    /// Why it is another table altogether, where it is.
    fn other_table(&self, name: &str, output: &OutputId, kind: &TableKind) -> Option<String> {
        if self.name != name {
            return Some(format!(
                "table `{name}` differs from `{}` in case only, which SQLite ignores: rename one",
                self.name
            ));
        }
        if self.output != *output {
            return Some(format!(
                "table `{name}` holds output `{}` of pipeline `{}`: give this output another table",
                self.output.output, self.output.pipeline
            ));
        }
        (self.kind != kind.name()).then(|| {
            format!(
                "table `{name}` holds {} and would get {}: give the output another name",
                self.kind,
                kind.name()
            )
        })
    }

    fn check_key(&self, name: &str, kind: &TableKind) -> Result<(), String> {
        let TableKind::Windows { key } = kind else {
            return Ok(());
        };
        let mut stored: Vec<_> = self
            .columns
            .values()
            .filter_map(|(name, _, place)| place.map(|place| (place, name.as_str())))
            .collect();
        stored.sort_unstable();
        let stored: Vec<_> = stored.into_iter().map(|(_, name)| name).collect();
        if stored == *key {
            return Ok(());
        }
        Err(format!(
            "rows of table `{name}` are identified by ({}) and would be by ({}): give the output another name",
            stored.join(", "),
            key.join(", ")
        ))
    }
}

async fn find(
    connection: &mut SqliteConnection,
    name: &str,
) -> Result<Option<Stored>, sqlx::Error> {
    let table =
        sqlx::query("SELECT name, pipeline, output, kind FROM _tidewheel_tables WHERE name = ?")
            .bind(name.to_owned())
            .fetch_optional(&mut *connection)
            .await?;
    let Some(table) = table else { return Ok(None) };
    let columns =
        sqlx::query("SELECT name, type, key_position FROM _tidewheel_columns WHERE table_name = ?")
            .bind(name.to_owned())
            .fetch_all(connection)
            .await?;
    let columns = columns.iter().map(|row| {
        let name: String = row.try_get(0)?;
        Ok((
            name.to_ascii_lowercase(),
            (name, row.try_get(1)?, row.try_get(2)?),
        ))
    });
    Ok(Some(Stored {
        name: table.try_get(0)?,
        output: OutputId {
            pipeline: table.try_get(1)?,
            output: table.try_get(2)?,
        },
        kind: table.try_get(3)?,
        columns: columns.collect::<Result<_, sqlx::Error>>()?,
    }))
}

async fn exists(connection: &mut SqliteConnection, name: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = ? COLLATE NOCASE)")
        .bind(name.to_owned())
        .fetch_one(connection)
        .await
}

async fn record_table(
    connection: &mut SqliteConnection,
    name: &str,
    output: &OutputId,
    table: &Table,
) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO _tidewheel_tables (name, pipeline, output, kind) VALUES (?, ?, ?, ?)")
        .bind(name.to_owned())
        .bind(output.pipeline.clone())
        .bind(output.output.clone())
        .bind(table.kind.name())
        .execute(connection)
        .await?;
    Ok(())
}

async fn record_column(
    connection: &mut SqliteConnection,
    name: &str,
    column: &Column,
    kind: &TableKind,
) -> Result<(), sqlx::Error> {
    let key_position = match kind {
        TableKind::Rows => None,
        TableKind::Windows { key } => key.iter().position(|key| *key == column.name),
    };
    sqlx::query(
        "INSERT INTO _tidewheel_columns (table_name, name, type, key_position) VALUES (?, ?, ?, ?)",
    )
    .bind(name.to_owned())
    .bind(column.name.clone())
    .bind(type_name(column.data_type))
    .bind(key_position.map(|place| place as i64))
    .execute(connection)
    .await?;
    Ok(())
}

/// NOT NULL stands on our columns alone: the writer refuses NULLs where none are planned, and a column may be added to or left out of
/// a table that has rows.
fn create_statement(name: &str, table: &Table) -> String {
    let ours = table.kind.position_columns();
    let columns = table.columns.iter().map(|column| {
        let not_null = if ours.contains(&column.name.as_str()) {
            " NOT NULL"
        } else {
            ""
        };
        format!(
            "{} {}{not_null}",
            names::quoted(&column.name),
            storage(column.data_type)
        )
    });
    let mut columns: Vec<_> = columns.collect();
    let options = match table.kind {
        TableKind::Rows => "STRICT",
        TableKind::Windows { .. } => {
            columns.push(format!("{} BLOB NOT NULL PRIMARY KEY", names::KEY));
            "STRICT, WITHOUT ROWID"
        }
    };
    format!(
        "CREATE TABLE {} (\n    {}\n) {options}",
        names::quoted(name),
        columns.join(",\n    ")
    )
}

/// The type as the catalogue and messages spell it. Precision is not part of it: decimals are stored as text.
fn type_name(data_type: ColumnType) -> &'static str {
    match data_type {
        ColumnType::Text => "text",
        ColumnType::Bigint => "bigint",
        ColumnType::Double => "double",
        ColumnType::Boolean => "boolean",
        ColumnType::Timestamp => "timestamp",
        ColumnType::Uuid => "uuid",
        ColumnType::Json => "json",
        ColumnType::Numeric { .. } => "numeric",
        ColumnType::Date => "date",
    }
}

/// The type that SQLite stores it as.
fn storage(data_type: ColumnType) -> &'static str {
    match data_type {
        ColumnType::Bigint | ColumnType::Boolean => "INTEGER",
        ColumnType::Double => "REAL",
        ColumnType::Text
        | ColumnType::Timestamp
        | ColumnType::Uuid
        | ColumnType::Json
        | ColumnType::Numeric { .. }
        | ColumnType::Date => "TEXT",
    }
}
