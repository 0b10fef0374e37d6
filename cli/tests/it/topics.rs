//! Outputs over topics, and a pipeline that reads what another one writes.
use serde_json::{Value, json};
use tidewheel_e2e::kafka::Kafka;

use crate::program::{rows, run};

const SPECS: &str = "
apiVersion: tidewheel.dev/v1alpha1
kind: EventSource
metadata: {name: orders}
spec:
  schema:
    fields:
      - {name: order_id, type: bigint, required: true}
      - {name: shop, type: text}
      - {name: amount, type: bigint}
      - {name: ts, type: timestamp, required: true}
  eventTime: {field: ts}
  key: [order_id]
  topic: {partitions: 3}
  http: {}
---
apiVersion: tidewheel.dev/v1alpha1
kind: Sink
metadata: {name: bus}
spec: {kafka: {}}
---
apiVersion: tidewheel.dev/v1alpha1
kind: Pipeline
metadata: {name: orders}
spec:
  sources: [{name: orders}]
  steps:
    - name: large
      sql: SELECT order_id, shop, amount, ts FROM orders WHERE amount >= 10
    - name: totals
      aggregate:
        window: {tumbling: 1h}
        sql: SELECT shop, sum(amount) AS amount FROM orders GROUP BY shop
  outputs:
    - name: large
      from: large
      kafka: {sink: bus, topic: Large.v1, partitions: 2, key: [shop], headers: [{name: order, column: order_id}]}
    - {name: totals, from: totals, kafka: {sink: bus, topic: Totals.v1}}
---
apiVersion: tidewheel.dev/v1alpha1
kind: EventSource
metadata: {name: large}
spec:
  schema:
    fields:
      - {name: order_id, type: bigint, required: true, from: Header, header: order}
      - {name: shop, type: text, required: true, from: Key}
      - {name: generation, type: bigint, from: Header, header: _generation}
      - {name: amount, type: bigint}
      - {name: ts, type: timestamp, required: true}
    unknownFields: Drop
  eventTime: {field: ts}
  key: [shop]
  kafka: {topic: Large.v1}
---
apiVersion: tidewheel.dev/v1alpha1
kind: Pipeline
metadata: {name: a-later-one}
spec:
  sources: [{name: large}]
  steps:
    - name: per_shop
      aggregate:
        window: {tumbling: 1h}
        sql: SELECT shop, count(*) AS n, sum(amount) AS amount, max(generation) AS generation FROM large GROUP BY shop
  outputs:
    - {name: per_shop, from: per_shop, kafka: {sink: bus, topic: PerShop.v1}}
";

const TABLES: &str = "
---
apiVersion: tidewheel.dev/v1alpha1
kind: Sink
metadata: {name: tables}
spec: {postgres: {connection: {secretRef: {name: tables, key: url}}}}
";
const TOTALS_IN_A_TABLE: &str = "{name: totals, from: totals, postgres: {sink: tables}}";

const EVENTS: [&str; 6] = [
    r#"{"order_id": 1, "shop": "a", "amount": 10, "ts": "2026-01-01T00:00:00Z"}"#,
    r#"{"order_id": 2, "shop": "a", "amount": 5, "ts": "2026-01-01T00:00:01Z"}"#,
    r#"{"order_id": 3, "shop": "b", "amount": 30, "ts": "2026-01-01T00:00:02Z"}"#,
    r#"{"order_id": 4, "shop": "a", "amount": 40, "ts": "2026-01-01T00:00:03Z"}"#,
    r#"{"order_id": 5, "amount": 50, "ts": "2026-01-01T00:00:04Z"}"#,
    r#"{"order_id": 6, "amount": 1, "ts": "2026-01-01T01:00:00Z"}"#,
];

/// Runs to the end of the input. `sends`: with the events.
fn play(sends: bool, more: &[&str]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let (specs, events) = (
        folder.path().join("specs.yaml"),
        folder.path().join("events"),
    );
    std::fs::write(&specs, SPECS).unwrap();
    std::fs::write(&events, EVENTS.join("\n")).unwrap();
    let send = format!("orders={}", events.display());
    let mut arguments = vec!["dev", specs.to_str().unwrap(), "--until-idle", "-o", "json"];
    arguments.extend(sends.then_some(["--send", &send]).into_iter().flatten());
    arguments.extend(more);
    run(&arguments).document()
}

/// Of an output its rows, sorted by their text.
fn sorted(document: &Value, output: &str) -> Vec<Value> {
    let mut rows = rows(document, output).clone();
    rows.sort_by_key(Value::to_string);
    rows
}

fn check(document: &Value) {
    let order = |id: i64, shop: &str, amount: i64| {
        let ts = format!("2026-01-01T00:00:0{}Z", id - 1);
        json!({"order_id": id, "shop": shop, "amount": amount, "ts": ts})
    };
    assert_eq!(
        sorted(document, "large"),
        [order(1, "a", 10), order(3, "b", 30), order(4, "a", 40)]
    );
    let total = |hour: i64, shop: Option<&str>, amount: i64| {
        let hours = [hour, hour + 1].map(|hour| format!("2026-01-01T0{hour}:00:00Z"));
        json!({"shop": shop, "amount": amount, "window_start": hours[0], "window_end": hours[1]})
    };
    assert_eq!(
        *rows(document, "totals"),
        [
            total(0, Some("a"), 55),
            total(0, Some("b"), 30),
            total(0, None, 50),
            total(1, None, 1)
        ]
    );
    let per_shop = |shop: &str, n: i64, amount: i64| {
        json!({
            "shop": shop, "n": n, "amount": amount, "generation": 1,
            "window_start": "2026-01-01T00:00:00Z", "window_end": "2026-01-01T01:00:00Z",
        })
    };
    assert_eq!(
        *rows(document, "per_shop"),
        [per_shop("a", 2, 50), per_shop("b", 1, 30)],
        "what one pipeline writes the other reads, to its end"
    );
    let letters = document["deadLetters"].as_array().unwrap();
    let of = |letter: &Value| (letter["reason"].clone(), letter["step"].clone());
    assert_eq!(
        letters.iter().map(of).collect::<Vec<_>>(),
        [(json!("Refused"), json!("large"))],
        "the order without a shop has no key"
    );
}

#[test]
fn rows_and_windows_of_topics_are_shown_and_read_by_other_pipelines() {
    check(&play(true, &[]));
}

#[test]
fn what_was_written_to_topics_is_kept_and_not_written_again() {
    let data = tempfile::tempdir().unwrap();
    let data = ["--data", data.path().to_str().unwrap()];
    check(&play(true, &data));
    check(&play(false, &data));
}

#[test]
fn an_output_does_not_go_from_a_table_to_a_topic() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (specs, data) = (path("specs.yaml"), path("data"));
    let table = SPECS.replace(
        "{name: totals, from: totals, kafka: {sink: bus, topic: Totals.v1}}",
        TOTALS_IN_A_TABLE,
    );
    let table = format!("{table}{TABLES}");
    let play = |text: &str| {
        std::fs::write(&specs, text).unwrap();
        run(&["dev", &specs, "--data", &data, "--until-idle", "-o", "json"])
    };
    play(&table).document();
    let refused = play(&format!("{SPECS}{TABLES}"));
    assert_eq!((refused.code, refused.stdout.as_str()), (2, ""));
    for text in [
        "the output `totals` cannot move from the Sink `tables` to the Sink `bus`: the rows that it wrote stay behind",
        "in Pipeline default/orders, output `totals`",
        "give the output another name, or give it its old Sink `tables` again",
    ] {
        assert!(
            refused.stderr.contains(text),
            "{text}\nis not in\n{}",
            refused.stderr
        );
    }
    play(&table).document();
}

#[test]
fn topics_of_a_real_kafka_are_written_and_read_alike() {
    let kafka = Kafka::shared().unwrap();
    check(&play(true, &["--kafka", kafka.bootstrap()]));
}
