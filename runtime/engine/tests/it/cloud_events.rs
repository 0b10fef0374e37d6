//! CloudEvents in records: columns whatever mode they come in, dead letters with the bytes as they came.
use bytes::Bytes;
use tidewheel_log::{Header, Record};

use crate::fixture::{Pipeline, T0, header, plan_of};

const SPECS: &str = "
apiVersion: tidewheel.dev/v1alpha1
kind: EventSource
metadata: {name: orders, namespace: shop}
spec:
  schema:
    fields:
      - {name: id, type: text, required: true}
      - {name: kind, type: text, path: type}
      - {name: ts, type: timestamp, path: time, required: true}
      - {name: rate, type: bigint, path: sampledrate}
      - {name: amount, type: double, path: data.amount}
      - {name: tenant, type: text, from: Header, header: ce_tenant}
    unknownFields: Drop
  eventTime: {field: ts}
  key: [id]
  kafka: {topic: Orders.v1, format: CloudEvents}
---
apiVersion: tidewheel.dev/v1alpha1
kind: Sink
metadata: {name: warehouse, namespace: shop}
spec: {postgres: {connection: {secretRef: {name: warehouse, key: url}}}}
---
apiVersion: tidewheel.dev/v1alpha1
kind: Pipeline
metadata: {name: kpis, namespace: shop}
spec:
  sources: [{name: orders}]
  steps:
    - {name: all, sql: SELECT * FROM orders}
  outputs:
    - {name: all, from: all, postgres: {sink: warehouse}}
";

const STRUCTURED: &str = r#"{"specversion": "1.0", "id": "s", "source": "/shop", "type": "order", "time": "2026-01-01T00:00:00Z", "sampledrate": 30, "data": {"amount": 1.5}}"#;

fn record(offset: i64, headers: &[(&str, &str)], value: Option<&str>) -> Record {
    let header = |&(name, value): &(&str, &str)| Header {
        name: name.to_owned(),
        value: Bytes::copy_from_slice(value.as_bytes()),
    };
    Record {
        offset,
        append_time_ms: T0,
        key: None,
        value: value.map(|value| Bytes::copy_from_slice(value.as_bytes())),
        headers: headers.iter().map(header).collect(),
    }
}

/// An event in binary mode with further headers.
fn binary(offset: i64, more: &[(&str, &str)], value: Option<&str>) -> Record {
    let id = offset.to_string();
    let mut headers = vec![
        ("ce_specversion", "1.0"),
        ("ce_id", id.as_str()),
        ("ce_source", "/shop"),
        ("ce_type", "order"),
        ("ce_time", "2026-01-01T00:00:00Z"),
    ];
    headers.extend(more);
    record(offset, &headers, value)
}

#[test]
fn events_of_every_mode_are_rows() {
    let mut pipeline = Pipeline::new(plan_of(SPECS), 1);
    let json = ("content-type", "application/json");
    let structured = "application/cloudevents+json; charset=UTF-8";
    pipeline.send(
        0,
        &[
            record(0, &[("content-type", structured)], Some(STRUCTURED)),
            record(1, &[], Some(STRUCTURED)),
            binary(
                2,
                &[json, ("ce_sampledrate", "30"), ("ce_tenant", "t1")],
                Some(r#"{"amount": 1.5}"#),
            ),
            // No value, but an event: one without data.
            binary(3, &[json], None),
            binary(4, &[("content-type", "image/png")], Some("\u{89}PNG")),
        ],
    );
    let column = |name| pipeline.column("all", name);
    assert_eq!(column("_offset"), ["0", "1", "2", "3", "4"]);
    assert_eq!(column("id"), ["s", "s", "2", "3", "4"]);
    assert_eq!(column("kind"), ["order"; 5]);
    assert_eq!(column("rate"), ["30", "30", "30", "-", "-"]);
    assert_eq!(column("amount"), ["1.5", "1.5", "1.5", "-", "-"]);
    assert_eq!(column("tenant"), ["-", "-", "t1", "-", "-"]);
    assert!(pipeline.dead.is_empty());
}

#[test]
fn what_is_none_is_a_dead_letter_as_it_came_and_a_tombstone_is_one() {
    let mut pipeline = Pipeline::new(plan_of(SPECS), 1);
    let structured = ("content-type", "application/cloudevents+json");
    let avro = ("content-type", "application/cloudevents+avro");
    pipeline.send(
        0,
        &[
            record(0, &[structured], Some(r#"{"id": "7"}"#)),
            record(1, &[avro], Some("\u{1}")),
            record(2, &[("ce_id", "7")], Some("{}")),
            binary(3, &[("content-type", "application/json")], Some("<a/>")),
            binary(4, &[], Some(r#"{"amount": "many"}"#)),
            record(5, &[structured], Some("")),
            record(6, &[], Some("not JSON")),
            record(7, &[structured], None),
            record(8, &[], None),
            record(9, &[avro], None),
        ],
    );
    let letter = |reason: &str, offset| (reason.to_owned(), "-".to_owned(), offset);
    assert_eq!(
        pipeline.dead_letters(),
        [
            letter("NotCloudEvent", 0),
            letter("NotCloudEvent", 1),
            letter("NotCloudEvent", 2),
            letter("Malformed", 3),
            letter("WrongType", 4),
            letter("Empty", 5),
            letter("NotCloudEvent", 6)
        ]
    );
    let fields = pipeline.dead.iter();
    let fields: Vec<_> = fields
        .map(|letter| header(letter, "tidewheel-field").unwrap_or_default())
        .collect();
    assert_eq!(
        fields,
        ["specversion", "", "specversion", "data", "amount", "", ""]
    );
    let letter = &pipeline.dead[3];
    assert_eq!(letter.value.as_deref(), Some(&b"<a/>"[..]));
    assert_eq!(header(letter, "ce_id").as_deref(), Some("3"));
    let ledger = &pipeline.sources[0].ledgers().outputs["all"];
    assert_eq!((ledger.tombstone, ledger.balance()), (3, 0));
}
