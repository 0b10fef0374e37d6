//! Rows: appended whole, refused one by one, read in order.
use std::{ops::ControlFlow, sync::Arc};

use arrow::array::{ArrayRef, TimestampMicrosecondArray};
use serde_json::json;
use tidewheel_planner::plan::{Column, ColumnType};
use tidewheel_sinks::{Change, Refused, embedded::Columns};

use crate::fixture::{
    Fixture, at, batch, column, commit, integers, number_table, numbers, on_both, origin, progress,
    refused, row_table, texts,
};

on_both!(
    a_long_batch_arrives_whole_and_in_order,
    rows_come_back_in_the_order_of_the_log_and_only_once,
    rows_that_cannot_be_stored_are_named_and_the_others_are_written,
    what_was_refused_is_kept_for_as_long_as_commits_say_so,
);

async fn rows_come_back_in_the_order_of_the_log_and_only_once(fixture: Fixture) {
    let table = number_table();
    let mut zero = fixture.writer(&table).await;
    let mut one = fixture.second_writer(&table, 1).await;
    let of_one = |n: i64| {
        Change::Append(batch(
            &table,
            vec![
                integers([100 + n]),
                integers([1]),
                integers([1]),
                integers([n]),
                integers([0]),
            ],
        ))
    };
    commit(&mut one, &of_one(0), None, 1).await.unwrap();
    commit(&mut zero, &numbers(0..3), None, 3).await.unwrap();
    commit(&mut one, &of_one(1), Some(1), 2).await.unwrap();
    commit(&mut zero, &numbers(3..4), Some(3), 4).await.unwrap();
    let values: Vec<_> = fixture
        .rows(&table)
        .await
        .into_iter()
        .map(|row| row["n"].clone())
        .collect();
    assert_eq!(values, [0, 1, 2, 3, 100, 101]);
    if !fixture.is_embedded() {
        return;
    }
    let newest: Vec<_> = fixture
        .database()
        .newest(&table, 3)
        .await
        .unwrap()
        .into_iter()
        .map(|row| row["n"].clone())
        .collect();
    assert_eq!(newest, [3, 101, 2]);
}

#[tokio::test]
async fn a_reader_may_stop_early_and_may_see_positions() {
    let fixture = Fixture::embedded().await;
    let mut writer = fixture.writer(&number_table()).await;
    commit(&mut writer, &numbers(0..1000), None, 1000)
        .await
        .unwrap();
    let (mut seen, table) = (Vec::new(), number_table());
    let read = fixture
        .database()
        .for_each_row(&table, Columns::WithPosition, |row| {
            seen.push(row);
            if seen.len() == 2 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
    read.await.unwrap();
    assert_eq!(
        json!(seen[1]),
        json!({"n": 1, "_generation": 1, "_partition": 0, "_offset": 1, "_ordinal": 0})
    );
    assert_eq!(seen.len(), 2);
}

async fn rows_that_cannot_be_stored_are_named_and_the_others_are_written(fixture: Fixture) {
    let table = row_table(
        "visits",
        vec![
            column("page", ColumnType::Text),
            column("seen", ColumnType::Timestamp),
            Column {
                nullable: false,
                ..column("user", ColumnType::Text)
            },
        ],
    );
    let mut writer = fixture.writer(&table).await;
    let seen = TimestampMicrosecondArray::from(vec![
        Some(0),
        Some(1),
        Some(253_402_300_800_000_000),
        None,
    ])
    .with_timezone("+00:00");
    let arrays: Vec<ArrayRef> = vec![
        texts([Some("a\0b"), Some("ok"), None, None]),
        Arc::new(seen),
        texts([Some("u"), Some("u"), Some("u"), None]),
        integers([1; 4]),
        integers([0; 4]),
        integers(0..4),
        integers([0; 4]),
    ];
    let committed = commit(&mut writer, &Change::Append(batch(&table, arrays)), None, 4)
        .await
        .unwrap();
    let reasons: Vec<_> = committed
        .refused
        .iter()
        .map(|refused| (refused.origin.as_str(), refused.reason.as_str()))
        .collect();
    assert_eq!(
        reasons,
        [
            (
                "row 0",
                "column `page` holds the character U+0000, which text cannot"
            ),
            ("row 2", "column `seen` lies outside of the years 1 to 9999"),
            ("row 3", "column `user` is NULL where none is allowed"),
        ]
    );
    let rows = fixture.rows(&table).await;
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["page"], "ok");
    assert_eq!(progress(&mut writer).await, Some(at(4)));

    // Whoever takes over is told the same, until a commit leaves it out.
    let mut heir = fixture.second_writer(&table, 0).await;
    assert_eq!(refused(&mut heir).await, committed.refused);
    commit(&mut heir, &Change::Nothing, Some(4), 5)
        .await
        .unwrap();
    assert_eq!(refused(&mut heir).await, []);
}

async fn what_was_refused_is_kept_for_as_long_as_commits_say_so(fixture: Fixture) {
    let table = row_table("visits", vec![column("page", ColumnType::Text)]);
    let mut writer = fixture.writer(&table).await;
    let visit = |offset: i64, page: &str| {
        let arrays = vec![
            texts([Some(page)]),
            integers([1]),
            integers([0]),
            integers([offset]),
            integers([0]),
        ];
        Change::Append(batch(&table, arrays))
    };
    let at_offset = |offset: i64| move |_: usize| format!("record {offset}");
    let mut kept: Vec<Refused> = Vec::new();
    for (offset, page) in [(0, "a\0"), (1, "fine"), (2, "b\0")] {
        let from = (offset > 0).then(|| at(offset));
        let (change, origin) = (visit(offset, page), at_offset(offset));
        let committed = writer
            .commit(1, &change, from, at(offset + 1), &kept, &origin)
            .await
            .unwrap();
        // Each commit answers for itself.
        assert_eq!(committed.refused.len(), usize::from(page != "fine"));
        kept.extend(committed.refused);
        assert_eq!(refused(&mut writer).await, kept, "oldest first");
    }
    let newest = kept.split_off(1);
    writer
        .commit(1, &Change::Nothing, Some(at(3)), at(4), &newest, &origin)
        .await
        .unwrap();
    assert_eq!(refused(&mut writer).await, newest);
}

#[tokio::test]
async fn wide_and_long_batches_exceed_what_one_statement_takes() {
    let fixture = Fixture::embedded().await;
    let names: Vec<_> = (0..1_500).map(|n| format!("c{n}")).collect();
    let table = row_table(
        "wide",
        names
            .iter()
            .map(|name| column(name, ColumnType::Bigint))
            .collect(),
    );
    let mut writer = fixture.writer(&table).await;
    let rows = 70;
    let mut arrays: Vec<_> = (0..1_500)
        .map(|c| integers((0..rows).map(|r| c * rows + r)))
        .collect();
    arrays.extend([
        integers((0..rows).map(|_| 1)),
        integers((0..rows).map(|_| 0)),
        integers(0..rows),
        integers((0..rows).map(|_| 0)),
    ]);
    commit(
        &mut writer,
        &Change::Append(batch(&table, arrays)),
        None,
        rows,
    )
    .await
    .unwrap();
    let back = fixture.rows(&table).await;
    assert_eq!(back.len(), 70);
    assert_eq!(back[69]["c1499"], 1_499 * 70 + 69);
}

async fn a_long_batch_arrives_whole_and_in_order(fixture: Fixture) {
    let mut writer = fixture.writer(&number_table()).await;
    commit(&mut writer, &numbers(0..40_001), None, 40_001)
        .await
        .unwrap();
    let rows = fixture.rows(&number_table()).await;
    assert_eq!(rows.len(), 40_001);
    assert!(rows.iter().zip(0..).all(|(row, next)| row["n"] == next));
}
