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
