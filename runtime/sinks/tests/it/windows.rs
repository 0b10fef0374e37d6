//! Window rows: upserted only forward, NULL groups equal.
use arrow::array::{ArrayRef, RecordBatch};
use serde_json::json;
use tidewheel_planner::plan::{ColumnType, Table};
use tidewheel_sinks::{Change, SinkError};

use crate::fixture::{
    Fixture, Window, at, batch, column, commit, numbers, on_both, origin, progress, refused, texts,
    upsert, window_table, windows,
};

on_both!(
    a_window_row_moves_only_forward,
    null_groups_are_one_group_and_not_that_of_the_empty_text,
    deletes_also_move_only_forward,
    many_windows_go_through_every_size_of_statement,
    a_change_of_the_other_kind_is_refused_whole,
    a_refused_row_takes_the_stored_one_of_its_key_with_it,
    a_generation_of_windows_forgets_what_the_one_before_refused,
);

async fn counts(fixture: &Fixture) -> Vec<(serde_json::Value, serde_json::Value)> {
    let rows = fixture.rows(&window_table()).await;
    rows.into_iter()
        .map(|row| (row["page"].clone(), row["count"].clone()))
        .collect()
}

async fn a_window_row_moves_only_forward(fixture: Fixture) {
    let mut writer = fixture.writer(&window_table()).await;
    let steps: [(Window<'_>, i64); 6] = [
        ((0, Some("a"), 10, 1, 5), 10),
        ((0, Some("a"), 11, 1, 4), 10),
        ((0, Some("a"), 12, 1, 5), 10),
        ((0, Some("a"), 13, 1, 6), 13),
        ((0, Some("a"), 14, 2, 0), 14),
        ((0, Some("a"), 15, 1, 99), 14),
    ];
    let mut from = None;
    for (row, expected) in steps {
        let to = from.unwrap_or(0) + 1;
        commit(&mut writer, &upsert(&[row]), from, to)
            .await
            .unwrap();
        assert_eq!(
            counts(&fixture).await,
            [(json!("a"), json!(expected))],
            "after {row:?}"
        );
        from = Some(to);
    }
}

async fn null_groups_are_one_group_and_not_that_of_the_empty_text(fixture: Fixture) {
    let mut writer = fixture.writer(&window_table()).await;
    commit(
        &mut writer,
        &upsert(&[(0, None, 1, 1, 1), (0, Some(""), 2, 1, 1)]),
        None,
        1,
    )
    .await
    .unwrap();
    commit(
        &mut writer,
        &upsert(&[(0, None, 3, 1, 2), (0, Some(""), 4, 1, 2)]),
        Some(1),
        2,
    )
    .await
    .unwrap();
    assert_eq!(
        counts(&fixture).await,
        [(json!(null), json!(3)), (json!(""), json!(4))]
    );
}

async fn deletes_also_move_only_forward(fixture: Fixture) {
    let mut writer = fixture.writer(&window_table()).await;
    let rows = [
        (0, Some("a"), 1, 1, 5),
        (0, Some("b"), 2, 1, 5),
        (0, None, 3, 1, 5),
        (60, Some("a"), 4, 1, 5),
    ];
    commit(&mut writer, &upsert(&rows), None, 1).await.unwrap();
    let change = Change::Windows {
        upserts: windows(&[(60, Some("a"), 40, 1, 6)]),
        deletes: windows(&[
            (0, Some("a"), 0, 1, 5),
            (0, Some("b"), 0, 1, 6),
            (0, None, 0, 1, 6),
            (0, Some("nowhere"), 0, 1, 6),
        ]),
    };
    commit(&mut writer, &change, Some(1), 2).await.unwrap();
    assert_eq!(
        counts(&fixture).await,
        [(json!("a"), json!(1)), (json!("a"), json!(40))]
    );
}

#[tokio::test]
async fn windows_are_read_by_start_and_then_by_group() {
    let fixture = Fixture::embedded().await;
    let mut writer = fixture.writer(&window_table()).await;
    let rows = [
        (60, Some("b"), 5, 1, 0),
        (0, Some("b"), 3, 1, 0),
        (60, None, 4, 1, 0),
        (-60, Some("z"), 1, 1, 0),
        (0, Some("a"), 2, 1, 0),
    ];
    commit(&mut writer, &upsert(&rows), None, 1).await.unwrap();
    let order: Vec<_> = counts(&fixture)
        .await
        .into_iter()
        .map(|(_, count)| count)
        .collect();
    assert_eq!(order, [1, 2, 3, 4, 5]);
    let newest = fixture.database().newest(&window_table(), 2).await.unwrap();
    assert_eq!(
        newest.iter().map(|row| &row["count"]).collect::<Vec<_>>(),
        [5, 4]
    );
}

async fn many_windows_go_through_every_size_of_statement(fixture: Fixture) {
    let mut writer = fixture.writer(&window_table()).await;
    let names: Vec<_> = (0..2_777).map(|n| format!("page {n}")).collect();
    let rows: Vec<Window<'_>> = names
        .iter()
        .enumerate()
        .map(|(n, name)| (0, Some(name.as_str()), n as i64, 1, 1))
        .collect();
    commit(&mut writer, &upsert(&rows), None, 1).await.unwrap();
    assert_eq!(fixture.count(&window_table()).await, 2_777);
    let later: Vec<Window<'_>> = rows.iter().map(|row| (row.0, row.1, row.2, 1, 2)).collect();
    let change = Change::Windows {
        upserts: windows(&later[..1_000]),
        deletes: windows(&later[1_000..]),
    };
    commit(&mut writer, &change, Some(1), 2).await.unwrap();
    assert_eq!(
        fixture
            .number("SELECT count(*) FROM kpi WHERE _offset = 2 AND count < 1000")
            .await,
        1_000
    );
    assert_eq!(fixture.count(&window_table()).await, 1_000);
}

async fn a_change_of_the_other_kind_is_refused_whole(fixture: Fixture) {
    let mut writer = fixture.writer(&window_table()).await;
    let outcome = commit(&mut writer, &numbers(0..2), None, 1).await;
    assert!(
        matches!(&outcome, Err(SinkError::Misfit { reason, .. }) if reason == "rows came for a table of windows"),
        "{outcome:?}"
    );
    assert_eq!(progress(&mut writer).await, None);
}

/// A window table with a text besides its count.
fn noted_table() -> Table {
    let mut table = window_table();
    table.columns.insert(2, column("note", ColumnType::Text));
    table
}

/// A page, and the note beside it.
type Noted<'a> = (&'a str, &'a str);

fn noted(rows: &[Noted<'_>], offset: i64) -> Change {
    let plain: Vec<Window<'_>> = rows
        .iter()
        .map(|(page, _)| (0, Some(*page), 1, 1, offset))
        .collect();
    let rows_of = |windows: RecordBatch, notes: ArrayRef| {
        let mut arrays = windows.columns().to_vec();
        arrays.insert(2, notes);
        batch(&noted_table(), arrays)
    };
    Change::Windows {
        upserts: rows_of(windows(&plain), texts(rows.iter().map(|row| Some(row.1)))),
        deletes: rows_of(windows(&[]), texts([])),
    }
}

async fn a_refused_row_takes_the_stored_one_of_its_key_with_it(fixture: Fixture) {
    let mut writer = fixture.writer(&noted_table()).await;
    let pages = async || -> Vec<_> {
        let rows = fixture.rows(&noted_table()).await;
        rows.iter().map(|row| row["page"].clone()).collect()
    };
    let rows = [("a", "first"), ("b", "first"), ("c", "first")];
    commit(&mut writer, &noted(&rows, 1), None, 1)
        .await
        .unwrap();
    // An older row, of a task that was taken over, takes nothing with it; neither does one whose key cannot be stored.
    commit(&mut writer, &noted(&[("c", "\0")], 0), Some(1), 2)
        .await
        .unwrap();
    let rows = [("a", "\0"), ("b", "second"), ("c\0", "second")];
    let committed = commit(&mut writer, &noted(&rows, 3), Some(2), 3)
        .await
        .unwrap();
    let origins: Vec<_> = committed
        .refused
        .iter()
        .map(|row| row.origin.as_str())
        .collect();
    assert_eq!(origins, ["row 0", "row 2"]);
    assert_eq!(pages().await, ["b", "c"]);

    // Where a lower position was refused, a higher one comes in.
    commit(&mut writer, &noted(&[("a", "third")], 4), Some(3), 4)
        .await
        .unwrap();
    assert_eq!(pages().await, ["a", "b", "c"]);
}

async fn a_generation_of_windows_forgets_what_the_one_before_refused(fixture: Fixture) {
    let mut old = fixture.writer(&noted_table()).await;
    commit(&mut old, &noted(&[("a", "\0")], 1), None, 1)
        .await
        .unwrap();
    assert_eq!(refused(&mut old).await.len(), 1);
    let mut new = fixture.second_writer(&noted_table(), 0).await;
    new.begin_generation(2, Some(0)).await.unwrap();
    assert_eq!(new.last_commit().await.unwrap(), None);
    new.commit(2, &Change::Nothing, None, at(1), &[], &origin)
        .await
        .unwrap();
    assert_eq!(refused(&mut new).await, []);
}
