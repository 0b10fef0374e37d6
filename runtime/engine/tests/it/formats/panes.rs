//! Golden bytes of what there is only where windows overlap, or are sessions.
use std::collections::BTreeMap;

use bytes::Bytes;
use tidewheel_engine::stage2::{RecoveredStep, StepTask};
use tidewheel_engine::wire::partial;
use tidewheel_engine::wire::state::{Position, StepKey, StepProgress};
use tidewheel_log::Record;

use super::golden;
use crate::fixture::{MINUTE, Pipeline, T0, event, plan, record, step_setup};

const STEPS: &str = "
    - name: w
      aggregate:
        window: {hopping: {size: 3m, every: 1m}}
        late: {allowed: 1m, policy: Amend}
        sql: SELECT page, count(*) AS n, first_value(user_id) AS first FROM clicks GROUP BY page";

fn click(offset: i64, ms: i64) -> Record {
    let members = format!("\"page\": \"/\", \"user_id\": \"u{offset}\"");
    record(offset, 10 * MINUTE, &event("e", ms, &members))
}

/// Some windows are emitted, others are open, and one record came too late for some of its windows.
fn pipeline() -> Pipeline {
    let mut pipeline = Pipeline::new(plan(STEPS, &["w"]), 1);
    pipeline.send(0, &[click(0, 0), click(1, 90_000), click(2, 4 * MINUTE)]);
    pipeline.clock_ms += 10_000;
    pipeline.send(0, &[click(3, 5 * MINUTE), click(4, 150_000)]);
    pipeline.clock_ms += 10_000;
    pipeline.send(0, &[click(5, 5 * MINUTE + 1)]);
    pipeline
}

#[test]
fn partials_that_do_not_count_in_all_windows() {
    let pipeline = pipeline();
    let written = pipeline.partials.iter().flatten();
    let schema = &pipeline.aggregate().partial_schema;
    let shortened = written.filter_map(|record| {
        let bytes = record.value.as_ref().unwrap();
        let (header, batch) = partial::decode(bytes, schema).unwrap();
        header.windows_from_ms.map(|_| (bytes, header, batch))
    });
    let [(bytes, header, batch)] = &shortened.collect::<Vec<_>>()[..] else {
        panic!("one record came too late for some of its windows");
    };
    let stored = golden("partial-shortened.v1.bin", bytes);
    let (found, rows) = partial::decode(&stored, schema).unwrap();
    assert_eq!((&found, &rows), (header, batch));
}

/// The state of the one task that has windows, as it is stored; read again, it has the same ones.
fn stored_state(prefix: &str, pipeline: &Pipeline) -> BTreeMap<Bytes, Bytes> {
    let partition = (0..2)
        .find(|&partition| !pipeline.steps[partition as usize].open_windows().is_empty())
        .unwrap();
    let mut kept = BTreeMap::new();
    for (key, written) in pipeline.state_map("w", partition) {
        let name = String::from_utf8(key.to_vec()).unwrap().replace('/', "-");
        let ending = match StepKey::decode(&key).unwrap() {
            (_, StepKey::Run(..)) => "bin",
            _ => "json",
        };
        let bytes = golden(&format!("{prefix}-{name}.v1.{ending}"), &written);
        kept.insert(key, bytes);
    }
    let progress = StepProgress::decode(&kept[&StepKey::Progress.encode(1)]).unwrap();
    let at = Position {
        next_offset: progress.next_offset,
        watermark_ms: progress.watermark_ms,
    };
    let recovered = RecoveredStep {
        state: kept.clone(),
        sinks: BTreeMap::from([("w".to_owned(), at)]),
        ..RecoveredStep::default()
    };
    let task = StepTask::begin(step_setup(&pipeline.plan, partition, 1), &recovered).unwrap();
    assert_eq!(
        task.open_windows(),
        pipeline.steps[partition as usize].open_windows()
    );
    kept
}

fn snapshot(state: &BTreeMap<Bytes, Bytes>) -> serde_json::Value {
    serde_json::from_slice(&state[&StepKey::Snapshot.encode(1)]).unwrap()
}

#[test]
fn state_of_a_step_whose_windows_overlap() {
    let snapshot = snapshot(&stored_state("panes", &pipeline()));
    let panes = snapshot["panes"].as_array().unwrap();
    let shortened = panes.iter().filter(|pane| pane["windows_from_ms"].is_i64());
    assert!(shortened.count() == 1 && panes.len() > 1, "{snapshot}");
}

#[test]
fn state_of_a_step_whose_windows_are_sessions() {
    let steps = "
    - name: w
      aggregate:
        window: {session: {gap: 1m}}
        late: {policy: DeadLetter}
        sql: SELECT page, count(*) AS n, first_value(user_id) AS first FROM clicks GROUP BY page";
    let mut pipeline = Pipeline::new(plan(steps, &["w"]), 1);
    pipeline.send(0, &[click(0, 0), click(1, 30_000)]);
    pipeline.clock_ms += 10_000;
    pipeline.send(0, &[click(2, 4 * MINUTE)]);
    pipeline.clock_ms += 10_000;
    pipeline.send(0, &[click(3, 4 * MINUTE + 1)]);
    let state = stored_state("sessions", &pipeline);
    let progress = StepProgress::decode(&state[&StepKey::Progress.encode(1)]).unwrap();
    assert_eq!(progress.sessions_from_ms, Some(T0 + 4 * MINUTE));
    let snapshot = snapshot(&state);
    let parts = ["windows", "panes"].map(|part| snapshot[part].as_array().unwrap().len());
    assert_eq!(parts, [1, 1], "{snapshot}");
}
