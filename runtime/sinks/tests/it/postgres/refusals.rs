//! Rows that only the database can refuse.
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array};
use tidewheel_planner::plan::{ColumnType, Table};
use tidewheel_sinks::{Change, Committed, SinkError, Writer};

use crate::{
    fixture::{
        Fixture, Window, at, batch, column, commit, integers, progress, refused, row_table, texts,
        upsert, window_table, windows,
    },
    server::Server,
};

fn server(fixture: &Fixture) -> &Server {
    match fixture {
        Fixture::Postgres(server) => server,
        Fixture::Embedded { .. } => panic!("a test of PostgreSQL alone"),
    }
}

fn json_table() -> Table {
    row_table("events", vec![column("event", ColumnType::Json)])
}

/// Rows of JSON, the text of each made from its number.
fn events(count: i64, text: impl Fn(i64) -> String) -> Change {
    let events: Vec<String> = (0..count).map(text).collect();
    let arrays = vec![
        texts(events.iter().map(|event| Some(event.as_str()))),
        integers((0..count).map(|_| 1)),
        integers((0..count).map(|_| 0)),
        integers(0..count),
        integers((0..count).map(|_| 0)),
    ];
    Change::Append(batch(&json_table(), arrays))
}

fn origins(committed: &Committed) -> Vec<&str> {
    let rows = committed.refused.iter();
    rows.map(|row| row.origin.as_str()).collect()
}

#[tokio::test]
async fn a_bad_row_amid_ten_thousand_is_found_and_the_others_are_written() {
    let fixture = Fixture::postgres();
    let mut writer = fixture.writer(&json_table()).await;
    let change = events(10_000, |n| match n {
        7_777 => r#"{"a":"\u0000"}"#.to_owned(),
        _ => format!(r#"{{"n":{n}}}"#),
    });
    let committed = commit(&mut writer, &change, None, 10_000).await.unwrap();
    assert_eq!(origins(&committed), ["row 7777"]);
    let reason = &committed.refused[0].reason;
    assert_eq!(
        reason,
        "unsupported Unicode escape sequence: \\u0000 cannot be converted to text. (SQLSTATE 22P05)"
    );
    assert_eq!(refused(&mut writer).await, committed.refused);
    assert_eq!(progress(&mut writer).await, Some(at(10_000)));
    let found = "SELECT count(*), count(DISTINCT event), count(*) FILTER (WHERE (event->>'n')::int = _offset) FROM events";
    assert_eq!(server(&fixture).sql(found), "9999|9999|9999");
}

#[tokio::test]
async fn many_bad_rows_are_all_found_in_the_order_of_the_change() {
    let fixture = Fixture::postgres();
    let mut writer = fixture.writer(&json_table()).await;
    let change = events(300, |n| {
        if n % 3 == 0 {
            "{".to_owned()
        } else {
            n.to_string()
        }
    });
    let committed = commit(&mut writer, &change, None, 300).await.unwrap();
    let expected: Vec<String> = (0..300).step_by(3).map(|n| format!("row {n}")).collect();
    assert_eq!(origins(&committed), expected);
    assert_eq!(fixture.count(&json_table()).await, 200);

    let all = events(3, |_| "]".to_owned());
    let committed = commit(&mut writer, &all, Some(300), 303).await.unwrap();
    assert_eq!(committed.refused.len(), 3);
    assert_eq!(fixture.count(&json_table()).await, 200);
}

#[tokio::test]
async fn more_is_kept_of_what_was_refused_than_one_statement_holds() {
    let fixture = Fixture::postgres();
    let mut writer = fixture.writer(&json_table()).await;
    let change = events(3_000, |n| format!("{{{n}"));
    let committed = commit(&mut writer, &change, None, 3_000).await.unwrap();
    let kept = refused(&mut writer).await;
    assert_eq!((kept.len(), &kept), (3_000, &committed.refused));
    let bytes = "SELECT sum(length(r::text)) > 262144, max(number) FROM _tidewheel_refusals AS r";
    assert_eq!(server(&fixture).sql(bytes), "t|2999");
}

#[tokio::test]
async fn json_is_json_in_sql() {
    let fixture = Fixture::postgres();
    let mut writer = fixture.writer(&json_table()).await;
    let texts = [r#"{"b":[1,{"a":null}],"a":"é"}"#, "\"x\"", "null", "1e400"];
    let change = events(4, |n| texts[n as usize].to_owned());
    let committed = commit(&mut writer, &change, None, 4).await.unwrap();
    assert_eq!(committed.refused, []);
    let kinds = "SELECT string_agg(jsonb_typeof(event), ' ' ORDER BY _offset) FROM events";
    assert_eq!(server(&fixture).sql(kinds), "object string null number");
    assert_eq!(
        server(&fixture).sql("SELECT event #>> '{b,0}' FROM events WHERE _offset = 0"),
        "1"
    );
}

async fn checked(fixture: &Fixture, constraint: &str) -> Box<dyn Writer> {
    let writer = fixture.writer(&window_table()).await;
    server(fixture).sql(constraint);
    writer
}

/// Pages with their counts, at an offset.
fn pages(rows: &[(&'static str, i64)], offset: i64) -> Vec<Window<'static>> {
    let row = |(page, count): &(&'static str, i64)| (0, Some(*page), *count, 1, offset);
    rows.iter().map(row).collect()
}

#[tokio::test]
async fn a_constraint_of_the_users_refuses_windows_one_by_one_and_takes_what_they_replaced() {
    for constraint in [
        "ALTER TABLE kpi ADD CONSTRAINT few CHECK (count < 100)",
        // Waits for the end of the transaction.
        "CREATE TABLE fine (n bigint PRIMARY KEY); INSERT INTO fine SELECT generate_series(0, 99);
         ALTER TABLE kpi ADD FOREIGN KEY (count) REFERENCES fine DEFERRABLE INITIALLY DEFERRED",
    ] {
        let fixture = Fixture::postgres();
        let mut writer = checked(&fixture, constraint).await;
        let rows = pages(&[("a", 1), ("b", 2), ("c", 3), ("d", 4)], 1);
        commit(&mut writer, &upsert(&rows), None, 1).await.unwrap();
        let change = Change::Windows {
            upserts: windows(&pages(&[("a", 10), ("b", 200), ("e", 300), ("f", 5)], 2)),
            deletes: windows(&pages(&[("c", 0)], 2)),
        };
        let committed = commit(&mut writer, &change, Some(1), 2).await.unwrap();
        assert_eq!(origins(&committed), ["row 1", "row 2"], "{constraint}");
        let reason = &committed.refused[0].reason;
        assert!(
            reason.contains("violates") && reason.contains("(SQLSTATE 23"),
            "{reason}"
        );
        let left = "SELECT string_agg(page || count, ' ' ORDER BY page) FROM kpi";
        assert_eq!(server(&fixture).sql(left), "a10 d4 f5", "{constraint}");
    }
}

#[tokio::test]
async fn a_group_whose_name_no_index_can_hold_is_refused() {
    let fixture = Fixture::postgres();
    let mut writer = fixture.writer(&window_table()).await;
    // Random, so that it cannot be compressed.
    let mut state = 1_u64;
    let mut letter = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        char::from_u32(0x4E00 + (state >> 50) as u32 % 0x5000).unwrap()
    };
    let long: String = (0..5_000).map(|_| letter()).collect();
    let rows = [(0, Some("a"), 1, 1, 1), (0, Some(long.as_str()), 2, 1, 1)];
    let committed = commit(&mut writer, &upsert(&rows), None, 1).await.unwrap();
    assert_eq!(origins(&committed), ["row 1"]);
    let reason = &committed.refused[0].reason;
    assert!(reason.starts_with("index row "), "{reason}");
    assert_eq!(fixture.count(&window_table()).await, 1);
}

#[tokio::test]
async fn groups_that_the_database_takes_for_one_do_not_block() {
    let fixture = Fixture::postgres();
    let mut table = window_table();
    table.columns[0].data_type = ColumnType::Double;
    let mut writer = fixture.writer(&table).await;
    let mut arrays = windows(&[(0, None, 1, 1, 1), (0, None, 2, 1, 1)])
        .columns()
        .to_vec();
    arrays[0] = Arc::new(arrow::array::Float64Array::from(vec![0.0, -0.0]));
    let upserts = batch(&table, arrays);
    let deletes = upserts.slice(0, 0);
    commit(&mut writer, &Change::Windows { upserts, deletes }, None, 1)
        .await
        .unwrap();
    assert_eq!(fixture.count(&table).await, 1);
}

#[tokio::test]
async fn a_row_without_a_value_for_one_of_our_columns_is_refused_before_it_is_sent() {
    let fixture = Fixture::postgres();
    let table = row_table("numbers", vec![]);
    let mut writer = fixture.writer(&table).await;
    let ordinals: ArrayRef = Arc::new(Int64Array::from(vec![Some(0), None]));
    let arrays = vec![integers([1; 2]), integers([0; 2]), integers(0..2), ordinals];
    let committed = commit(&mut writer, &Change::Append(batch(&table, arrays)), None, 2)
        .await
        .unwrap();
    assert_eq!(
        committed.refused[0].reason,
        "column `_ordinal` is NULL where none is allowed"
    );
    assert_eq!(fixture.count(&table).await, 1);
}

#[tokio::test]
async fn a_zombie_finds_out_before_it_looks_for_bad_rows() {
    let fixture = Fixture::postgres();
    let mut zombie = fixture.writer(&json_table()).await;
    let mut heir = fixture.second_writer(&json_table(), 0).await;
    commit(&mut heir, &Change::Nothing, None, 1).await.unwrap();
    let outcome = commit(&mut zombie, &events(9, |_| "{".to_owned()), None, 9).await;
    assert!(
        matches!(outcome, Err(SinkError::Fenced { .. })),
        "{outcome:?}"
    );
    assert_eq!(refused(&mut heir).await, []);
}
