//! Golden bytes: what was written once must be written the same, and read, by every later build.
//!
//! `UPDATE_GOLDEN=1 cargo test --release -p tidewheel-engine --test it formats` writes files that are missing or have changed. A
//! changed file is a changed format: it needs a new version, and the old file has to stay readable.
mod letters;
mod over_windows;
mod panes;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, StringArray,
    TimestampMicrosecondArray,
};
use bytes::Bytes;
use tidewheel_engine::stage1::{Recovered, SourceTask, StartAt};
use tidewheel_engine::stage2::{RecoveredStep, StepTask};
use tidewheel_engine::wire::acknowledgement::{Acknowledged, Missing, Place, Waiting};
use tidewheel_engine::wire::partial::{self, PartialHeader};
use tidewheel_engine::wire::placement;
use tidewheel_engine::wire::refusal::{Origin, RecordOrigin, WindowOrigin};
use tidewheel_engine::wire::state::{
    OffsetRange, Position, REFUSED, RefusedGroup, SourceProgress, StepKey, StepProgress,
};
use tidewheel_engine::wire::watermark::WatermarkRecord;
use tidewheel_log::{NewRecord, Record};
use tidewheel_planner::plan::Plan;

use crate::fixture::{
    MINUTE, Pipeline, T0, event, plan, plan_over, record, rows_of, source_setup, step_setup,
};

const STEPS: &str = "
    - {name: valid, sql: SELECT * FROM clicks WHERE metric IS NOT NULL}
    - {name: once, deduplicate: {from: valid, by: [id], within: 10m}}
    - name: w
      aggregate:
        window: {tumbling: 1m}
        late: {allowed: 1m, policy: Amend}
        sql: >-
          SELECT page, count(*) AS n, sum(items) AS items, avg(metric) AS mean, min(status) AS least,
          stddev(metric) AS spread, first_value(user_id) AS first, bool_and(metric > 1) AS all_large
          FROM once GROUP BY page";

/// What the file `name` holds; fails where `written` is not the same.
fn golden(name: &str, written: &[u8]) -> Bytes {
    let stored = stored(name, written);
    assert!(
        stored == written,
        "{name}: the format has changed\n stored: {}\nwritten: {}",
        stored.escape_ascii(),
        written.escape_ascii()
    );
    stored
}

/// What the file `name` holds; `written` where it is being updated.
fn stored(name: &str, written: &[u8]) -> Bytes {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/it/golden")
        .join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, written).unwrap();
    }
    std::fs::read(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .into()
}

fn steps() -> Arc<Plan> {
    plan(STEPS, &["once", "w"])
}

fn clicks() -> Vec<Record> {
    let members = |page: &str, n: i64| {
        format!(
            "\"page\": \"{page}\", \"user_id\": \"u{n}\", \"status\": \"s{n}\", \"metric\": {n}.5, \"items\": {n}"
        )
    };
    vec![
        record(0, 1_000, &event("a", 0, &members("/", 1))),
        record(1, 2_000, &event("b", 500, &members("/cart", 2))),
        record(2, 2_000, &event("a", 0, &members("/", 1))),
        record(3, 3_000, &event("c", 700, "\"page\": \"/\"")),
        record(
            4,
            4_000,
            &event("d", 900, "\"page\": null, \"metric\": 4.5"),
        ),
        record(5, 5_000, "not JSON"),
    ]
}

/// A pipeline that took [`clicks`], and the partials that were delivered.
fn pipeline() -> (Pipeline, Vec<NewRecord>) {
    let mut pipeline = Pipeline::new(steps(), 1);
    let partials = pipeline.take(0, &clicks());
    pipeline.deliver(partials.clone());
    (pipeline, partials)
}

fn partials_record(offset: i64, value: Bytes) -> Record {
    Record {
        offset,
        append_time_ms: T0,
        key: None,
        value: Some(value),
        headers: Vec::new(),
    }
}

#[test]
fn partials() {
    let (pipeline, written) = pipeline();
    let header = PartialHeader {
        source: "clicks".to_owned(),
        partition: 0,
        from: 0,
        to: 6,
        watermark_ms: Some(T0 + 900 - MINUTE),
        windows_from_ms: None,
    };
    let mut groups = 0;
    for record in &written {
        let name = format!("partial-{}.v1.bin", record.partition.unwrap());
        let bytes = golden(&name, record.value.as_ref().unwrap());
        let (found, batch) = partial::decode(&bytes, &pipeline.aggregate().partial_schema).unwrap();
        assert_eq!(found, header);
        groups += batch.unwrap().num_rows();
    }
    assert_eq!(groups, 3, "the pages /, /cart and NULL");
}

#[test]
fn stored_partials_give_the_same_windows() {
    let (mut direct, written) = pipeline();
    direct.close();
    let mut again = Pipeline::new(steps(), 1);
    for record in &written {
        let partition = record.partition.unwrap();
        let bytes = stored(
            &format!("partial-{partition}.v1.bin"),
            record.value.as_ref().unwrap(),
        );
        again.merge(partition as usize, &[partials_record(0, bytes)]);
    }
    let closing_ms = T0 + 2 * MINUTE;
    let schema = &again.aggregate().partial_schema.clone();
    for partition in 0..again.steps.len() {
        let header = PartialHeader {
            source: "clicks".to_owned(),
            partition: 0,
            from: 6,
            to: 6,
            watermark_ms: Some(closing_ms),
            windows_from_ms: None,
        };
        let bytes = golden(
            "partial-watermark.v1.bin",
            &partial::encode(&header, None).unwrap(),
        );
        assert_eq!(partial::decode(&bytes, schema).unwrap(), (header, None));
        again.merge(partition, &[partials_record(1, bytes)]);
    }
    let values = |pipeline: &Pipeline| {
        let mut rows = pipeline.rows("w");
        rows.iter_mut()
            .for_each(|row| row.retain(|name, _| !name.starts_with('_')));
        rows
    };
    assert_eq!(values(&again).len(), 3);
    assert_eq!(values(&again), values(&direct));
}

/// Compressed bodies may be written otherwise by a later build; those that were stored stay readable.
#[test]
fn compressed_partials_and_sketches_stay_readable() {
    let step = "    - name: w\n      aggregate: {window: {tumbling: 1m}, sql: 'SELECT approx_distinct(user_id) AS users, approx_percentile_cont(metric, 0.5) AS middle FROM clicks'}\n";
    let mut pipeline = Pipeline::new(plan(step, &["w"]), 1);
    let member = |n: i64| format!("\"user_id\": \"u{}\", \"metric\": {n}", n % 100);
    let records: Vec<Record> = (0..200)
        .map(|n| record(n, 0, &event("e", 0, &member(n))))
        .collect();
    let written = pipeline.take(0, &records).into_iter().next().unwrap();
    let bytes = stored("partial-sketches.v1.bin", written.value.as_ref().unwrap());
    let partition = written.partition.unwrap() as usize;
    pipeline.merge(partition, &[partials_record(0, bytes)]);
    pipeline.partials[partition].push(partials_record(0, Bytes::new()));
    pipeline.close();
    let row = &pipeline.rows("w")[0];
    let (users, middle): (f64, f64) = (
        row["users"].parse().unwrap(),
        row["middle"].parse().unwrap(),
    );
    assert!(
        (97.0..=103.0).contains(&users) && (95.0..=105.0).contains(&middle),
        "{row:?}"
    );
}

#[test]
fn placement_of_known_keys() {
    let keys: Vec<(&str, ArrayRef)> = vec![
        (
            "text",
            Arc::new(StringArray::from(vec![
                Some("GET"),
                Some(""),
                Some("é"),
                None,
            ])),
        ),
        (
            "bigint",
            Arc::new(Int64Array::from(vec![
                Some(0),
                Some(-1),
                Some(i64::MAX),
                None,
            ])),
        ),
        (
            "double",
            Arc::new(Float64Array::from(vec![
                Some(0.0),
                Some(-0.0),
                Some(1.5),
                None,
            ])),
        ),
        (
            "boolean",
            Arc::new(BooleanArray::from(vec![Some(true), Some(false), None])),
        ),
        (
            "timestamp",
            Arc::new(
                TimestampMicrosecondArray::from(vec![Some(T0 * 1_000), None])
                    .with_timezone("+00:00"),
            ),
        ),
        (
            "date",
            Arc::new(Date32Array::from(vec![Some(20_454), None])),
        ),
        (
            "numeric",
            Arc::new(
                Decimal128Array::from(vec![Some(12_345), None])
                    .with_precision_and_scale(10, 2)
                    .unwrap(),
            ),
        ),
    ];
    let mut lines = String::new();
    let mut describe = |name: &str, keys: &[ArrayRef]| {
        let rows = keys[0].len();
        let placed = placement::partitions(keys, rows, 1_000_000).unwrap();
        let fingerprints = placement::fingerprints(keys, rows).unwrap();
        for row in 0..rows {
            lines.push_str(&format!(
                "{name} {row}: {} {:032x}\n",
                placed[row], fingerprints[row]
            ));
        }
    };
    keys.iter()
        .for_each(|(name, key)| describe(name, std::slice::from_ref(key)));
    describe("text and bigint", &[keys[0].1.clone(), keys[1].1.clone()]);
    golden("placement.v1.txt", lines.as_bytes());
}

#[test]
fn progress_of_a_source() {
    let (pipeline, _) = pipeline();
    let bytes = golden(
        "source-progress.v1.json",
        &pipeline.state_of("clicks", 0, "progress").unwrap(),
    );
    let progress = SourceProgress::decode(&bytes).unwrap();
    assert_eq!(
        progress.main,
        Position {
            next_offset: 6,
            watermark_ms: Some(T0 + 900 - MINUTE)
        }
    );
    assert_eq!(progress.outputs["once"].sink_next_offset, Some(6));
    assert_eq!(progress.steps["w"].ledger.balance(), 0);
    let sinks = BTreeMap::from([("once".to_owned(), progress.main)]);
    let recovered = Recovered {
        progress: Some(progress),
        sinks,
        ..Recovered::default()
    };
    let task = SourceTask::begin(
        source_setup(&pipeline.plan, 0, 1),
        recovered,
        &StartAt::default(),
    )
    .unwrap();
    assert_eq!(
        (task.next_offset(), task.watermark_ms()),
        (6, Some(T0 + 900 - MINUTE))
    );
}

/// A pipeline whose window was emitted, amended and stored as a snapshot, while another window is open.
fn snapshotted() -> Pipeline {
    let (mut pipeline, _) = pipeline();
    let metric = "\"page\": \"/\", \"metric\": 1.5";
    pipeline.send(
        0,
        &[record(6, 4 * MINUTE, &event("e", 2 * MINUTE + 500, metric))],
    );
    pipeline.clock_ms += 10_000;
    pipeline.send(
        0,
        &[
            record(7, 4 * MINUTE, &event("f", 1_000, metric)),
            record(8, 4 * MINUTE, &event("g", 130_000, metric)),
        ],
    );
    pipeline
}

#[test]
fn state_of_a_step() {
    let pipeline = snapshotted();
    let mut all = 0;
    for partition in 0..pipeline.steps.len() as i32 {
        let state = pipeline.state_map("w", partition);
        let mut kept = BTreeMap::new();
        for (key, written) in &state {
            let name = String::from_utf8(key.to_vec()).unwrap().replace('/', "-");
            let (generation, kind) = StepKey::decode(key).unwrap();
            assert_eq!((generation, &kind.encode(1)), (1, key));
            let ending = if matches!(kind, StepKey::Run(..)) {
                "bin"
            } else {
                "json"
            };
            let bytes = golden(&format!("step-{partition}-{name}.v1.{ending}"), written);
            if kind == StepKey::Progress {
                let progress = StepProgress::decode(&bytes).unwrap();
                assert_eq!(
                    progress.watermark_ms,
                    pipeline.steps[partition as usize].watermark_ms()
                );
            }
            kept.insert(key.clone(), bytes);
            all += 1;
        }
        // What was stored is enough to go on from.
        let progress = StepProgress::decode(&kept[&StepKey::Progress.encode(1)]).unwrap();
        let at = Position {
            next_offset: progress.next_offset,
            watermark_ms: progress.watermark_ms,
        };
        let sinks = progress.outputs["w"]
            .sink_next_offset
            .map(|_| ("w".to_owned(), at))
            .into_iter()
            .collect();
        let recovered = RecoveredStep {
            state: kept,
            sinks,
            earliest: 0,
            refusals: Vec::new(),
            outdated: BTreeMap::new(),
        };
        let task = StepTask::begin(step_setup(&pipeline.plan, partition, 1), &recovered).unwrap();
        assert_eq!(
            task.open_windows(),
            pipeline.steps[partition as usize].open_windows()
        );
    }
    assert!(
        all >= 5,
        "progress and snapshot of two tasks, and a run at least: {all}"
    );
}

#[test]
fn refused_rows() {
    let record = Origin::Record(RecordOrigin { offset: 7 });
    let row = serde_json::json!({"page": "/", "n": 3, "window_start": "2026-01-01T00:00:00Z", "_offset": 9});
    let window = Origin::Window(WindowOrigin {
        offset: 9,
        start_ms: T0,
        group: 0x0102_0304,
        contributions: 3,
        row: row.as_object().unwrap().clone(),
    });
    for (name, origin) in [("record", record), ("window", window)] {
        let bytes = golden(
            &format!("refused-{name}.v1.json"),
            origin.encode().as_bytes(),
        );
        let text = std::str::from_utf8(&bytes).unwrap();
        assert_eq!(Origin::decode(text).unwrap(), origin);
        let newer = text.replace("\"version\":1", "\"version\":2");
        assert!(Origin::decode(&newer).is_err(), "{newer}");
    }
    let group = RefusedGroup {
        output: "w".to_owned(),
        start_ms: T0,
        group: 0x0102_0304,
    };
    let key = StepKey::Refused(group);
    let written = [&key.encode(2), &b"\n"[..], REFUSED].concat();
    let bytes = golden("refused-group.v1.txt", &written);
    let stored = bytes.split(|byte| *byte == b'\n').next().unwrap();
    assert_eq!(StepKey::decode(stored).unwrap(), (2, key));
}

#[test]
fn watermarks() {
    let mut written = WatermarkRecord::active("clicks", 3, 42);
    written.event_watermark_ms = Some(T0);
    written.last_append_ms = Some(T0 + 1);
    written.idle = true;
    assert_eq!(written.key(), "clicks/3");
    written.decree_ms = Some(T0 + 2);
    assert_eq!(written.key(), "clicks/3/42");
    assert_eq!(
        WatermarkRecord::decode(&golden("watermark.v1.json", &written.encode())).unwrap(),
        written
    );
}

#[test]
fn acknowledgements() {
    let place = Place {
        pipeline: "shop/kpis".to_owned(),
        input: "clicks".to_owned(),
        partition: 3,
    };
    let offsets = Missing::Offsets { from: 12, to: 20 };
    let outputs = BTreeMap::from([("once".to_owned(), 12), ("w".to_owned(), 7)]);
    let progress = Missing::Progress { outputs };
    let mut lines = String::new();
    for (missing, refill) in [(&offsets, false), (&progress, true)] {
        let waiting = Waiting::new(missing.clone()).encode();
        let acknowledged = Acknowledged::new(&missing.hash(&place), refill).encode();
        for value in [&waiting, &acknowledged] {
            lines.push_str(std::str::from_utf8(value).unwrap());
            lines.push('\n');
        }
    }
    let stored = golden("acknowledgement.v1.txt", lines.as_bytes());
    let stored: Vec<&[u8]> = stored.split(|&byte| byte == b'\n').collect();
    for (index, missing) in [(0, offsets), (2, progress)] {
        let waiting = Waiting::decode(stored[index]).unwrap();
        let acknowledged = Acknowledged::decode(stored[index + 1]).unwrap();
        assert_eq!(waiting.missing, missing);
        assert_eq!(acknowledged.hash, missing.hash(&place));
        assert_eq!(acknowledged.refill, index == 2);
    }
    let newer = br#"{"version":2,"hash":"000000000000"}"#;
    let error = Acknowledged::decode(newer).unwrap_err().to_string();
    assert!(error.ends_with("version 2 is not known here"), "{error}");
    for (key, text) in [
        (StepKey::Waiting, "g4/waiting"),
        (StepKey::Acknowledged, "g4/acknowledged"),
    ] {
        assert_eq!(key.encode(4), text);
        assert_eq!(StepKey::decode(text.as_bytes()).unwrap(), (4, key));
    }
}

#[test]
fn progress_that_has_passed_over_offsets() {
    let (pipeline, _) = pipeline();
    let mut progress =
        SourceProgress::decode(&pipeline.state_of("clicks", 0, "progress").unwrap()).unwrap();
    progress.passed_over = Some(OffsetRange { from: 6, to: 9 });
    let output = progress.outputs.get_mut("once").unwrap();
    output.refill_from = Some(2);
    output.ledger.lost = 3;
    let written = serde_json::to_vec(&progress).unwrap();
    let stored = golden("source-progress-passed-over.v1.json", &written);
    assert_eq!(SourceProgress::decode(&stored).unwrap(), progress);
}

/// Version 2 says nothing but that there are tombstones, which builds of version 1 do not count.
#[test]
fn progress_that_counts_tombstones() {
    let base = include_str!("../base.yaml")
        .replace("http: {}", "kafka: {topic: Clicks.v1}")
        .replace("  topic: {partitions: 2}\n", "");
    let mut pipeline = Pipeline::new(plan_over(&base, STEPS, &["once", "w"]), 1);
    let mut records = clicks();
    records[1].value = None;
    pipeline.send(0, &records[..1]);
    let progress = || pipeline.state_of("clicks", 0, "progress").unwrap();
    assert!(progress().starts_with(br#"{"version":1,"#));
    pipeline.send(0, &records[1..]);
    let bytes = golden(
        "source-progress-tombstones.v2.json",
        &pipeline.state_of("clicks", 0, "progress").unwrap(),
    );
    let progress = SourceProgress::decode(&bytes).unwrap();
    for ledger in [
        &progress.outputs["once"].ledger,
        &progress.steps["w"].ledger,
    ] {
        assert_eq!((ledger.tombstone, ledger.balance()), (1, 0));
    }
    let unknown = String::from_utf8(bytes.to_vec()).unwrap();
    let unknown = unknown.replacen("\"tombstone\"", "\"unheard_of\"", 1);
    let error = SourceProgress::decode(unknown.as_bytes()).unwrap_err();
    assert!(error.to_string().contains("unheard_of"), "{error}");
}

#[test]
fn our_columns_on_rows() {
    let (mut pipeline, _) = pipeline();
    pipeline.close();
    let ours = |output: &str| {
        let rows = pipeline.rows(output);
        let names: Vec<String> = rows[0]
            .keys()
            .filter(|name| name.starts_with('_'))
            .cloned()
            .collect();
        names.join(" ")
    };
    assert_eq!(ours("once"), "_generation _offset _ordinal _partition");
    assert_eq!(ours("w"), "_generation _offset _partition _revision");
}

#[test]
fn what_a_newer_build_wrote_is_refused_and_not_guessed() {
    let (pipeline, written) = pipeline();
    let mut bytes = written[0].value.as_ref().unwrap().to_vec();
    bytes[0] = 2;
    let error = partial::decode(&bytes, &pipeline.aggregate().partial_schema).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a stored partial is damaged or from a newer build: version 2 is not known here"
    );
    let progress = pipeline.state_of("clicks", 0, "progress").unwrap();
    let newer =
        String::from_utf8(progress.to_vec())
            .unwrap()
            .replacen("\"version\":1", "\"version\":3", 1);
    assert!(SourceProgress::decode(newer.as_bytes()).is_err());
    assert!(WatermarkRecord::decode(br#"{"version":2}"#).is_err());
    for key in [
        "",
        "g1",
        "g1/other",
        "gx/progress",
        "g1/run/1",
        "g1/run/1/x",
    ] {
        assert!(StepKey::decode(key.as_bytes()).is_err(), "{key}");
    }
}

#[test]
fn damaged_partials_are_an_error_at_every_length() {
    let (pipeline, written) = pipeline();
    let bytes = written[0].value.as_ref().unwrap();
    let (_, batch) = partial::decode(bytes, &pipeline.aggregate().partial_schema).unwrap();
    assert!(!rows_of(&batch.unwrap()).is_empty());
    let header = 5 + u32::from_le_bytes(bytes[1..5].try_into().unwrap()) as usize;
    for length in (0..bytes.len()).filter(|&length| length != header) {
        let cut = partial::decode(&bytes[..length], &pipeline.aggregate().partial_schema);
        assert!(cut.is_err(), "cut to {length} bytes");
    }
}
