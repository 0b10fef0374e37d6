//! Windows that are replaced while tasks write others.
use std::sync::Arc;

use arrow::array::{RecordBatch, TimestampMicrosecondArray};
use tidewheel_planner::plan::{ColumnType, Table};
use tidewheel_sinks::{
    SinkError, Writer,
    postgres::{Replaced, Replacement},
};

use crate::{
    fixture::{
        Fixture, Window, at, batch, column, commit, integers, output, progress, texts, upsert,
        window_table, windows,
    },
    server::Server,
};

fn server(fixture: &Fixture) -> &Server {
    match fixture {
        Fixture::Postgres(server) => server,
        Fixture::Embedded { .. } => panic!("a test of PostgreSQL alone"),
    }
}

/// Every row: start in seconds, page, count, generation, offset, revision.
fn stored(fixture: &Fixture) -> String {
    server(fixture).sql(
        "SELECT extract(epoch FROM window_start)::bigint, coalesce(page, '-'), count, _generation, _offset, _revision
         FROM kpi ORDER BY 1, 2",
    )
}

/// Replaces the windows from the first to the last of these starts, in seconds.
async fn replace(
    fixture: &Fixture,
    (generation, first, last): (Option<i64>, i64, i64),
    rows: &[RecordBatch],
) -> Result<Replaced, SinkError> {
    let (output, table) = (output(), window_table());
    let replacement = Replacement {
        output: &output,
        table: &table,
        step: "clicks",
        generation,
        first_ms: first * 1_000,
        next_ms: (last + 60) * 1_000,
        overlap: false,
        rows,
    };
    server(fixture).sink.replace(&replacement).await
}

const WRITTEN: [Window<'_>; 4] = [
    (0, Some("a"), 1, 1, 3),
    (60, Some("a"), 2, 1, 4),
    (60, Some("gone"), 3, 1, 4),
    (120, Some("a"), 4, 1, 5),
];

/// With four rows in three windows, up to offset 5.
async fn written(fixture: &Fixture) -> Box<dyn Writer> {
    let mut writer = fixture.writer(&window_table()).await;
    commit(&mut writer, &upsert(&WRITTEN), None, 5)
        .await
        .unwrap();
    writer
}

#[tokio::test]
async fn windows_are_replaced_forward_and_a_task_that_writes_them_later_wins() {
    let fixture = Fixture::postgres();
    let mut writer = written(&fixture).await;
    let rows = [
        windows(&[(60, Some("a"), 20, 1, 99), (60, None, 30, 1, 99)]),
        windows(&[(60, Some("\0"), 40, 1, 99)]),
    ];
    let replaced = replace(&fixture, (Some(1), 60, 60), &rows).await.unwrap();
    assert_eq!(
        (replaced.windows, replaced.rows, replaced.removed),
        (1, 2, 1)
    );
    assert_eq!(
        replaced.refused,
        ["column `page` holds the character U+0000, which text cannot"]
    );
    let expected = "0|a|1|1|3|0\n60|-|30|1|5|0\n60|a|20|1|5|1\n120|a|4|1|5|0";
    assert_eq!(stored(&fixture), expected);
    assert_eq!(progress(&mut writer).await, Some(at(5)));

    let again = replace(&fixture, (Some(1), 60, 60), &rows).await.unwrap();
    assert_eq!((again.windows, again.rows, again.removed), (1, 2, 0));
    let later = upsert(&[(60, Some("a"), 5, 1, 6), (60, None, 6, 1, 6)]);
    commit(&mut writer, &later, Some(5), 6).await.unwrap();
    let expected = "0|a|1|1|3|0\n60|-|6|1|6|0\n60|a|5|1|6|0\n120|a|4|1|5|0";
    assert_eq!(stored(&fixture), expected);
}

#[tokio::test]
async fn windows_without_rows_are_emptied() {
    let fixture = Fixture::postgres();
    let _writer = written(&fixture).await;
    let replaced = replace(&fixture, (Some(1), 60, 120), &[]).await.unwrap();
    assert_eq!(
        (replaced.windows, replaced.rows, replaced.removed),
        (0, 0, 3)
    );
    assert_eq!(stored(&fixture), "0|a|1|1|3|0");
}

#[tokio::test]
async fn nothing_is_written_once_another_generation_has_begun() {
    let fixture = Fixture::postgres();
    let mut writer = written(&fixture).await;
    writer.begin_generation(2, None).await.unwrap();
    let before = stored(&fixture);
    let rows = [windows(&[(60, Some("a"), 20, 1, 99)])];
    let outcome = replace(&fixture, (Some(1), 60, 60), &rows).await;
    assert!(
        matches!(outcome, Err(SinkError::Fenced { .. })),
        "{outcome:?}"
    );
    assert_eq!(stored(&fixture), before);
}

#[tokio::test]
async fn a_row_that_a_constraint_refuses_has_nothing_written() {
    let fixture = Fixture::postgres();
    let _writer = written(&fixture).await;
    server(&fixture).sql("ALTER TABLE kpi ADD CONSTRAINT few CHECK (count < 50)");
    let before = stored(&fixture);
    let rows = [windows(&[
        (60, Some("a"), 20, 1, 9),
        (60, Some("b"), 60, 1, 9),
    ])];
    match replace(&fixture, (Some(1), 60, 60), &rows).await {
        Err(SinkError::Misfit { reason, .. }) => assert!(reason.contains("few"), "{reason}"),
        other => panic!("not a misfit: {other:?}"),
    }
    assert_eq!(stored(&fixture), before);
}

/// A table whose windows say when they end.
fn table_with_ends() -> Table {
    let mut table = window_table();
    table.columns[1] = column("window_end", ColumnType::Timestamp);
    table
}

fn windows_with_ends(rows: &[(i64, i64)]) -> RecordBatch {
    let times = |seconds: Vec<i64>| {
        let micros = seconds.into_iter().map(|second| second * 1_000_000);
        Arc::new(TimestampMicrosecondArray::from_iter_values(micros).with_timezone("+00:00"))
    };
    let (starts, ends): (Vec<i64>, Vec<i64>) = rows.iter().copied().unzip();
    let all = |value: i64| integers(rows.iter().map(|_| value));
    let arrays = vec![
        texts(rows.iter().map(|_| Some("a"))),
        times(ends),
        times(starts),
        all(1),
        all(0),
        all(1),
        all(0),
    ];
    batch(&table_with_ends(), arrays)
}

const ENDS: &str = "SELECT string_agg(extract(epoch FROM window_end)::bigint::text, ' ' ORDER BY window_end) FROM kpi";

/// With three windows of ten seconds.
async fn tens(fixture: &Fixture) -> Box<dyn Writer> {
    let mut writer = fixture.writer(&table_with_ends()).await;
    let tens = windows_with_ends(&[(0, 10), (10, 20), (20, 30)]);
    let change = tidewheel_sinks::Change::Windows {
        deletes: tens.slice(0, 0),
        upserts: tens,
    };
    commit(&mut writer, &change, None, 5).await.unwrap();
    writer
}

/// Replaces windows by these, of which the next one would start at `next`.
async fn replace_by(
    fixture: &Fixture,
    windows: &[(i64, i64)],
    next: i64,
    overlap: bool,
) -> Result<Replaced, SinkError> {
    let (output, table, rows) = (output(), table_with_ends(), [windows_with_ends(windows)]);
    let replacement = Replacement {
        output: &output,
        table: &table,
        step: "clicks",
        generation: Some(1),
        first_ms: windows[0].0 * 1_000,
        next_ms: next * 1_000,
        overlap,
        rows: &rows,
    };
    server(fixture).sink.replace(&replacement).await
}

#[tokio::test]
async fn a_window_of_another_length_across_an_edge_is_told() {
    let fixture = Fixture::postgres();
    let _writer = tens(&fixture).await;
    let fifteens = [(0, 15), (15, 30)];
    for (chosen, across) in [
        (&fifteens[..1], Some("00:00:15")),
        (&fifteens[1..], Some("00:00:15")),
        (&fifteens[..], None),
    ] {
        let end = chosen[chosen.len() - 1].1;
        let replaced = replace_by(&fixture, chosen, end, false).await;
        match (replaced, across) {
            (Ok(replaced), None) => assert_eq!((replaced.rows, replaced.removed), (2, 2)),
            (Err(SinkError::Misfit { reason, .. }), Some(at)) => {
                assert!(
                    reason.contains(&format!("lies across 1970-01-01T{at}")),
                    "{reason}"
                );
            }
            (outcome, _) => panic!("{chosen:?}: {outcome:?}"),
        }
    }
    assert_eq!(server(&fixture).sql(ENDS), "15 30");
}

#[tokio::test]
async fn windows_of_another_length_do_not_stay_among_those_that_overlap() {
    let fixture = Fixture::postgres();
    let _writer = tens(&fixture).await;
    // Every fifteen seconds; the next one would start at 30.
    let replaced = replace_by(&fixture, &[(0, 30), (15, 45)], 30, true).await;
    let replaced = replaced.unwrap();
    assert_eq!((replaced.rows, replaced.removed), (2, 2));
    assert_eq!(server(&fixture).sql(ENDS), "30 45");
}
