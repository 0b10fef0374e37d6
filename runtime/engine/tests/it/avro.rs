//! Records in Avro: columns by the schema that each names, dead letters with the bytes as they came.
use std::collections::BTreeSet;
use std::sync::Arc;

use tidewheel_decode::avro::AvroSchema;
use tidewheel_decode::writer_schema::WriterSchema;
use tidewheel_log::Record;

use crate::fixture::{Pipeline, T0, header, plan_over, raw};

const SPECS: &str = "
apiVersion: tidewheel.dev/v1alpha1
kind: EventSource
metadata: {name: clicks, namespace: shop}
spec:
  schema:
    fields:
      - {name: id, type: text, required: true}
      - {name: ts, type: timestamp, required: true}
      - {name: amount, type: double, path: paid.amount}
    unknownFields: Keep
  eventTime: {field: ts}
  kafka: {topic: Orders.v1, format: Avro, schemaRegistry: {url: http://registry:8081}}
---
apiVersion: tidewheel.dev/v1alpha1
kind: Sink
metadata: {name: warehouse, namespace: shop}
spec: {postgres: {connection: {secretRef: {name: warehouse, key: url}}}}
";

const STEPS: &str = "    - {name: all, sql: SELECT * FROM clicks}";

/// A record of orders, with these fields behind `id` and `ts`.
fn orders(more: &str) -> Arc<WriterSchema> {
    let schema = format!(
        r#"{{"type": "record", "name": "Order", "fields": [{{"name": "id", "type": "string"}},
        {{"name": "ts", "type": {{"type": "long", "logicalType": "timestamp-micros"}}}}{more}]}}"#
    );
    Arc::new(WriterSchema::Avro(AvroSchema::parse(&schema, &[]).unwrap()))
}

/// A whole number as Avro writes it.
fn zigzag(number: i64) -> Vec<u8> {
    let mut left = ((number << 1) ^ (number >> 63)).cast_unsigned();
    let mut bytes = Vec::new();
    while left > 0x7f {
        bytes.push((left & 0x7f) as u8 | 0x80);
        left >>= 7;
    }
    bytes.push(left as u8);
    bytes
}

/// A record whose value names a schema: an order `id` at [`T0`], and what follows.
fn order(offset: i64, schema: u32, id: &str, more: &[u8]) -> Record {
    let length = zigzag(id.len() as i64);
    let (schema, ts) = (schema.to_be_bytes(), zigzag(T0 * 1_000));
    raw(
        offset,
        Some(&[&[0][..], &schema, &length, id.as_bytes(), &ts, more].concat()),
    )
}

#[test]
fn each_record_is_read_by_the_schema_that_it_names() {
    let mut pipeline = Pipeline::new(plan_over(SPECS, STEPS, &["all"]), 1);
    let paid = [&[2][..], &1.5f64.to_le_bytes()].concat();
    let records = [
        order(0, 1, "a", &[]),
        order(1, 2, "b", &paid),
        order(2, 2, "c", &[0]),
        order(3, 1, "d", &[]),
        order(4, 3, "e", b"\x04hi"),
    ];
    let task = &mut pipeline.sources[0];
    assert_eq!(task.unknown_schemas(&records), BTreeSet::from([1, 2, 3]));
    task.learn(1, orders(""));
    task.learn(
        2,
        orders(
            r#", {"name": "paid", "type": ["null", {"type": "record", "name": "Paid", "fields": [{"name": "amount", "type": "double"}]}]}"#,
        ),
    );
    task.learn(3, orders(r#", {"name": "note", "type": "string"}"#));
    assert!(task.unknown_schemas(&records).is_empty());
    pipeline.send(0, &records);
    let column = |name| pipeline.column("all", name);
    assert_eq!(column("_offset"), ["0", "1", "2", "3", "4"]);
    assert_eq!(column("id"), ["a", "b", "c", "d", "e"]);
    assert_eq!(column("ts"), ["2026-01-01T00:00:00Z"; 5]);
    assert_eq!(column("amount"), ["-", "1.5", "-", "-", "-"]);
    assert_eq!(column("_extra")[4], r#"{"note":"hi"}"#);
    assert!(pipeline.dead.is_empty());
}

#[test]
fn what_does_not_fit_is_a_dead_letter_as_it_came() {
    let mut pipeline = Pipeline::new(plan_over(SPECS, STEPS, &["all"]), 1);
    let task = &mut pipeline.sources[0];
    task.learn(1, orders(""));
    task.learn(
        2,
        orders(
            r#", {"name": "paid", "type": {"type": "record", "name": "Paid", "fields": [{"name": "amount", "type": "string"}]}}"#,
        ),
    );
    task.learn(3, Arc::new(WriterSchema::Absent));
    let schema = r#"{"type": "record", "name": "O", "fields": [{"name": "id", "type": "int"}]}"#;
    let schema = AvroSchema::parse(schema, &[]).unwrap();
    task.learn(4, Arc::new(WriterSchema::Avro(schema)));
    let absent = order(3, 3, "c", &[]);
    assert_eq!(
        task.unknown_schemas(std::slice::from_ref(&absent)),
        BTreeSet::from([3]),
        "it may be there by now"
    );
    pipeline.send(
        0,
        &[
            order(0, 1, "a", &[]),
            order(1, 1, "b", b"more"),
            order(2, 2, "b", b"\x08many"),
            absent,
            raw(4, Some(b"\x00\x00\x00\x00\x04\x02")),
            raw(5, Some(br#"{"id": "f"}"#)),
            raw(6, None),
            order(7, 1, "g", &[]),
        ],
    );
    let letter = |reason: &str, offset| (reason.to_owned(), "-".to_owned(), offset);
    assert_eq!(
        pipeline.dead_letters(),
        [
            letter("NotAvro", 1),
            letter("WrongType", 2),
            letter("NotAvro", 3),
            letter("WrongType", 4),
            letter("NotAvro", 5),
        ]
    );
    let fields = pipeline.dead.iter();
    let fields: Vec<_> = fields
        .map(|letter| header(letter, "tidewheel-field").unwrap_or_default())
        .collect();
    assert_eq!(fields, ["", "amount", "", "id", ""]);
    let message = header(&pipeline.dead[2], "tidewheel-message");
    let wanted = "the schema 3 that the value names is not in the schema registry";
    assert_eq!(message.as_deref(), Some(wanted));
    let value = pipeline.dead[3].value.as_deref();
    assert_eq!(value, Some(&b"\x00\x00\x00\x00\x04\x02"[..]));
    let ledger = &pipeline.sources[0].ledgers().outputs["all"];
    assert_eq!(
        (ledger.written, ledger.tombstone, ledger.balance()),
        (2, 1, 0)
    );
}
