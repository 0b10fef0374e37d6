//! Outputs over topics: rows as records, in the transactions of their tasks.
use std::collections::BTreeMap;
use std::sync::Arc;

use tidewheel_engine::stage1::{Recovered, SourceTask, StartAt};
use tidewheel_engine::stage2::{RecoveredStep, StepTask};
use tidewheel_engine::wire::state::SourceProgress;
use tidewheel_log::{NewRecord, Record};
use tidewheel_planner::plan::{Plan, Topic};

use crate::fixture::{
    MINUTE, Pipeline, T0, event, header, plan_of, record, source_setup, step_setup,
};

/// A pipeline with a topic of rows and one of windows.
fn specs() -> Arc<Plan> {
    let pipeline = "
---
apiVersion: tidewheel.dev/v1alpha1
kind: Sink
metadata: {name: bus, namespace: shop}
spec: {kafka: {}}
---
apiVersion: tidewheel.dev/v1alpha1
kind: Pipeline
metadata: {name: kpis, namespace: shop}
spec:
  sources: [{name: clicks}]
  steps:
    - name: rows
      sql: SELECT id, page, user_id, status, metric, items, ts FROM clicks WHERE items IS NULL OR items <> 13
    - name: w
      aggregate:
        window: {tumbling: 1m}
        late: {allowed: 1h, policy: Amend}
        sql: SELECT page, count(*) AS n, max(user_id) AS who FROM clicks GROUP BY page HAVING count(*) <> 3
  outputs:
    - name: rows
      from: rows
      kafka: {sink: bus, topic: rows, partitions: 3, key: [page], headers: [{name: status, column: status}, {name: items, column: items}]}
    - {name: w, from: w, kafka: {sink: bus, topic: counts}}
";
    plan_of(&format!("{}{pipeline}", include_str!("base.yaml")))
}

/// What was written to a topic: key, value, and headers as `name=value`.
fn published(pipeline: &Pipeline, topic: &str) -> Vec<(String, Option<String>, String)> {
    let text = |bytes: &bytes::Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    let of = |record: &NewRecord| {
        let headers = record.headers.iter();
        let headers: Vec<String> = headers
            .map(|header| format!("{}={}", header.name, text(&header.value)))
            .collect();
        (
            record.key.as_ref().map(text).unwrap_or_default(),
            record.value.as_ref().map(text),
            headers.join(" "),
        )
    };
    let mut records = pipeline.published.iter();
    records
        .by_ref()
        .filter(|record| record.topic == topic)
        .map(of)
        .collect()
}

/// An event of a page in the first minute, `user_id` being `user`.
fn click(offset: i64, user: &str) -> Record {
    let members = format!("\"page\": \"/\", \"user_id\": \"{user}\"");
    record(offset, 0, &event("e", 1_000, &members))
}

#[test]
fn rows_are_objects_with_their_key_and_place() {
    let mut pipeline = Pipeline::new(specs(), 1);
    let members =
        r#""page": "/ü", "user_id": "a \"b\"", "status": "ok", "metric": 1e300, "items": 7"#;
    pipeline.send(
        0,
        &[
            record(5, 0, &event("x", 1_500, members)),
            record(6, 0, &event("y", 0, "\"page\": \"\", \"items\": 13")),
            record(8, 0, &event("z", 0, "\"page\": \"\"")),
        ],
    );
    let row = |key: &str, value: &str, headers: &str| {
        (key.to_owned(), Some(value.to_owned()), headers.to_owned())
    };
    assert_eq!(
        published(&pipeline, "rows"),
        [
            row(
                "/ü",
                r#"{"id":"x","page":"/ü","user_id":"a \"b\"","status":"ok","metric":1e+300,"items":7,"ts":"2026-01-01T00:00:01.500Z"}"#,
                "status=ok items=7 _generation=1 _partition=0 _offset=5 _ordinal=0"
            ),
            row(
                "",
                r#"{"id":"z","page":"","user_id":null,"status":null,"metric":null,"items":null,"ts":"2026-01-01T00:00:00Z"}"#,
                "_generation=1 _partition=0 _offset=8 _ordinal=0"
            ),
        ]
    );
    let ledger = &pipeline.sources[0].ledgers().outputs["rows"];
    assert_eq!((ledger.read, ledger.written, ledger.balance()), (3, 2, 0));
    assert!(pipeline.tables.is_empty(), "nothing is for a table");
}

#[test]
fn what_a_topic_cannot_have_is_a_dead_letter() {
    let mut pipeline = Pipeline::new(specs(), 1);
    let long = "x".repeat(Topic::MAX_RECORD_BYTES);
    let members = format!("\"page\": \"/\", \"user_id\": \"{long}\"");
    pipeline.send(
        0,
        &[
            record(0, 0, &event("a", 0, "\"items\": 1")),
            record(1, 0, &event("b", 0, &members)),
            click(2, "c"),
        ],
    );
    let offsets: Vec<String> = published(&pipeline, "rows")
        .into_iter()
        .map(|(_, _, headers)| headers)
        .collect();
    assert_eq!(offsets, ["_generation=1 _partition=0 _offset=2 _ordinal=0"]);
    let letter = |offset| ("Refused".to_owned(), "rows".to_owned(), offset);
    assert_eq!(pipeline.dead_letters(), [letter(0), letter(1)]);
    let messages: Vec<String> = pipeline
        .dead
        .iter()
        .map(|letter| header(letter, "tidewheel-message").unwrap())
        .collect();
    assert_eq!(
        messages[0],
        "the column `page` of the message key is NULL: leave such rows out, or give it another value"
    );
    assert!(
        messages[1].starts_with("the row takes 1000"),
        "{}",
        messages[1]
    );
    let ledger = &pipeline.sources[0].ledgers().outputs["rows"];
    assert_eq!(
        (
            ledger.written,
            ledger.dead_lettered["Refused"],
            ledger.balance()
        ),
        (1, 2, 0)
    );
}

const KEY: &str = r#"["2026-01-01T00:00:00Z","/"]"#;

fn counted(n: i64, who: &str, offset: i64, revision: i64) -> (String, Option<String>, String) {
    let value = format!(
        r#"{{"page":"/","n":{n},"who":"{who}","window_start":"2026-01-01T00:00:00Z","window_end":"2026-01-01T00:01:00Z"}}"#
    );
    (
        KEY.to_owned(),
        Some(value),
        format!("_generation=1 _partition=P _offset={offset} _revision={revision}"),
    )
}

/// What was written to the topic of windows. Which partition counted is of no matter.
fn counts(pipeline: &Pipeline) -> Vec<(String, Option<String>, String)> {
    let partition = |headers: String| {
        let partitions = 0..pipeline.steps.len();
        partitions.fold(headers, |headers, partition| {
            headers.replace(&format!("_partition={partition}"), "_partition=P")
        })
    };
    published(pipeline, "counts")
        .into_iter()
        .map(|(key, value, headers)| (key, value, partition(headers)))
        .collect()
}

/// The counts and their revisions, in short; what removes a row has neither.
fn in_short(pipeline: &Pipeline) -> Vec<Option<(i64, String)>> {
    let n = |value: String| {
        let row: serde_json::Value = serde_json::from_str(&value).unwrap();
        row["n"].as_i64().unwrap()
    };
    let short = |(key, value, headers): (String, Option<String>, String)| {
        assert_eq!(key, KEY);
        let revision = headers.split("_revision=").nth(1).map(str::to_owned);
        assert_eq!(value.is_some(), revision.is_some());
        value.map(n).zip(revision)
    };
    counts(pipeline).into_iter().map(short).collect()
}

fn some(n: i64, revision: &str) -> Option<(i64, String)> {
    Some((n, revision.to_owned()))
}

#[test]
fn windows_are_replaced_by_key_and_removed() {
    let mut pipeline = Pipeline::new(specs(), 1);
    pipeline.send(0, &[click(0, "a")]);
    pipeline.decree(T0 + 2 * MINUTE);
    let first = counts(&pipeline);
    let offset = first[0].2.split("_offset=").nth(1).unwrap();
    let offset = offset.split(' ').next().unwrap().parse().unwrap();
    assert_eq!(first, [counted(1, "a", offset, 1)]);

    pipeline.send(0, &[click(1, "b")]);
    pipeline.send(0, &[click(2, "c")]);
    pipeline.send(0, &[click(3, "d")]);
    assert_eq!(
        in_short(&pipeline),
        [some(1, "1"), some(2, "2"), None, some(4, "4")],
        "HAVING leaves out three"
    );
    let ledger = pipeline.window_ledger("w");
    assert_eq!((ledger.read, ledger.written, ledger.balance()), (4, 4, 0));
}

#[test]
fn a_window_that_a_topic_cannot_have_is_a_dead_letter_until_it_is_amended() {
    let mut pipeline = Pipeline::new(specs(), 1);
    pipeline.send(0, &[click(0, "a")]);
    pipeline.decree(T0 + 2 * MINUTE);
    pipeline.send(0, &[click(1, &"x".repeat(Topic::MAX_RECORD_BYTES))]);
    let ledger = pipeline.window_ledger("w");
    assert_eq!(
        (
            ledger.written,
            ledger.dead_lettered["Refused"],
            ledger.balance()
        ),
        (0, 2, 0)
    );
    let letters = pipeline.dead_letters().into_iter();
    let reasons: Vec<_> = letters.map(|(reason, step, _)| (reason, step)).collect();
    let refused = |step: &str| ("Refused".to_owned(), step.to_owned());
    assert_eq!(reasons, [refused("rows"), refused("w")]);
    pipeline.send(0, &[click(2, "b")]);
    let ledger = pipeline.window_ledger("w");
    assert_eq!((ledger.dead_lettered["Refused"], ledger.balance()), (0, 0));
    assert_eq!(
        in_short(&pipeline),
        [some(1, "1"), None, None],
        "what the topic had of the row is removed"
    );
}

/// Begins every task anew from its state, as after a crash behind the last transaction.
fn take_over(pipeline: &mut Pipeline) {
    let bytes = pipeline.state_of("clicks", 0, "progress").unwrap();
    let recovered = Recovered {
        progress: Some(SourceProgress::decode(&bytes).unwrap()),
        ..Recovered::default()
    };
    let setup = source_setup(&pipeline.plan, 0, 1);
    pipeline.sources[0] = SourceTask::begin(setup, recovered, &StartAt::default()).unwrap();
    for partition in 0..pipeline.steps.len() {
        let recovered = RecoveredStep {
            state: pipeline.state_map("w", partition as i32),
            ..RecoveredStep::default()
        };
        let setup = step_setup(&pipeline.plan, partition as i32, 1);
        let mut task = StepTask::begin(setup, &recovered).unwrap();
        let again = pipeline.partials[partition][task.next_offset() as usize..].to_vec();
        let end = pipeline.partials[partition].len() as i64;
        let effects = task.process(&again, end, pipeline.clock_ms).unwrap();
        assert!(
            effects.log.is_empty(),
            "what is merged again is not told again"
        );
        pipeline.steps[partition] = task;
    }
}

#[test]
fn a_takeover_writes_nothing_again_and_goes_on() {
    let mut pipeline = Pipeline::new(specs(), 1);
    pipeline.send(0, &[click(0, "a"), click(1, "b")]);
    pipeline.decree(T0 + 2 * MINUTE);
    let before = pipeline.published.len();
    take_over(&mut pipeline);
    assert_eq!(pipeline.published.len(), before);
    pipeline.send(0, &[click(2, "c")]);
    pipeline.send(0, &[click(3, "d")]);
    let offsets: Vec<String> = published(&pipeline, "rows")
        .into_iter()
        .map(|(_, _, headers)| headers)
        .collect();
    let expected: Vec<String> = (0..4)
        .map(|offset| format!("_generation=1 _partition=0 _offset={offset} _ordinal=0"))
        .collect();
    assert_eq!(offsets, expected);
    assert_eq!(in_short(&pipeline), [some(2, "1"), None, some(4, "3")]);
}

/// How batches were cut before is not known afterwards, but who follows the topic sees revisions go up.
#[test]
fn revisions_go_up_over_a_takeover() {
    let mut pipeline = Pipeline::new(specs(), 1);
    pipeline.send(0, &[click(0, "a")]);
    pipeline.decree(T0 + 2 * MINUTE);
    for offset in 1..4 {
        pipeline.send(0, &[click(offset, "b")]);
    }
    for offset in 4..6 {
        take_over(&mut pipeline);
        pipeline.send(0, &[click(offset, "c")]);
    }
    let revisions = [
        some(1, "1"),
        some(2, "2"),
        None,
        some(4, "4"),
        some(5, "5"),
        some(6, "6"),
    ];
    assert_eq!(in_short(&pipeline), revisions);
}

#[test]
fn an_output_that_was_a_table_goes_on_as_a_topic() {
    let mut pipeline = Pipeline::new(specs(), 1);
    pipeline.send(0, &[click(0, "a")]);
    let bytes = pipeline.state_of("clicks", 0, "progress").unwrap();
    let mut progress = SourceProgress::decode(&bytes).unwrap();
    let output = progress.outputs.get_mut("rows").unwrap();
    // The table was ahead of the log.
    output.sink_next_offset = Some(9);
    let recovered = Recovered {
        progress: Some(progress),
        sinks: BTreeMap::new(),
        ..Recovered::default()
    };
    let setup = source_setup(&pipeline.plan, 0, 1);
    let task = SourceTask::begin(setup, recovered, &StartAt::default()).unwrap();
    assert_eq!(task.next_offset(), 1);
}

const EVERY_TYPE: &str = "
apiVersion: tidewheel.dev/v1alpha1
kind: EventSource
metadata: {name: clicks, namespace: shop}
spec:
  schema:
    fields:
      - {name: id, type: uuid, required: true}
      - {name: ts, type: timestamp, required: true}
      - {name: text, type: text}
      - {name: whole, type: bigint}
      - {name: real, type: double}
      - {name: yes, type: boolean}
      - {name: raw, type: json}
    unknownFields: Keep
  eventTime: {field: ts, maxFuture: 1h}
  key: [id]
  http: {}
---
apiVersion: tidewheel.dev/v1alpha1
kind: Sink
metadata: {name: bus, namespace: shop}
spec: {kafka: {}}
---
apiVersion: tidewheel.dev/v1alpha1
kind: Pipeline
metadata: {name: kpis, namespace: shop}
spec:
  sources: [{name: clicks}]
  steps:
    - name: typed
      sql: >-
        SELECT id, ts, text, whole, real, CAST(text AS DOUBLE) AS parsed, yes, raw, _extra,
        CAST(whole AS DECIMAL(22, 2)) AS price, CAST(ts AS DATE) AS day FROM clicks
    - name: w
      aggregate:
        window: {tumbling: 1m}
        sql: SELECT parsed, price, day, count(*) AS n FROM typed GROUP BY parsed, price, day
  outputs:
    - name: typed
      from: typed
      kafka:
        sink: bus
        topic: typed
        key: [id]
        headers: [{name: at, column: ts}, {name: real, column: real}, {name: raw, column: raw}, {name: day, column: day}]
    - {name: keyless, from: typed, kafka: {sink: bus, topic: keyless, partitions: 2}}
    - {name: w, from: w, kafka: {sink: bus, topic: w}}
";

/// Golden bytes: consumers read what every build has written.
#[test]
fn rows_in_topics_stay_as_they_are() {
    let mut pipeline = Pipeline::new(plan_of(EVERY_TYPE), 1);
    let id = |digit: i64| format!("\"id\": \"6f1c2f5e-0b5a-4c39-9d55-2f7f4f3a1b1{digit}\"");
    let rich = format!(
        r#"{{{}, "ts": "2026-01-01T00:00:00.000001Z", "text": "-Inf", "whole": 9223372036854775807, "real": 1e-7, "yes": true, "raw": {{"b": [1, 2.50], "a": "ü\n"}}, "more": {{"x": 1}}}}"#,
        id(0)
    );
    let events = [
        rich,
        format!(
            r#"{{{}, "ts": {T0}, "text": "NaN", "whole": -7, "real": 100}}"#,
            id(1)
        ),
        format!(r#"{{{}, "ts": {T0}, "text": "1.5"}}"#, id(2)),
        format!(r#"{{{}, "ts": {T0}}}"#, id(3)),
    ];
    for (offset, event) in (0..).zip(&events) {
        pipeline.send(0, &[record(offset, 0, event)]);
    }
    pipeline.decree(T0 + 2 * MINUTE);
    let mut lines: Vec<String> = Vec::new();
    for topic in ["typed", "keyless", "w"] {
        for (key, value, headers) in published(&pipeline, topic) {
            let value = value.unwrap();
            assert!(serde_json::from_str::<serde_json::Value>(&value).is_ok());
            lines.push(format!("{topic} | {key} | {value} | {headers}"));
        }
    }
    lines[8..].sort();
    insta::assert_snapshot!(lines.join("\n"));
    let placed = pipeline.published.iter();
    let mut placed = placed.filter(|record| record.topic == "keyless");
    assert!(placed.all(|record| record.key.is_none() && record.partition == Some(0)));
}
