//! A database in a folder of its own, and two tables to write.
use std::path::Path;
use std::sync::Arc;

use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray},
    datatypes::{Field, Schema},
};
use tidewheel_planner::plan::{Column, ColumnType, Table, TableKind};
use tidewheel_sinks::{
    Change, Committed, OutputId, Progress, Refused, Sink as _, SinkError, TaskId, Writer,
    embedded::{Columns, Database, Row},
};

pub(crate) struct Fixture {
    pub(crate) database: Database,
    pub(crate) folder: tempfile::TempDir,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(folder.path().join("tables.db"))
            .await
            .unwrap();
        Self { database, folder }
    }

    /// A writer of partition 0 in generation 1, whose table exists.
    pub(crate) async fn writer(&self, table: &Table) -> Box<dyn Writer> {
        self.database.create_table(&output(), table).await.unwrap();
        let mut writer = self.second_writer(table, 0).await;
        writer.begin_generation(1, None).await.unwrap();
        writer
    }

    /// Another writer of the same output.
    pub(crate) async fn second_writer(&self, table: &Table, partition: i32) -> Box<dyn Writer> {
        let task = TaskId {
            input: "clicks".to_owned(),
            partition,
        };
        self.database.writer(&output(), table, &task).await.unwrap()
    }

    pub(crate) async fn rows(&self, table: &Table) -> Vec<Row> {
        self.database.rows(table, Columns::Data).await.unwrap()
    }

    /// What another program reads in the file.
    pub(crate) async fn sql<T>(&self, sql: &'static str) -> T
    where
        T: Send + Unpin + sqlx::Type<sqlx::Sqlite> + for<'r> sqlx::Decode<'r, sqlx::Sqlite>,
    {
        use sqlx::{ConnectOptions as _, sqlite::SqliteConnectOptions};
        let mut connection = SqliteConnectOptions::new()
            .filename(self.database.path())
            .connect()
            .await
            .unwrap();
        sqlx::query_scalar(sql)
            .fetch_one(&mut connection)
            .await
            .unwrap()
    }

    /// What another program does to the file.
    pub(crate) async fn meddle(&self, sql: &'static str) {
        meddle(self.database.path(), sql).await;
    }
}

/// Runs SQL on a file, which is made if need be.
pub(crate) async fn meddle(path: &Path, sql: &'static str) {
    use sqlx::{ConnectOptions as _, Connection as _, sqlite::SqliteConnectOptions};
    let options = SqliteConnectOptions::new().filename(path);
    let mut connection = options.create_if_missing(true).connect().await.unwrap();
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
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
        .commit(1, change, from.map(at), at(to), &origin)
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

/// What the newest commit refused.
pub(crate) async fn refused(writer: &mut Box<dyn Writer>) -> Vec<Refused> {
    let newest = writer.last_commit().await.unwrap();
    newest.map_or_else(Vec::new, |(_, committed)| committed.refused)
}
