//! Tables in partitions, whose rows are kept for a time.
use std::sync::Arc;

use arrow::array::TimestampMicrosecondArray;
use tidewheel_planner::plan::{APPEND_TIME, ColumnType, Table};
use tidewheel_provision::postgres::{KeepOptions, Kept, PlannedTable, keep};
use tidewheel_sinks::{Change, SinkError};

use crate::{
    fixture::{
        Fixture, batch, column, commit, integers, number_table, numbers, output, progress, upsert,
        window_table, windows,
    },
    server::Server,
};

/// Two hours after the epoch: partitions of five minutes begin at 3600 s, and the last of them ends at 8400 s.
const NOW_MS: i64 = 7_200_000;

fn server(fixture: &Fixture) -> &Server {
    match fixture {
        Fixture::Postgres(server) => server,
        Fixture::Embedded { .. } => panic!("a test of PostgreSQL alone"),
    }
}

fn retained(table: Table) -> Table {
    Table {
        retention_ms: Some(3_600_000),
        ..table
    }
}

/// Makes the table and its partitions.
async fn make(fixture: &Fixture, table: &Table) {
    fixture.create(&output(), table).await.unwrap();
    let kept = keep_at(fixture, table, NOW_MS).await;
    assert_eq!(kept.made.len(), 16, "{kept:?}");
}

async fn keep_at(fixture: &Fixture, table: &Table, now_ms: i64) -> Kept {
    let (server, output) = (server(fixture), output());
    let planned = PlannedTable {
        pipeline: output.pipeline,
        output: output.output,
        table: table.clone(),
    };
    let options = KeepOptions {
        now_ms: Some(now_ms),
        ..KeepOptions::default()
    };
    let url = server.process.url(&server.name);
    keep(&url, &[planned], options).await.unwrap().remove(0)
}

/// Numbers with when they were appended, in seconds.
fn appended(table: &Table, rows: &[(i64, i64)]) -> Change {
    let times = rows.iter().map(|(_, at)| at * 1_000_000);
    let times = TimestampMicrosecondArray::from_iter_values(times).with_timezone("+00:00");
    let arrays = vec![
        integers(rows.iter().map(|row| row.0)),
        integers(rows.iter().map(|_| 1)),
        integers(rows.iter().map(|_| 0)),
        integers(rows.iter().map(|row| row.0)),
        integers(rows.iter().map(|_| 0)),
        Arc::new(times),
    ];
    Change::Append(batch(table, arrays))
}

fn appended_table() -> Table {
    let mut table = retained(number_table());
    table
        .columns
        .push(column(APPEND_TIME, ColumnType::Timestamp));
    table
}

const PLACES: &str =
    "SELECT string_agg(tableoid::regclass || ' ' || count, ', ' ORDER BY count) FROM kpi";

#[tokio::test]
async fn windows_are_upserted_deleted_and_begun_anew_whatever_partition_has_them() {
    let fixture = Fixture::postgres();
    let table = retained(window_table());
    make(&fixture, &table).await;
    let mut writer = fixture.writer(&table).await;
    let first = upsert(&[
        (3_600, Some("a"), 1, 1, 5),
        (3_600, None, 2, 1, 5),
        (7_300, Some("a"), 3, 1, 5),
        (60, None, 4, 1, 5),
        (90_000, Some("z"), 5, 1, 5),
    ]);
    commit(&mut writer, &first, None, 1).await.unwrap();
    let places = "kpi_19700101_0100 1, kpi_19700101_0100 2, kpi_19700101_0200 3, kpi_default 4, kpi_default 5";
    assert_eq!(server(&fixture).sql(PLACES), places);
    // Forward only, and each key once.
    let second = Change::Windows {
        upserts: windows(&[
            (3_600, None, 6, 1, 6),
            (3_600, Some("a"), 7, 1, 4),
            (60, None, 8, 1, 6),
        ]),
        deletes: windows(&[(7_300, Some("a"), 0, 1, 6), (90_000, Some("z"), 0, 1, 6)]),
    };
    commit(&mut writer, &second, Some(1), 2).await.unwrap();
    let places = "kpi_19700101_0100 1, kpi_19700101_0100 6, kpi_default 8";
    assert_eq!(server(&fixture).sql(PLACES), places);
    writer.begin_generation(2, Some(3_600_000)).await.unwrap();
    assert_eq!(server(&fixture).sql(PLACES), "kpi_default 8");
}

#[tokio::test]
async fn writers_go_on_while_partitions_are_made_and_dropped() {
    const WINDOWS: i64 = 240;
    let fixture = Fixture::postgres();
    let table = retained(window_table());
    make(&fixture, &table).await;
    let mut writer = fixture.writer(&table).await;
    let now_s = NOW_MS / 1_000;
    // A window a minute, each amended once, and deletes that look through all partitions.
    let writing = async {
        for n in 0..WINDOWS {
            let start = now_s + n * 60;
            let change = Change::Windows {
                upserts: windows(&[
                    (start, None, n, 1, n + 1),
                    (start - 60, None, n - 1, 1, n + 1),
                ]),
                deletes: windows(&[(start - 120, Some("gone"), 0, 1, n + 1)]),
            };
            let from = (n > 0).then_some(n);
            let committed = commit(&mut writer, &change, from, n + 1).await.unwrap();
            assert_eq!(committed.refused, []);
        }
    };
    let keeping = async {
        let mut dropped = 0;
        for minute in 0..WINDOWS {
            let kept = keep_at(&fixture, &table, NOW_MS + minute * 60_000).await;
            dropped += kept.dropped.len();
        }
        dropped
    };
    let ((), dropped) = tokio::join!(writing, keeping);
    let kept = keep_at(&fixture, &table, NOW_MS + WINDOWS * 60_000).await;
    assert!(kept.is_done(), "{kept:?}");
    assert!(dropped + kept.dropped.len() > 16, "{dropped}");
    let last_hour = (now_s + (WINDOWS - 60) * 60).to_string();
    let windows = format!(
        "SELECT count(*) FILTER (WHERE window_start >= to_timestamp({last_hour})), count(*) - count(DISTINCT window_start),
            count(*) FILTER (WHERE count <> (extract(epoch FROM window_start) - {now_s}) / 60) FROM kpi"
    );
    assert_eq!(server(&fixture).sql(&windows), "60|0|0");
}

#[tokio::test]
async fn rows_are_copied_to_their_partitions_and_the_newest_are_found() {
    let (fixture, table) = (Fixture::postgres(), appended_table());
    make(&fixture, &table).await;
    let mut writer = fixture.writer(&table).await;
    let rows = [
        (0, 100),
        (1, 3_700),
        (2, 3_701),
        (3, 7_000),
        (4, 7_001),
        (5, 7_300),
    ];
    let change = appended(&table, &rows);
    commit(&mut writer, &change, None, 6).await.unwrap();
    let sink = &server(&fixture).sink;
    let newest = |limit: u32| {
        let table = &table;
        async move {
            let rows = sink.newest(table, limit).await.unwrap();
            assert!(rows.iter().all(|row| row.len() == 1), "{rows:?}");
            let numbers = rows.iter().map(|row| row["n"].as_i64().unwrap());
            numbers.collect::<Vec<_>>()
        }
    };
    assert_eq!(newest(1).await, [5]);
    assert_eq!(newest(4).await, [5, 4, 3, 2]);
    assert_eq!(newest(9).await, [5, 4, 3, 2, 1, 0]);
    assert_eq!(sink.count(&table).await.unwrap(), 6);
    let times = "SELECT string_agg(extract(epoch FROM _append_time)::int::text, ' ' ORDER BY n) FROM numbers";
    assert_eq!(server(&fixture).sql(times), "100 3700 3701 7000 7001 7300");
    // The retention goes: rows without a time are written as well.
    let mut writer = fixture.second_writer(&number_table(), 0).await;
    commit(&mut writer, &numbers(6..7), Some(6), 7)
        .await
        .unwrap();
    let unknown = "SELECT tableoid::regclass || ' ' || n FROM numbers WHERE _append_time IS NULL";
    assert_eq!(server(&fixture).sql(unknown), "numbers_default 6");
}

#[tokio::test]
async fn a_row_without_a_partition_is_not_to_blame() {
    let (fixture, table) = (Fixture::postgres(), appended_table());
    make(&fixture, &table).await;
    let mut writer = fixture.writer(&table).await;
    server(&fixture).sql("DROP TABLE numbers_default");
    let change = appended(&table, &[(0, 3_700), (1, 100)]);
    let error = commit(&mut writer, &change, None, 2).await.unwrap_err();
    assert!(matches!(error, SinkError::Unavailable { .. }), "{error}");
    let said = error.to_string();
    assert!(
        said.contains("no partition of relation \"numbers\" found for row")
            && said.contains("give the table the partition that it lacks, or a DEFAULT one"),
        "{said}"
    );
    assert_eq!(progress(&mut writer).await, None);
    server(&fixture).sql("CREATE TABLE numbers_rest PARTITION OF numbers DEFAULT");
    let committed = commit(&mut writer, &change, None, 2).await.unwrap();
    assert_eq!(committed.refused, []);
    // A constraint of somebody's own is about the row.
    server(&fixture).sql("ALTER TABLE numbers ADD CHECK (n < 3)");
    let change = appended(&table, &[(2, 3_700), (3, 100)]);
    let committed = commit(&mut writer, &change, Some(2), 4).await.unwrap();
    assert_eq!(committed.refused.len(), 1);
}

#[tokio::test]
async fn embedded_tables_keep_everything_and_do_not_show_when_rows_came() {
    let (fixture, table) = (Fixture::embedded().await, appended_table());
    let mut writer = fixture.writer(&table).await;
    let change = appended(&table, &[(0, 100), (1, 7_300)]);
    commit(&mut writer, &change, None, 2).await.unwrap();
    let rows = fixture.rows(&table).await;
    assert!(
        rows.len() == 2 && rows.iter().all(|row| row.len() == 1),
        "{rows:?}"
    );
}
