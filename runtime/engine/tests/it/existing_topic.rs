//! Records of a topic that is not ours: what stands beside events, and clocks of producers that disagree.
use std::collections::BTreeMap;

use bytes::Bytes;
use tidewheel_engine::stage1::{Recovered, SourceTask, StartAt};
use tidewheel_engine::wire::dead_letter::{Letter, MAX_LETTER_BYTES};
use tidewheel_engine::wire::sent_again::Unsendable;
use tidewheel_engine::wire::state::SourceProgress;
use tidewheel_log::{Header, Record};

use crate::fixture::{MINUTE, Pipeline, T0, header, plan, plan_of, record, source_setup};

const SPECS: &str = "
apiVersion: tidewheel.dev/v1alpha1
kind: EventSource
metadata: {name: clicks, namespace: shop}
spec:
  schema:
    fields:
      - {name: id, type: text, required: true, from: Key}
      - {name: tenant, type: bigint, from: Header, header: tenant}
      - {name: sent_at, type: timestamp, from: Timestamp}
      - {name: place, type: bigint, from: Offset}
      - {name: share, type: bigint, from: Partition}
      - {name: ts, type: timestamp, required: true}
    unknownFields: Drop
  eventTime: {field: ts, maxFuture: 1m}
  key: [id]
  kafka: {topic: Clicks.v1}
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
  sources: [{name: clicks}]
  steps:
    - {name: once, deduplicate: {from: clicks, by: [id], within: 10m}}
  outputs:
    - {name: once, from: once, postgres: {sink: warehouse}}
";

/// A record whose producer says `sent_minute`, of an event at `event_minute`, both after [`T0`].
fn produced(offset: i64, key: &str, sent_minute: i64, event_minute: i64) -> Record {
    let event = format!("{{\"ts\": {}}}", T0 + event_minute * MINUTE);
    Record {
        key: Some(Bytes::copy_from_slice(key.as_bytes())),
        ..record(offset, sent_minute * MINUTE, &event)
    }
}

/// The offsets of the rows that were written.
fn written(pipeline: &Pipeline) -> Vec<String> {
    let rows = pipeline.rows("once");
    rows.iter().map(|row| row["_offset"].clone()).collect()
}

#[test]
fn key_headers_timestamp_and_place_are_columns() {
    let mut pipeline = Pipeline::new(plan_of(SPECS), 1);
    let header = |value: &'static [u8]| Header {
        name: "tenant".to_owned(),
        value: Bytes::from_static(value),
    };
    let with = |headers: Vec<Header>, record: Record| Record { headers, ..record };
    pipeline.send(
        0,
        &[
            with(vec![header(b"1"), header(b"42")], produced(5, "a", 2, 1)),
            with(vec![header(b"\xff")], produced(6, "b", 2, 1)),
            Record {
                key: None,
                ..produced(7, "", 2, 1)
            },
        ],
    );
    let rows = pipeline.rows("once");
    assert_eq!(rows.len(), 1);
    let value = |name: &str| rows[0][name].as_str();
    assert_eq!(
        ["id", "tenant", "sent_at", "place", "share"].map(value),
        ["a", "42", "2026-01-01T00:02:00Z", "5", "0"]
    );
    let letter = |reason: &str, offset| (reason.to_owned(), "-".to_owned(), offset);
    assert_eq!(
        pipeline.dead_letters(),
        [letter("InvalidUtf8", 6), letter("Missing", 7)]
    );
}

/// Compacted topics have them. They are no events: nothing of them is judged, and no step sees them.
#[test]
fn a_record_without_a_value_is_a_tombstone_and_nothing_but_counted() {
    let mut pipeline = Pipeline::new(plan_of(SPECS), 1);
    let tombstone = |record: Record| Record {
        value: None,
        ..record
    };
    let empty = Record {
        value: Some(Bytes::new()),
        ..produced(4, "a", 2, 1)
    };
    pipeline.send(
        0,
        &[
            // To a deduplication its key is not known by it.
            tombstone(produced(0, "a", 1, 0)),
            produced(1, "a", 2, 1),
            tombstone(Record {
                key: None,
                ..produced(2, "", 2, 1)
            }),
            // To a deduplication it is no repetition.
            tombstone(produced(3, "a", 2, 1)),
            empty,
        ],
    );
    assert_eq!(written(&pipeline), ["1"]);
    assert_eq!(
        pipeline.dead_letters(),
        [("Empty".to_owned(), "-".to_owned(), 4)],
        "no bytes are not the same as no value"
    );
    let ledger = &pipeline.sources[0].ledgers().outputs["once"];
    let fates = (ledger.read, ledger.written, ledger.tombstone);
    assert_eq!((fates, ledger.balance()), ((5, 1, 3), 0));
    assert_eq!(
        pipeline.sources[0].watermark_ms(),
        Some(T0 + MINUTE),
        "what is no event moves no watermark"
    );
    let bytes = pipeline.state_of("clicks", 0, "progress").unwrap();
    let progress = SourceProgress::decode(&bytes).unwrap();
    let recovered = Recovered {
        sinks: BTreeMap::from([("once".to_owned(), progress.main)]),
        progress: Some(progress),
        ..Recovered::default()
    };
    let setup = source_setup(&pipeline.plan, 0, 1);
    let task = SourceTask::begin(setup, recovered, &StartAt::default()).unwrap();
    assert_eq!(task.ledgers().outputs["once"], *ledger);
}

/// Nobody deletes from a topic of ours: what has no value there is not meant.
#[test]
fn a_record_without_a_value_in_a_topic_of_ours_is_a_dead_letter() {
    let steps = "    - {name: all, sql: SELECT * FROM clicks}";
    let mut pipeline = Pipeline::new(plan(steps, &["all"]), 1);
    pipeline.send(
        0,
        &[Record {
            value: None,
            ..record(0, 0, "")
        }],
    );
    let letter = ("Empty".to_owned(), "-".to_owned(), 0);
    assert_eq!(pipeline.dead_letters(), [letter]);
}

#[test]
fn a_record_that_no_dead_letter_can_hold_is_told_without_its_value() {
    let mut pipeline = Pipeline::new(plan_of(SPECS), 1);
    let of = |offset: i64, bytes: usize| Record {
        value: Some(vec![b'x'; bytes].into()),
        ..produced(offset, "k", 0, 0)
    };
    let room = 10_000;
    pipeline.send(
        0,
        &[of(0, MAX_LETTER_BYTES - room), of(1, MAX_LETTER_BYTES)],
    );
    let told = pipeline.dead.iter().map(|letter| {
        let value = letter.value.as_ref().map(Bytes::len);
        (
            letter.key.as_deref(),
            value,
            header(letter, "tidewheel-value-bytes"),
        )
    });
    let key = Some(b"k".as_slice());
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            (key, Some(7_990_000), None),
            (key, None, Some("8000000".to_owned()))
        ]
    );
    let sendable = pipeline.dead.iter().enumerate().map(|(offset, letter)| {
        let letter = Record {
            offset: offset as i64,
            append_time_ms: 0,
            key: letter.key.clone(),
            value: letter.value.clone(),
            headers: letter.headers.clone(),
        };
        Letter::read(&letter).unwrap().targets()
    });
    assert_eq!(
        sendable.collect::<Vec<_>>(),
        [Ok(Vec::new()), Err(Unsendable::LeftOut(8_000_000))]
    );
}

#[test]
fn a_record_counts_as_appended_at_the_largest_timestamp_up_to_it() {
    let mut pipeline = Pipeline::new(plan_of(SPECS), 1);
    pipeline.send(
        0,
        &[
            produced(0, "a", 0, 0),
            produced(1, "b", 20, 0),
            // Five minutes after the first by its producer's clock, but twenty in the log.
            produced(2, "a", 5, 0),
            produced(3, "b", 0, 0),
            // Not of the future: the log has come this far.
            produced(4, "c", 0, 21),
            produced(5, "d", 0, 22),
        ],
    );
    assert_eq!(written(&pipeline), ["0", "1", "2", "4"]);
    let future = ("Future".to_owned(), "-".to_owned(), 5);
    assert_eq!(pipeline.dead_letters(), [future]);
}

#[test]
fn append_time_goes_on_where_a_task_is_taken_over() {
    let mut pipeline = Pipeline::new(plan_of(SPECS), 1);
    let records = [
        produced(0, "a", 0, 0),
        produced(1, "b", 20, 0),
        produced(2, "a", 5, 0),
    ];
    pipeline.send(0, &records);
    let bytes = pipeline.state_of("clicks", 0, "progress").unwrap();
    let progress = SourceProgress::decode(&bytes).unwrap();
    assert_eq!(progress.append_time_ms, Some(T0 + 20 * MINUTE));
    let sinks = BTreeMap::from([("once".to_owned(), progress.main)]);
    let recovered = Recovered {
        progress: Some(progress),
        sinks,
        ..Recovered::default()
    };
    let setup = source_setup(&pipeline.plan, 0, 1);
    let task = SourceTask::begin(setup, recovered, &StartAt::default()).unwrap();
    assert_eq!(task.append_times_from(), 3);
    pipeline.sources[0] = task;
    pipeline.sources[0].process(&records, 3, T0).unwrap();
    pipeline.send(
        0,
        &[
            produced(3, "a", 29, 0),
            produced(4, "c", 0, 28),
            produced(5, "a", 0, 0),
        ],
    );
    assert_eq!(
        written(&pipeline),
        ["0", "1", "2", "4"],
        "`a` came at 20 minutes, and again at 29"
    );
}

/// A table that was set back lies between two checkpoints: the records since the one before it have to be read again.
#[test]
fn append_time_is_told_from_the_last_checkpoint_where_a_table_was_set_back() {
    let mut pipeline = Pipeline::new(plan_of(SPECS), 1);
    for offset in 0..6 {
        pipeline.send(0, &[produced(offset, "a", offset * 4, 0)]);
    }
    let bytes = pipeline.state_of("clicks", 0, "progress").unwrap();
    let progress = SourceProgress::decode(&bytes).unwrap();
    let before = progress
        .checkpoints
        .iter()
        .rev()
        .find(|checkpoint| checkpoint.position.next_offset <= 5)
        .unwrap()
        .position
        .next_offset;
    assert!(before < 5, "it lies between checkpoints");
    let mut set_back = progress.main;
    set_back.next_offset = 5;
    let recovered = Recovered {
        progress: Some(progress),
        sinks: BTreeMap::from([("once".to_owned(), set_back)]),
        ..Recovered::default()
    };
    let setup = source_setup(&pipeline.plan, 0, 1);
    let task = SourceTask::begin(setup, recovered, &StartAt::default()).unwrap();
    assert_eq!((task.next_offset(), task.append_times_from()), (5, before));
}
