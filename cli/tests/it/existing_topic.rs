//! Events of a topic that exists already, with what stands beside them as columns.
use serde_json::json;

use crate::program::{play_lines, rows};

pub(crate) const SPECS: &str = "
apiVersion: tidewheel.dev/v1alpha1
kind: EventSource
metadata: {name: orders}
spec:
  schema:
    fields:
      - {name: order_id, type: bigint, required: true, from: Key}
      - {name: tenant, type: text, from: Header, header: x-tenant}
      - {name: sent_at, type: timestamp, required: true, from: Timestamp}
      - {name: place, type: bigint, required: true, from: Offset}
      - {name: share, type: bigint, required: true, from: Partition}
      - {name: ts, type: timestamp, required: true}
      - {name: amount, type: bigint}
    unknownFields: Drop
  eventTime: {field: ts}
  key: [order_id]
  kafka: {topic: Orders.v1}
---
apiVersion: tidewheel.dev/v1alpha1
kind: Sink
metadata: {name: tables}
spec:
  postgres: {connection: {secretRef: {name: tables, key: url}}}
---
apiVersion: tidewheel.dev/v1alpha1
kind: Pipeline
metadata: {name: orders}
spec:
  sources: [{name: orders}]
  steps:
    - name: once
      deduplicate: {from: orders, by: [order_id], within: 10m}
    - name: seen
      sql: SELECT order_id, tenant, amount, sent_at > ts AS came_later, place, share FROM once
  outputs:
    - {name: seen, from: seen, postgres: {sink: tables}}
";

#[test]
fn events_of_a_source_in_avro_are_played_as_the_json_that_paths_see() {
    are_played_as_json(include_str!("specs/registered/shop.yaml"));
}

#[test]
fn events_of_a_source_in_protobuf_are_played_as_the_json_that_paths_see() {
    let in_avro = include_str!("specs/registered/shop.yaml");
    are_played_as_json(&in_avro.replace("format: Avro", "format: Protobuf"));
}

/// No registry is asked: there is none at that address, and no Secret.
fn are_played_as_json(specs: &str) {
    let lines = [
        r#"{"id": "00000000-0000-0000-0000-000000000001", "ts": "2026-01-01T00:00:00Z", "paid": {"amount": 12.34}}"#,
        r#"{"id": "one", "ts": "2026-01-01T00:00:00Z"}"#,
    ];
    let document = play_lines(specs, &lines, &["-o", "json"]).document();
    let found = rows(&document, "found");
    assert_eq!((found.len(), &found[0]["amount"]), (1, &json!(12.34)));
    let letter = &document["deadLetters"][0];
    assert_eq!(
        (&letter["reason"], &letter["field"]),
        (&json!("BadUuid"), &json!("id"))
    );
}

#[test]
fn keys_and_places_of_records_are_columns() {
    let lines = [
        r#"{"order_id": 7, "ts": "2026-01-01T00:00:00Z", "amount": 3}"#,
        r#"{"order_id": 7, "ts": "2026-01-01T00:00:01Z", "amount": 4}"#,
        r#"{"order_id": "x", "ts": "2026-01-01T00:00:02Z", "amount": 5}"#,
    ];
    let document = play_lines(SPECS, &lines, &["-o", "json"]).document();
    let share = rows(&document, "seen")[0]["share"].clone();
    assert_eq!(
        *rows(&document, "seen"),
        [json!({
            "order_id": 7, "tenant": null, "amount": 3, "came_later": true, "place": 0, "share": share
        })],
        "the second is a duplicate by its key"
    );
    let letters = document["deadLetters"].as_array().unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!(
        (&letters[0]["reason"], &letters[0]["field"]),
        (&json!("Missing"), &json!("order_id")),
        "what no key can be made of has none"
    );
}
