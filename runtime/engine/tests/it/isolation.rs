//! What cannot be evaluated is found and buried; everything around it goes on as if it had never been there.
use tidewheel_log::Record;

use crate::fixture::{Pipeline, event, header, plan, record};

const CASTING: &str = "
    - {name: numbers, sql: 'SELECT id, ts, CAST(page AS BIGINT) AS n FROM clicks'}
    - name: w
      aggregate: {window: {tumbling: 1m}, sql: 'SELECT count(*) AS c, sum(n) AS s FROM numbers'}";

fn pages(pages: &[&str]) -> Vec<Record> {
    let member = |page: &str| format!("\"page\": \"{page}\"");
    (0..)
        .zip(pages)
        .map(|(offset, page)| record(offset, 0, &event("e", 0, &member(page))))
        .collect()
}

#[test]
fn records_that_fail_are_isolated_wherever_they_stand() {
    for bad in [
        vec![0],
        vec![6],
        vec![3],
        vec![0, 6],
        vec![2, 3, 4],
        vec![0, 1, 2, 3, 4, 5, 6],
    ] {
        let texts: Vec<&str> = (0..7)
            .map(|at| if bad.contains(&at) { "x" } else { "1" })
            .collect();
        let mut pipeline = Pipeline::new(plan(CASTING, &["numbers", "w"]), 1);
        pipeline.send(0, &pages(&texts));
        pipeline.close();
        let found: Vec<i64> = pipeline
            .dead_letters()
            .iter()
            .map(|(_, _, offset)| *offset)
            .collect();
        assert_eq!(found, bad);
        assert!(
            pipeline
                .dead_letters()
                .iter()
                .all(|(reason, step, _)| reason == "Evaluation" && step == "numbers")
        );
        assert_eq!(pipeline.rows("numbers").len(), 7 - bad.len());
        let counted = pipeline
            .rows("w")
            .first()
            .map_or("0".to_owned(), |row| row["c"].clone());
        assert_eq!(counted, (7 - bad.len()).to_string());
        let ledger = &pipeline.sources[0].ledgers().outputs["numbers"];
        assert_eq!((ledger.read, ledger.balance()), (7, 0));
    }
}

/// The largest decimal: 38 nines.
const NINES: &str = "99999999999999999999999999999999999999";

#[test]
fn arithmetic_is_exact_or_costs_its_record() {
    let largest = i64::MAX.to_string();
    let smallest = i64::MIN.to_string();
    let wide = "CAST(page AS DECIMAL(38, 0))";
    let power_of_ten = |digits| format!("1{}", "0".repeat(digits));
    // An expression over `page` and `items`, values that it has no room for, values that it has, and the result of those.
    for (expression, bad, good, result) in [
        (
            "items + 1".to_owned(),
            ("", i64::MAX),
            ("", i64::MAX - 1),
            largest.as_str(),
        ),
        (
            "items - 2".to_owned(),
            ("", i64::MIN + 1),
            ("", i64::MIN + 2),
            smallest.as_str(),
        ),
        ("items * 3".to_owned(), ("", i64::MAX / 2), ("", 5), "15"),
        (
            "-items".to_owned(),
            ("", i64::MIN),
            ("", -i64::MAX),
            largest.as_str(),
        ),
        (
            "abs(items)".to_owned(),
            ("", i64::MIN),
            ("", -i64::MAX),
            largest.as_str(),
        ),
        (
            "items / -1".to_owned(),
            ("", i64::MIN),
            ("", -i64::MAX),
            largest.as_str(),
        ),
        (
            format!("{wide} + 1"),
            (NINES, 0),
            (&NINES[1..], 0),
            &power_of_ten(37),
        ),
        (format!("{wide} * items"), (NINES, 2), (NINES, 1), NINES),
        (
            format!("{wide} * {wide}"),
            (NINES, 0),
            (&power_of_ten(18), 0),
            &power_of_ten(36),
        ),
        // What the optimiser brings to light is computed with the same care.
        (
            "coalesce(9223372036854775807, items) + items".to_owned(),
            ("", 1),
            ("", 0),
            largest.as_str(),
        ),
    ] {
        let steps =
            format!("    - {{name: sums, sql: 'SELECT id, {expression} AS x FROM clicks'}}");
        let mut pipeline = Pipeline::new(plan(&steps, &["sums"]), 1);
        let members =
            |(page, items): (&str, i64)| format!("\"page\": \"{page}\", \"items\": {items}");
        pipeline.send(
            0,
            &[bad, good]
                .map(members)
                .into_iter()
                .zip(0..)
                .map(|(members, offset)| record(offset, 0, &event("e", 0, &members)))
                .collect::<Vec<_>>(),
        );
        assert_eq!(
            pipeline.dead_letters(),
            [("Evaluation".to_owned(), "sums".to_owned(), 0)],
            "{expression}"
        );
        let found: Vec<String> = pipeline
            .rows("sums")
            .iter()
            .map(|row| row["x"].clone())
            .collect();
        assert_eq!(found, [result], "{expression}");
    }
}

#[test]
fn a_condition_without_room_for_its_number_filters_nobody() {
    let steps = "    - {name: few, sql: 'SELECT id FROM clicks WHERE items + 1 < 10'}";
    let mut pipeline = Pipeline::new(plan(steps, &["few"]), 1);
    let items = |items: i64| format!("\"items\": {items}");
    let records: Vec<Record> = [i64::MAX, 3, 20]
        .map(items)
        .iter()
        .zip(0..)
        .map(|(members, offset)| record(offset, 0, &event("e", 0, members)))
        .collect();
    pipeline.send(0, &records);
    assert_eq!(
        pipeline.dead_letters(),
        [("Evaluation".to_owned(), "few".to_owned(), 0)]
    );
    assert_eq!(pipeline.rows("few").len(), 1);
}

#[test]
fn a_dead_letter_has_the_original_bytes() {
    let mut pipeline = Pipeline::new(plan(CASTING, &["numbers", "w"]), 1);
    let records = pages(&["1", "not a number"]);
    pipeline.send(0, &records);
    assert_eq!(
        (&pipeline.dead[0].key, &pipeline.dead[0].value),
        (&records[1].key, &records[1].value)
    );
    assert!(
        header(&pipeline.dead[0], "tidewheel-message")
            .unwrap()
            .contains("not a number")
    );
}

#[test]
fn an_argument_of_an_aggregate_that_fails_costs_its_record_alone() {
    let steps = "
    - name: w
      aggregate: {window: {tumbling: 1m}, sql: 'SELECT count(*) AS c, sum(CAST(page AS BIGINT)) AS s FROM clicks'}";
    let mut pipeline = Pipeline::new(plan(steps, &["w"]), 1);
    pipeline.send(0, &pages(&["1", "x", "3"]));
    pipeline.close();
    assert_eq!(
        pipeline.dead_letters(),
        [("Evaluation".to_owned(), "w".to_owned(), 1)]
    );
    let rows = pipeline.rows("w");
    assert_eq!((rows[0]["c"].as_str(), rows[0]["s"].as_str()), ("2", "4"));
}

#[test]
fn a_group_whose_result_fails_is_told_and_the_others_are_emitted() {
    let steps = "
    - name: w
      aggregate: {window: {tumbling: 1m}, sql: 'SELECT page, sum(items) AS s FROM clicks GROUP BY page'}";
    let mut pipeline = Pipeline::new(plan(steps, &["w"]), 1);
    let most = i64::MAX;
    let members = [
        format!("\"page\": \"big\", \"items\": {most}"),
        format!("\"page\": \"big\", \"items\": {most}"),
        "\"page\": \"small\", \"items\": 1".to_owned(),
    ];
    let records: Vec<Record> = (0..)
        .zip(&members)
        .map(|(offset, members)| record(offset, 0, &event("e", 0, members)))
        .collect();
    pipeline.send(0, &records);
    pipeline.close();
    let rows = pipeline.rows("w");
    assert_eq!(
        rows.iter()
            .map(|row| row["page"].as_str())
            .collect::<Vec<_>>(),
        ["small"]
    );
    assert_eq!(pipeline.dead.len(), 1);
    let told: serde_json::Value =
        serde_json::from_slice(pipeline.dead[0].value.as_ref().unwrap()).unwrap();
    assert_eq!(
        told,
        serde_json::json!({"window_start": "2026-01-01T00:00:00Z", "page": "big"})
    );
    let ledger = pipeline.window_ledger("w");
    assert_eq!(
        (
            ledger.read,
            ledger.written,
            ledger.dead_lettered["Evaluation"],
            ledger.balance()
        ),
        (3, 1, 2, 0)
    );
}

#[test]
fn what_cannot_be_decoded_has_its_reason_and_stops_nobody() {
    let mut pipeline = Pipeline::new(plan(CASTING, &["numbers", "w"]), 1);
    let empty = Record {
        value: None,
        ..record(3, 0, "")
    };
    let future = event("f", 2 * 60 * 60_000, "");
    pipeline.send(
        0,
        &[
            record(0, 0, "{\"id\": \"cut"),
            record(1, 0, "{\"id\": 7, \"ts\": 0}"),
            record(2, 0, &event("good", 0, "\"page\": \"1\"")),
            empty,
            record(4, 0, &future),
        ],
    );
    let reasons: Vec<(String, i64)> = pipeline
        .dead_letters()
        .into_iter()
        .map(|(reason, _, offset)| (reason, offset))
        .collect();
    let expected = [
        ("Malformed", 0),
        ("WrongType", 1),
        ("Empty", 3),
        ("Future", 4),
    ];
    assert_eq!(
        reasons,
        expected.map(|(reason, offset)| (reason.to_owned(), offset))
    );
    assert_eq!(pipeline.rows("numbers").len(), 1);
}
