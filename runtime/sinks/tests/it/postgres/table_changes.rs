//! Tables that somebody changed by hand.
use tidewheel_planner::plan::{ColumnType, Table};
use tidewheel_sinks::{Change, SinkError};

use crate::{
    fixture::{
        Fixture, at, batch, column, commit, integers, number_table, numbers, progress, row_table,
        texts, upsert, window_table,
    },
    server::Server,
};

fn misfit<T: std::fmt::Debug>(outcome: Result<T, SinkError>) -> String {
    match outcome {
        Err(SinkError::Misfit { reason, .. }) => reason,
        other => panic!("not a misfit: {other:?}"),
    }
}

fn server(fixture: &Fixture) -> &Server {
    match fixture {
        Fixture::Postgres(server) => server,
        Fixture::Embedded { .. } => panic!("a test of PostgreSQL alone"),
    }
}

/// Whether a writer says `expected` of what `change` does to the table, refuses nothing, and goes on after `undo`.
async fn check(table: &Table, commits: [&Change; 2], change: &str, expected: &str, undo: &str) {
    let fixture = Fixture::postgres();
    let mut writer = fixture.writer(table).await;
    commit(&mut writer, commits[0], None, 1).await.unwrap();
    server(&fixture).sql(change);
    let outcome = commit(&mut writer, commits[1], Some(1), 2).await;
    assert_eq!(misfit(outcome), expected, "{change}");
    assert_eq!(progress(&mut writer).await, Some(at(1)));
    server(&fixture).sql(undo);
    let committed = commit(&mut writer, commits[1], Some(1), 2).await.unwrap();
    assert_eq!(committed.refused, []);
}

#[tokio::test]
async fn a_column_whose_type_was_changed_is_named_and_refuses_no_row() {
    check(
        &number_table(),
        [&numbers(0..1), &numbers(1..900)],
        "ALTER TABLE numbers ALTER n TYPE text",
        "column `n` of table `numbers` holds text and would get bigint: give the column another name with AS, or the output another name",
        "ALTER TABLE numbers ALTER n TYPE bigint USING n::bigint",
    )
    .await;
    let window = |n: i64| upsert(&[(0, None, n, 1, n)]);
    check(
        &window_table(),
        [&window(1), &window(2)],
        "ALTER TABLE kpi ALTER count TYPE date USING now()",
        "column `count` of table `kpi` holds date and would get bigint: give the column another name with AS, or the output another name",
        "ALTER TABLE kpi ALTER count TYPE bigint USING 1",
    )
    .await;
}

#[tokio::test]
async fn a_column_that_was_renamed_is_missed() {
    check(
        &number_table(),
        [&numbers(0..1), &numbers(1..2)],
        "ALTER TABLE numbers RENAME n TO m",
        "table `numbers` has no column `n` yet: bring the tables up to date before the pipeline starts",
        "ALTER TABLE numbers RENAME m TO n",
    )
    .await;
}

#[tokio::test]
async fn a_column_that_demands_a_value_refuses_no_row() {
    check(
        &number_table(),
        [&numbers(0..1), &numbers(1..2)],
        "TRUNCATE numbers; ALTER TABLE numbers ADD who text NOT NULL",
        "column `who` of table `numbers` demands a value and is given none: ALTER TABLE public.numbers ALTER COLUMN who DROP NOT NULL",
        "ALTER TABLE public.numbers ALTER COLUMN who DROP NOT NULL",
    )
    .await;
}

#[tokio::test]
async fn a_key_that_was_removed_is_missed() {
    let window = |n: i64| upsert(&[(0, None, n, 1, n)]);
    let key = "UNIQUE NULLS NOT DISTINCT (window_start, page)";
    check(
        &window_table(),
        [&window(1), &window(2)],
        "ALTER TABLE kpi DROP CONSTRAINT kpi_window_start_page_key",
        &format!("nothing keeps rows of table `kpi` apart by (window_start, page): ALTER TABLE public.kpi ADD {key}, or give the output another name"),
        &format!("ALTER TABLE public.kpi ADD {key}"),
    )
    .await;
}

#[tokio::test]
async fn a_table_that_was_dropped_is_not_made_anew_in_silence() {
    let fixture = Fixture::postgres();
    let mut writer = fixture.writer(&number_table()).await;
    commit(&mut writer, &numbers(0..2), None, 2).await.unwrap();
    server(&fixture).sql("DROP TABLE numbers");
    let advice = "table `numbers` was removed, and rows that were in it will not come again: restore it, or delete what the tables `_tidewheel_*` have of the output to start over";
    let outcome = commit(&mut writer, &numbers(2..3), Some(2), 3).await;
    assert_eq!(misfit(outcome), advice);
    let output = crate::fixture::output();
    let made = fixture.create(&output, &number_table()).await;
    assert_eq!(made.unwrap_err(), advice);
    assert_eq!(progress(&mut writer).await, Some(at(2)));
}

#[tokio::test]
async fn columns_that_others_added_are_left_alone() {
    let fixture = Fixture::postgres();
    let table = row_table("notes", vec![column("text", ColumnType::Text)]);
    let mut writer = fixture.writer(&table).await;
    server(&fixture).sql(
        "ALTER TABLE notes ADD id bigint GENERATED ALWAYS AS IDENTITY, ADD at timestamptz NOT NULL DEFAULT now(), ADD words text",
    );
    let rows = batch(
        &table,
        vec![
            texts([Some("a"), None]),
            integers([1; 2]),
            integers([0; 2]),
            integers(0..2),
            integers([0; 2]),
        ],
    );
    commit(&mut writer, &Change::Append(rows), None, 2)
        .await
        .unwrap();
    let found =
        server(&fixture).sql("SELECT id, at IS NULL, words IS NULL, text FROM notes ORDER BY id");
    assert_eq!(found, "1|f|t|a\n2|f|t|");
}
