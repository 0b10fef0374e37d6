//! Records in Protobuf: columns by the schema that each names, dead letters with the bytes as they came.
use std::collections::BTreeSet;
use std::sync::Arc;

use tidewheel_decode::avro::AvroSchema;
use tidewheel_decode::protobuf::ProtobufSchema;
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
      - {name: id, type: text, required: true, path: order_id}
      - {name: ts, type: timestamp, required: true}
      - {name: amount, type: double, path: paid.amount}
    unknownFields: Keep
  eventTime: {field: ts}
  kafka: {topic: Orders.v1, format: Protobuf, schemaRegistry: {url: http://registry:8081}}
---
apiVersion: tidewheel.dev/v1alpha1
kind: Sink
metadata: {name: warehouse, namespace: shop}
spec: {postgres: {connection: {secretRef: {name: warehouse, key: url}}}}
";

const STEPS: &str = "    - {name: all, sql: SELECT * FROM clicks}";

/// A file whose second message is an order, with these members behind `order_id` and `ts`.
fn orders(more: &str) -> Arc<WriterSchema> {
    let file = format!(
        "syntax = 'proto3'; import 'google/protobuf/timestamp.proto'; message Paid {{ double amount = 1; }}
        message Order {{ string order_id = 1; google.protobuf.Timestamp ts = 2; {more} }}"
    );
    let schema = ProtobufSchema::parse(&file, &[]).unwrap();
    Arc::new(WriterSchema::Protobuf(schema))
}

/// A record whose value names a schema and its second message: an order `id` at [`T0`], and what follows.
fn order(offset: i64, schema: u32, id: &str, more: &[u8]) -> Record {
    let seconds = u32::try_from(T0 / 1_000).unwrap();
    let seconds: Vec<u8> = (0..5)
        .map(|place| {
            let more = if place < 4 { 0x80 } else { 0 };
            (seconds >> (7 * place) & 0x7f) as u8 | more
        })
        .collect();
    let value = [
        &[0][..],
        &schema.to_be_bytes(),
        &[2, 2, 0x0a, id.len() as u8],
        id.as_bytes(),
        &[0x12, 6, 8],
        &seconds,
        more,
    ];
    raw(offset, Some(&value.concat()))
}

#[test]
fn each_record_is_read_by_the_schema_that_it_names() {
    let mut pipeline = Pipeline::new(plan_over(SPECS, STEPS, &["all"]), 1);
    let paid = [&[0x1a, 9, 9][..], &1.5f64.to_le_bytes()].concat();
    let records = [
        order(0, 1, "a", &[]),
        order(1, 2, "b", &paid),
        order(2, 2, "c", &[]),
        // What its schema does not have.
        order(3, 1, "d", &paid),
        order(4, 3, "e", b"\x22\x02hi"),
    ];
    let task = &mut pipeline.sources[0];
    assert_eq!(task.unknown_schemas(&records), BTreeSet::from([1, 2, 3]));
    task.learn(1, orders(""));
    task.learn(2, orders("Paid paid = 3;"));
    task.learn(3, orders("string note = 4;"));
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
    task.learn(2, orders("string paid = 3;"));
    task.learn(3, Arc::new(WriterSchema::Absent));
    let schema =
        r#"{"type": "record", "name": "O", "fields": [{"name": "order_id", "type": "string"}]}"#;
    let schema = AvroSchema::parse(schema, &[]).unwrap();
    task.learn(4, Arc::new(WriterSchema::Avro(schema)));
    let absent = order(3, 3, "c", &[]);
    assert_eq!(
        task.unknown_schemas(std::slice::from_ref(&absent)),
        BTreeSet::from([3]),
        "it may be there by now"
    );
    let other = order(4, 4, "d", &[]);
    pipeline.send(
        0,
        &[
            order(0, 1, "a", &[]),
            order(1, 1, "b", b"more"),
            order(2, 2, "b", b"\x1a\x04many"),
            absent,
            other.clone(),
            raw(5, Some(br#"{"id": "f"}"#)),
            raw(6, None),
            // The first message of the file is another one.
            raw(7, Some(b"\x00\x00\x00\x00\x01\x00")),
            order(8, 1, "g", &[]),
        ],
    );
    let letter = |reason: &str, offset| (reason.to_owned(), "-".to_owned(), offset);
    assert_eq!(
        pipeline.dead_letters(),
        [
            letter("NotProtobuf", 1),
            letter("WrongType", 2),
            letter("NotProtobuf", 3),
            letter("NotProtobuf", 4),
            letter("NotProtobuf", 5),
            letter("Missing", 7),
        ]
    );
    let told = |name: &str| -> Vec<String> {
        let letters = pipeline.dead.iter();
        letters
            .map(|letter| header(letter, name).unwrap_or_default())
            .collect()
    };
    assert_eq!(told("tidewheel-field"), ["", "paid", "", "", "", "id"]);
    let messages = told("tidewheel-message");
    assert_eq!(
        messages[2..4],
        [
            "the schema 3 that the value names is not in the schema registry",
            "the schema 4 that the value names is AVRO, not PROTOBUF"
        ]
    );
    assert_eq!(pipeline.dead[3].value, other.value);
    let ledger = &pipeline.sources[0].ledgers().outputs["all"];
    assert_eq!(
        (ledger.written, ledger.tombstone, ledger.balance()),
        (2, 1, 0)
    );
}
