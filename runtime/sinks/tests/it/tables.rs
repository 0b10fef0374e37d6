//! Creating tables, changing them, and files that are not as they should be.
use serde_json::json;
use tidewheel_planner::plan::{ColumnType, Table, TableKind};
use tidewheel_sinks::{Change, Guarantee, OutputId, SinkError, embedded::Database};

use crate::fixture::{
    Fixture, at, batch, column, commit, integers, meddle, number_table, numbers, on_both, output,
    progress, refused, row_table, task, texts, upsert, window_table,
};

on_both!(
    a_column_does_not_change_its_type,
    two_outputs_do_not_share_a_table,
    names_may_hold_anything_else,
    a_table_is_created_once_and_rows_stay,
    a_new_column_is_null_in_old_rows_and_a_dropped_one_in_new_rows,
    a_writer_that_knows_the_old_columns_goes_on_beside_the_new_ones,
    a_table_does_not_change_what_identifies_its_rows,
    a_writer_needs_its_table_as_planned,
);

fn misfit<T>(outcome: Result<T, SinkError>) -> String {
    match outcome {
        Err(SinkError::Misfit { reason, .. }) => reason,
        Err(other) => panic!("not a misfit: {other}"),
        Ok(_) => panic!("not a misfit"),
    }
}

async fn create(fixture: &Fixture, table: &Table) -> Result<(), String> {
    fixture.create(&output(), table).await
}

async fn a_table_is_created_once_and_rows_stay(fixture: Fixture) {
    let mut writer = fixture.writer(&number_table()).await;
    commit(&mut writer, &numbers(0..2), None, 2).await.unwrap();
    create(&fixture, &number_table()).await.unwrap();
    assert_eq!(fixture.rows(&number_table()).await.len(), 2);
    assert_eq!(fixture.sink().guarantee(), Guarantee::ExactlyOnce);
}

async fn a_new_column_is_null_in_old_rows_and_a_dropped_one_in_new_rows(fixture: Fixture) {
    let mut writer = fixture.writer(&number_table()).await;
    commit(&mut writer, &numbers(0..1), None, 1).await.unwrap();
    let changed = row_table("numbers", vec![column("word", ColumnType::Text)]);
    create(&fixture, &changed).await.unwrap();
    let mut writer = fixture.second_writer(&changed, 0).await;
    let one = batch(
        &changed,
        vec![
            texts([Some("one")]),
            integers([1]),
            integers([0]),
            integers([1]),
            integers([0]),
        ],
    );
    commit(&mut writer, &Change::Append(one), Some(1), 2)
        .await
        .unwrap();
    let both = row_table(
        "numbers",
        vec![
            column("n", ColumnType::Bigint),
            column("word", ColumnType::Text),
        ],
    );
    assert_eq!(
        json!(fixture.rows(&both).await),
        json!([{"n": 0, "word": null}, {"n": null, "word": "one"}])
    );
    create(&fixture, &both).await.unwrap();
}

async fn a_writer_that_knows_the_old_columns_goes_on_beside_the_new_ones(fixture: Fixture) {
    let mut writer = fixture.writer(&number_table()).await;
    commit(&mut writer, &numbers(0..1), None, 1).await.unwrap();
    create(
        &fixture,
        &row_table(
            "numbers",
            vec![
                column("n", ColumnType::Bigint),
                column("word", ColumnType::Text),
            ],
        ),
    )
    .await
    .unwrap();
    commit(&mut writer, &numbers(1..2), Some(1), 2)
        .await
        .unwrap();
    assert_eq!(fixture.rows(&number_table()).await.len(), 2);
}

async fn a_column_does_not_change_its_type(fixture: Fixture) {
    let of_type = |data_type| row_table("t", vec![column("at", data_type)]);
    create(&fixture, &of_type(ColumnType::Text)).await.unwrap();
    let outcome = create(&fixture, &of_type(ColumnType::Timestamp)).await;
    let planned = if fixture.is_embedded() {
        "timestamp"
    } else {
        "timestamp with time zone"
    };
    assert_eq!(
        outcome.unwrap_err(),
        format!(
            "column `at` of table `t` holds text and would get {planned}: give the column another name with AS, or the output another name"
        )
    );
}

#[tokio::test]
async fn columns_that_differ_in_case_only_are_one_to_sqlite() {
    let fixture = Fixture::embedded().await;
    let named = |name| row_table("t", vec![column(name, ColumnType::Text)]);
    create(&fixture, &named("at")).await.unwrap();
    let outcome = create(&fixture, &named("AT")).await;
    assert_eq!(
        outcome.unwrap_err(),
        "column `AT` of table `t` was `at` before, and SQLite ignores case: call it `at` again, or give it another name with AS"
    );
}

async fn a_table_does_not_change_what_identifies_its_rows(fixture: Fixture) {
    create(&fixture, &window_table()).await.unwrap();
    let fewer = Table {
        kind: TableKind::Windows {
            key: vec!["window_start".to_owned()],
        },
        ..window_table()
    };
    assert_eq!(
        create(&fixture, &fewer).await.unwrap_err(),
        "rows of table `kpi` are identified by (window_start, page) and would be by (window_start): give the output another name"
    );
    let rows = row_table("kpi", window_table().columns);
    let rows = Table {
        columns: rows
            .columns
            .into_iter()
            .enumerate()
            .filter(|(i, c)| {
                *i > 6 || !matches!(c.name.as_str(), "_generation" | "_partition" | "_offset")
            })
            .map(|(_, c)| c)
            .collect(),
        ..rows
    };
    assert_eq!(
        create(&fixture, &rows).await.unwrap_err(),
        "table `kpi` holds windows and would get rows: give the output another name"
    );
}

async fn two_outputs_do_not_share_a_table(fixture: Fixture) {
    create(&fixture, &number_table()).await.unwrap();
    let other = OutputId {
        pipeline: "shop/other".to_owned(),
        output: "numbers".to_owned(),
    };
    let expected = "table `numbers` holds output `kpi` of pipeline `shop/kpis`: give this output another table";
    let outcome = fixture.create(&other, &number_table()).await;
    assert_eq!(outcome.unwrap_err(), expected);
    let outcome = fixture
        .sink()
        .writer(&other, &number_table(), &task(0))
        .await;
    assert_eq!(misfit(outcome), expected);
}

#[tokio::test]
async fn tables_that_differ_in_case_only_are_one_to_sqlite() {
    let fixture = Fixture::embedded().await;
    create(&fixture, &number_table()).await.unwrap();
    let shouted = Table {
        name: "NUMBERS".to_owned(),
        ..number_table()
    };
    assert_eq!(
        create(&fixture, &shouted).await.unwrap_err(),
        "table `NUMBERS` differs from `numbers` in case only, which SQLite ignores: rename one"
    );
}

#[tokio::test]
async fn tables_of_two_schemas_are_two_tables() {
    let fixture = Fixture::embedded().await;
    let mut names = Vec::new();
    for (schema, name) in [("public", "a_b"), ("a", "b"), ("a_b", "c"), ("a", "b_c")] {
        let table = Table {
            schema: schema.to_owned(),
            name: name.to_owned(),
            ..number_table()
        };
        create(&fixture, &table).await.unwrap();
        names.push(Database::table_name(&table).unwrap());
    }
    assert_eq!(names, ["a_b", "a.b", "a_b.c", "a.b_c"]);
}

#[tokio::test]
async fn names_that_sqlite_cannot_have_are_refused() {
    let fixture = Fixture::embedded().await;
    let named = |name: &str| Table {
        name: name.to_owned(),
        ..number_table()
    };
    for name in ["sqlite_x", "_tidewheel_progress", "a.b", ""] {
        create(&fixture, &named(name)).await.unwrap_err();
    }
    let twice = row_table(
        "t",
        vec![
            column("n", ColumnType::Bigint),
            column("N", ColumnType::Bigint),
        ],
    );
    assert_eq!(
        create(&fixture, &twice).await.unwrap_err(),
        "SQLite cannot tell column `N` from another one, because it ignores case: rename one with AS"
    );
}

async fn names_may_hold_anything_else(fixture: Fixture) {
    let mut odd = number_table();
    odd.name = "select \"from\" 'é'; --".to_owned();
    odd.columns[0].name = "count(*) \"x\", ?1".to_owned();
    let mut writer = fixture.writer(&odd).await;
    commit(&mut writer, &numbers(0..2), None, 2).await.unwrap();
    assert_eq!(fixture.rows(&odd).await[1]["count(*) \"x\", ?1"], 1);
}

#[tokio::test]
async fn a_table_of_somebody_else_is_left_alone() {
    let fixture = Fixture::embedded().await;
    fixture.meddle("CREATE TABLE Numbers (n INTEGER)").await;
    assert_eq!(
        create(&fixture, &number_table()).await.unwrap_err(),
        "table `numbers` exists and is not ours: give the output another table, or rename that one"
    );
}

#[tokio::test]
async fn a_table_that_was_dropped_is_not_made_anew_in_silence() {
    let fixture = Fixture::embedded().await;
    let mut writer = fixture.writer(&number_table()).await;
    commit(&mut writer, &numbers(0..2), None, 2).await.unwrap();
    fixture.meddle("DROP TABLE numbers").await;
    let advice = "table `numbers` was removed, and rows that were in it will not come again: restore the file, or start over with a new one";
    assert_eq!(create(&fixture, &number_table()).await.unwrap_err(), advice);
    let lost = misfit(commit(&mut writer, &numbers(2..3), Some(2), 3).await);
    assert!(
        lost.contains("no such table") && lost.contains("start over with a new file"),
        "{lost}"
    );
    assert_eq!(progress(&mut writer).await, Some(at(2)));
}

async fn a_writer_needs_its_table_as_planned(fixture: Fixture) {
    let task = task(0);
    let sink = fixture.sink();
    let outcome = sink.writer(&output(), &number_table(), &task).await;
    assert_eq!(
        misfit(outcome),
        "table `numbers` was not created yet: create the tables before the pipeline starts"
    );
    create(&fixture, &number_table()).await.unwrap();
    let wider = row_table(
        "numbers",
        vec![
            column("n", ColumnType::Bigint),
            column("m", ColumnType::Bigint),
        ],
    );
    let outcome = sink.writer(&output(), &wider, &task).await;
    assert_eq!(
        misfit(outcome),
        "table `numbers` has no column `m` yet: bring the tables up to date before the pipeline starts"
    );
}

#[tokio::test]
async fn files_that_are_not_ours_are_refused_and_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("notes.txt");
    std::fs::write(&text, "dear diary, ".repeat(1000)).unwrap();
    let reason = misfit(Database::open(&text).await);
    assert!(
        reason.ends_with("this is no SQLite database; give the path of another file"),
        "{reason}"
    );
    assert_eq!(
        std::fs::read_to_string(&text).unwrap(),
        "dear diary, ".repeat(1000)
    );

    let fixture = Fixture::embedded().await;
    fixture.meddle("PRAGMA user_version = 7").await;
    let reason = misfit(Database::open(fixture.database().path()).await);
    assert_eq!(
        reason,
        "the file has layout 7 and this build knows 2: use the newer tidewheel, or another file"
    );
    fixture.meddle("PRAGMA application_id = 9").await;
    let reason = misfit(Database::open(fixture.database().path()).await);
    assert_eq!(
        reason,
        "the file is another program's database: give the path of another file"
    );
}

#[tokio::test]
async fn a_file_of_the_layout_before_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tables.db");
    meddle(&path, include_str!("golden/layout.v1.sql")).await;
    let database = Database::open(&path).await.unwrap();
    let fixture = Fixture::Embedded { database, folder };
    let mut writer = fixture.writer(&number_table()).await;
    assert_eq!(progress(&mut writer).await, Some(at(3)));
    assert_eq!(refused(&mut writer).await, []);
    commit(&mut writer, &numbers(3..4), Some(3), 4)
        .await
        .unwrap();
    assert_eq!(fixture.rows(&number_table()).await.len(), 4);
    // Once more, now that it has the newer layout.
    fixture.database().close().await.unwrap();
    let database = Database::open(&path).await.unwrap();
    assert_eq!(database.count(&number_table()).await.unwrap(), 4);
}

#[tokio::test]
async fn a_file_that_cannot_be_reached_is_unavailable() {
    let folder = tempfile::tempdir().unwrap();
    let outcome = Database::open(folder.path().join("missing/tables.db")).await;
    assert!(
        matches!(&outcome, Err(SinkError::Unavailable { output, .. }) if output.ends_with("missing/tables.db")),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_closed_database_is_one_file_and_opens_again_where_it_was() {
    let fixture = Fixture::embedded().await;
    let mut writer = fixture.writer(&window_table()).await;
    commit(&mut writer, &upsert(&[(0, None, 1, 1, 1)]), None, 1)
        .await
        .unwrap();
    assert_eq!(fixture.database().count(&window_table()).await.unwrap(), 1);
    fixture.database().close().await.unwrap();
    let files: Vec<_> = std::fs::read_dir(fixture.folder())
        .unwrap()
        .map(|file| file.unwrap().file_name())
        .collect();
    assert_eq!(files, ["tables.db"]);
    assert_eq!(fixture.rows(&window_table()).await.len(), 1);
    let again = Database::open(fixture.database().path()).await.unwrap();
    assert_eq!(again.newest(&window_table(), 9).await.unwrap().len(), 1);
    commit(&mut writer, &upsert(&[(60, None, 1, 1, 2)]), Some(1), 2)
        .await
        .unwrap();
    assert_eq!(again.count(&window_table()).await.unwrap(), 2);
}
