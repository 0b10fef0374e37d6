//! Progress by compare-and-swap, and generations.
use tidewheel_sinks::{Change, Progress, SinkError};

use crate::fixture::{
    Fixture, at, commit, number_table, numbers, on_both, origin, output, progress, upsert,
    window_table,
};

on_both!(
    a_zombie_cannot_write,
    the_first_commit_of_a_task_is_also_compared,
    the_watermark_is_part_of_what_is_compared,
    partitions_progress_on_their_own,
    nobody_commits_before_a_generation_begins,
    a_new_generation_fences_the_old_one_and_makes_room_from_the_cut_on,
    a_generation_that_has_begun_does_not_begin_again,
    row_tables_keep_rows_and_progress_in_a_new_generation,
    a_cut_outside_of_time_deletes_everything_or_nothing,
);

fn found(outcome: Result<impl std::fmt::Debug, SinkError>) -> String {
    match outcome {
        Err(SinkError::Fenced { found, .. }) => found,
        other => panic!("not fenced: {other:?}"),
    }
}

async fn a_zombie_cannot_write(fixture: Fixture) {
    let mut zombie = fixture.writer(&number_table()).await;
    commit(&mut zombie, &numbers(0..3), None, 3).await.unwrap();
    let mut heir = fixture.second_writer(&number_table(), 0).await;
    assert_eq!(progress(&mut heir).await, Some(at(3)));
    commit(&mut heir, &numbers(3..5), Some(3), 5).await.unwrap();

    let refused = commit(&mut zombie, &numbers(3..9), Some(3), 9).await;
    assert_eq!(
        found(refused),
        "offset 5 at watermark 50 ms instead of offset 3 at watermark 30 ms"
    );
    assert_eq!(fixture.rows(&number_table()).await.len(), 5);
    assert_eq!(progress(&mut zombie).await, Some(at(5)));
}

async fn the_first_commit_of_a_task_is_also_compared(fixture: Fixture) {
    let mut first = fixture.writer(&number_table()).await;
    assert_eq!(progress(&mut first).await, None);
    assert_eq!(
        found(commit(&mut first, &numbers(0..1), Some(0), 1).await),
        "no progress instead of offset 0 at watermark 0 ms"
    );
    commit(&mut first, &numbers(0..1), None, 1).await.unwrap();
    let mut second = fixture.second_writer(&number_table(), 0).await;
    assert_eq!(
        found(commit(&mut second, &numbers(0..1), None, 1).await),
        "offset 1 at watermark 10 ms instead of no progress"
    );
    assert_eq!(fixture.rows(&number_table()).await.len(), 1);
}

async fn the_watermark_is_part_of_what_is_compared(fixture: Fixture) {
    let mut writer = fixture.writer(&number_table()).await;
    let without = Progress {
        next_offset: 1,
        watermark_ms: None,
    };
    writer
        .commit(1, &numbers(0..1), None, without, &[], &origin)
        .await
        .unwrap();
    let guessed = Progress {
        next_offset: 1,
        watermark_ms: Some(0),
    };
    assert_eq!(
        found(
            writer
                .commit(1, &Change::Nothing, Some(guessed), at(2), &[], &origin)
                .await
        ),
        "offset 1 without a watermark instead of offset 1 at watermark 0 ms"
    );
    writer
        .commit(1, &Change::Nothing, Some(without), at(2), &[], &origin)
        .await
        .unwrap();
}

async fn partitions_progress_on_their_own(fixture: Fixture) {
    let mut zero = fixture.writer(&number_table()).await;
    let mut one = fixture.second_writer(&number_table(), 1).await;
    commit(&mut zero, &numbers(0..7), None, 7).await.unwrap();
    assert_eq!(progress(&mut one).await, None);
    commit(&mut one, &numbers(0..2), None, 2).await.unwrap();
    assert_eq!(
        (progress(&mut zero).await, progress(&mut one).await),
        (Some(at(7)), Some(at(2)))
    );
}

async fn nobody_commits_before_a_generation_begins(fixture: Fixture) {
    fixture.create(&output(), &number_table()).await.unwrap();
    let mut writer = fixture.second_writer(&number_table(), 0).await;
    assert_eq!(
        found(commit(&mut writer, &numbers(0..1), None, 1).await),
        "no generation instead of 1"
    );
}

async fn a_new_generation_fences_the_old_one_and_makes_room_from_the_cut_on(fixture: Fixture) {
    let mut old = fixture.writer(&window_table()).await;
    commit(
        &mut old,
        &upsert(&[
            (0, Some("a"), 1, 1, 0),
            (60, Some("a"), 2, 1, 1),
            (120, None, 3, 1, 2),
        ]),
        None,
        3,
    )
    .await
    .unwrap();

    let mut new = fixture.second_writer(&window_table(), 1).await;
    new.begin_generation(2, Some(60_000)).await.unwrap();
    assert_eq!(
        found(commit(&mut old, &upsert(&[(180, None, 9, 1, 9)]), Some(3), 4).await),
        "generation 2 instead of 1"
    );
    assert_eq!(
        found(old.begin_generation(1, None).await),
        "generation 2, which is newer than 1"
    );
    let left = fixture.rows(&window_table()).await;
    assert_eq!(left.len(), 1);
    assert_eq!(left[0]["window_start"], "1970-01-01T00:00:00Z");
    assert_eq!(
        progress(&mut old).await,
        None,
        "progress of windows is that of the current generation"
    );
}

async fn a_generation_that_has_begun_does_not_begin_again(fixture: Fixture) {
    let mut writer = fixture.writer(&window_table()).await;
    commit(&mut writer, &upsert(&[(60, Some("a"), 2, 1, 1)]), None, 3)
        .await
        .unwrap();
    let mut late = fixture.second_writer(&window_table(), 1).await;
    late.begin_generation(1, Some(0)).await.unwrap();
    assert_eq!(fixture.rows(&window_table()).await.len(), 1);
    assert_eq!(progress(&mut writer).await, Some(at(3)));
}

async fn row_tables_keep_rows_and_progress_in_a_new_generation(fixture: Fixture) {
    let mut old = fixture.writer(&number_table()).await;
    commit(&mut old, &numbers(0..4), None, 4).await.unwrap();
    let mut new = fixture.second_writer(&number_table(), 0).await;
    new.begin_generation(2, Some(0)).await.unwrap();
    assert_eq!(progress(&mut new).await, Some(at(4)));
    assert_eq!(
        found(commit(&mut old, &numbers(4..5), Some(4), 5).await),
        "generation 2 instead of 1"
    );
    new.commit(2, &numbers(4..6), Some(at(4)), at(6), &[], &origin)
        .await
        .unwrap();
    assert_eq!(fixture.rows(&number_table()).await.len(), 6);
}

async fn a_cut_outside_of_time_deletes_everything_or_nothing(fixture: Fixture) {
    let mut writer = fixture.writer(&window_table()).await;
    commit(
        &mut writer,
        &upsert(&[(-60, None, 1, 1, 0), (60, None, 1, 1, 0)]),
        None,
        1,
    )
    .await
    .unwrap();
    writer.begin_generation(2, Some(i64::MAX)).await.unwrap();
    assert_eq!(fixture.rows(&window_table()).await.len(), 2);
    writer.begin_generation(3, Some(i64::MIN)).await.unwrap();
    assert_eq!(fixture.rows(&window_table()).await.len(), 0);
}
