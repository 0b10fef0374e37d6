//! A database of its own for each test, and two tables to write.
use std::path::Path;
use std::sync::Arc;

use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray},
    datatypes::{Field, Schema},
};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, sqlite::SqliteConnectOptions};
use tidewheel_planner::plan::{Column, ColumnType, Table, TableKind};
use tidewheel_sinks::{
    Change, Committed, OutputId, Progress, Refused, Sink, SinkError, TaskId, Writer,
    embedded::{Columns, Database, Row},
};

use crate::server::Server;

/// A place that results go to. What it promises is tested on both kinds by the same tests; see [`on_both`].
pub(crate) enum Fixture {
    Embedded {
        database: Database,
        folder: tempfile::TempDir,
    },
    Postgres(Server),
}

/// Makes of each `async fn(Fixture)` a test of embedded tables and one of PostgreSQL.
macro_rules! on_both {
    ($($test:ident),* $(,)?) => {
        mod embedded {
            $(#[tokio::test]
            async fn $test() {
                super::$test(crate::fixture::Fixture::embedded().await).await;
            })*
        }
        mod postgres {
            $(#[tokio::test]
            async fn $test() {
                super::$test(crate::fixture::Fixture::postgres()).await;
            })*
        }
    };
}
pub(crate) use on_both;

impl Fixture {
    pub(crate) async fn embedded() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(folder.path().join("tables.db"))
            .await
            .unwrap();
        Self::Embedded { database, folder }
    }

    /// A database of its own on the server that all tests share.
    pub(crate) fn postgres() -> Self {
        Self::Postgres(Server::shared())
    }

    /// An empty one of the same kind.
    pub(crate) async fn another(&self) -> Self {
        match self {
            Self::Embedded { .. } => Self::embedded().await,
            Self::Postgres(_) => Self::postgres(),
        }
    }

    pub(crate) fn database(&self) -> &Database {
        match self {
            Self::Embedded { database, .. } => database,
            Self::Postgres(_) => panic!("a test of embedded tables alone"),
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        match self {
            Self::Embedded { folder, .. } => folder.path(),
            Self::Postgres(_) => panic!("a test of embedded tables alone"),
        }
    }

    pub(crate) fn is_embedded(&self) -> bool {
        matches!(self, Self::Embedded { .. })
    }

    pub(crate) fn sink(&self) -> &dyn Sink {
        match self {
            Self::Embedded { database, .. } => database,
            Self::Postgres(server) => &server.sink,
        }
    }

    /// Makes a table, or adds to it what it lacks; says why that would not do.
    pub(crate) async fn create(&self, output: &OutputId, table: &Table) -> Result<(), String> {
        match self {
            Self::Embedded { database, .. } => match database.create_table(output, table).await {
                Err(SinkError::Misfit { reason, .. }) => Err(reason),
                other => {
                    other.unwrap();
                    Ok(())
                }
            },
            Self::Postgres(server) => server.create(output, table).await,
        }
    }

    /// A writer of partition 0 in generation 1, whose table exists.
    pub(crate) async fn writer(&self, table: &Table) -> Box<dyn Writer> {
        self.create(&output(), table).await.unwrap();
        let mut writer = self.second_writer(table, 0).await;
        writer.begin_generation(1, None).await.unwrap();
        writer
    }

    /// Another writer of the same output.
    pub(crate) async fn second_writer(&self, table: &Table, partition: i32) -> Box<dyn Writer> {
        let task = task(partition);
        self.sink().writer(&output(), table, &task).await.unwrap()
    }

    pub(crate) async fn rows(&self, table: &Table) -> Vec<Row> {
        match self {
            Self::Embedded { database, .. } => database.rows(table, Columns::Data).await.unwrap(),
            Self::Postgres(server) => server.rows(table).await,
        }
    }

    /// The number that another program reads.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        match self {
            Self::Embedded { database, .. } => {
                let mut connection = SqliteConnectOptions::new()
                    .filename(database.path())
                    .connect()
                    .await
                    .unwrap();
                sqlx::query_scalar(AssertSqlSafe(sql))
                    .fetch_one(&mut connection)
                    .await
                    .unwrap()
            }
            Self::Postgres(server) => server.sql(sql).parse().unwrap(),
        }
    }

    pub(crate) async fn count(&self, table: &Table) -> i64 {
        self.number(&format!("SELECT count(*) FROM {}", self.name(table)))
            .await
    }

    /// The table as SQL refers to it.
    pub(crate) fn name(&self, table: &Table) -> String {
        match self {
            Self::Embedded { .. } => {
                format!("\"{}\"", Database::table_name(table).unwrap())
            }
            Self::Postgres(_) => tidewheel_planner::postgres::qualified(table),
        }
    }

    /// What another program does.
    pub(crate) async fn meddle(&self, sql: &str) {
        match self {
            Self::Embedded { database, .. } => meddle(database.path(), sql).await,
            Self::Postgres(server) => {
                server.sql(sql);
            }
        }
    }
}

pub(crate) fn task(partition: i32) -> TaskId {
    TaskId {
        input: "clicks".to_owned(),
        partition,
    }
}

/// Runs SQL on a file, which is made if need be.
pub(crate) async fn meddle(path: &Path, sql: &str) {
    let options = SqliteConnectOptions::new().filename(path);
    let mut connection = options.create_if_missing(true).connect().await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
}

pub(crate) fn output() -> OutputId {
    OutputId {
        pipeline: "shop/kpis".to_owned(),
        output: "kpi".to_owned(),
    }
}

pub(crate) fn at(next_offset: i64) -> Progress {
    Progress {
        next_offset,
        watermark_ms: Some(next_offset * 10),
    }
}

pub(crate) fn column(name: &str, data_type: ColumnType) -> Column {
    Column {
        name: name.to_owned(),
        data_type,
        nullable: true,
    }
}

fn ours(names: &[&str]) -> Vec<Column> {
    names
        .iter()
        .map(|name| Column {
            nullable: false,
            ..column(name, ColumnType::Bigint)
        })
        .collect()
}

/// A table of rows with these columns before ours.
pub(crate) fn row_table(name: &str, mut columns: Vec<Column>) -> Table {
    columns.extend(ours(&["_generation", "_partition", "_offset", "_ordinal"]));
    Table {
        schema: "public".to_owned(),
        name: name.to_owned(),
        columns,
        kind: TableKind::Rows,
        retention_ms: None,
    }
}

/// A table of windows by `window_start` and `page`, with a `count`.
pub(crate) fn window_table() -> Table {
    let mut columns = vec![
        column("page", ColumnType::Text),
        column("count", ColumnType::Bigint),
        column("window_start", ColumnType::Timestamp),
    ];
    columns.extend(ours(&["_generation", "_partition", "_offset", "_revision"]));
    let key = vec!["window_start".to_owned(), "page".to_owned()];
    Table {
        schema: "public".to_owned(),
        name: "kpi".to_owned(),
        columns,
        kind: TableKind::Windows { key },
        retention_ms: None,
    }
}

/// A batch of these arrays under the names of the table's columns.
pub(crate) fn batch(table: &Table, arrays: Vec<ArrayRef>) -> RecordBatch {
    let fields: Vec<_> = table
        .columns
        .iter()
        .zip(&arrays)
        .map(|(column, array)| Field::new(&column.name, array.data_type().clone(), true))
        .collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap()
}

pub(crate) fn integers(values: impl IntoIterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values))
}

pub(crate) fn texts<'a>(values: impl IntoIterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(StringArray::from_iter(values))
}

/// A window row: (start in seconds, page, count, generation, offset).
pub(crate) type Window<'a> = (i64, Option<&'a str>, i64, i64, i64);

pub(crate) fn windows(rows: &[Window<'_>]) -> RecordBatch {
    let starts =
        TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.0 * 1_000_000))
            .with_timezone("+00:00");
    let arrays = vec![
        texts(rows.iter().map(|row| row.1)),
        integers(rows.iter().map(|row| row.2)),
        Arc::new(starts),
        integers(rows.iter().map(|row| row.3)),
        integers(rows.iter().map(|_| 0)),
        integers(rows.iter().map(|row| row.4)),
        integers(rows.iter().map(|_| 0)),
    ];
    batch(&window_table(), arrays)
}

pub(crate) fn upsert(rows: &[Window<'_>]) -> Change {
    Change::Windows {
        upserts: windows(rows),
        deletes: windows(&[]),
    }
}

/// The table that [`numbers`] fills.
pub(crate) fn number_table() -> Table {
    row_table("numbers", vec![column("n", ColumnType::Bigint)])
}

/// Rows whose only value is their offset.
pub(crate) fn numbers(offsets: std::ops::Range<i64>) -> Change {
    let arrays = vec![
        integers(offsets.clone()),
        integers(offsets.clone().map(|_| 1)),
        integers(offsets.clone().map(|_| 0)),
        integers(offsets.clone()),
        integers(offsets.map(|_| 0)),
    ];
    Change::Append(batch(&number_table(), arrays))
}

/// Commits in generation 1 from one offset to another.
pub(crate) async fn commit(
    writer: &mut Box<dyn Writer>,
    change: &Change,
    from: Option<i64>,
    to: i64,
) -> Result<Committed, SinkError> {
    writer
        .commit(1, change, from.map(at), at(to), &[], &origin)
        .await
}

/// What the tests tell of a row.
pub(crate) fn origin(row: usize) -> String {
    format!("row {row}")
}

/// How far a writer's output has come.
pub(crate) async fn progress(writer: &mut Box<dyn Writer>) -> Option<Progress> {
    let (progress, _) = writer.last_commit().await.unwrap()?;
    Some(progress)
}

/// What is kept of refused rows.
pub(crate) async fn refused(writer: &mut Box<dyn Writer>) -> Vec<Refused> {
    let newest = writer.last_commit().await.unwrap();
    newest.map_or_else(Vec::new, |(_, kept)| kept)
}
