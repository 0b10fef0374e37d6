//! What becomes of rows that a sink refuses for their data.
use std::collections::BTreeMap;

use tidewheel_engine::stage2::{RecoveredStep, StepTask};
use tidewheel_engine::wire::state::{Position, StepKey};
use tidewheel_engine::{Ledger, Refusal};
use tidewheel_log::Record;

use crate::fixture::{MINUTE, Pipeline, event, plan, record, step_setup};

const COUNTS: &str = "
    - name: w
      aggregate: {window: {tumbling: 1m}, late: {allowed: 1h, policy: Amend}, sql: 'SELECT page, count(*) AS n FROM clicks GROUP BY page HAVING count(*) <> 5'}";

/// A pipeline that counts pages and whose table takes no count of three or six.
fn counting() -> Pipeline {
    let mut pipeline = Pipeline::new(plan(COUNTS, &["w"]), 1);
    pipeline.refuses = |row| ["3", "6"].contains(&row["n"].as_str());
    pipeline
}

/// Events of the first minute, and then one that lets the watermark pass the first window once more.
fn more(pipeline: &mut Pipeline, offset: &mut i64, count: i64) {
    let mut records: Vec<Record> = Vec::new();
    for _ in 0..count {
        records.push(record(*offset, 0, &event("e", 1_000, "\"page\": \"/\"")));
        *offset += 1;
    }
    pipeline.send(0, &records);
    // The first decree closes nothing but lets windows up to there be emitted.
    pipeline.decree(crate::fixture::T0 + 2 * MINUTE);
}

/// The stored count, and what the ledger says of it: written, refused, left out.
fn state(pipeline: &Pipeline) -> (Option<String>, [u64; 3]) {
    let ledger: Ledger = pipeline.window_ledger("w");
    assert_eq!(ledger.balance(), 0, "{ledger:?}");
    let count = |counts: &BTreeMap<String, u64>, name: &str| counts.get(name).copied().unwrap_or(0);
    let fates = [
        ledger.written,
        count(&ledger.dead_lettered, "Refused"),
        count(&ledger.filtered, "w"),
    ];
    let stored = pipeline.rows("w").first().map(|row| row["n"].clone());
    (stored, fates)
}

fn stored(count: u64) -> Option<String> {
    Some(count.to_string())
}

/// How many groups the state topic has as refused.
fn remembered(pipeline: &Pipeline) -> usize {
    let is_refused =
        |key: &bytes::Bytes| matches!(StepKey::decode(key).unwrap().1, StepKey::Refused(_));
    let partitions = 0..pipeline.steps.len() as i32;
    partitions
        .map(|partition| pipeline.state_map("w", partition))
        .map(|state| state.keys().filter(|key| is_refused(key)).count())
        .sum()
}

/// Begins stage 2 anew from its state.
fn take_over(pipeline: &mut Pipeline) {
    take_over_from(pipeline, 0, &[]);
}

/// The same with a sink that is `behind` partials behind, and keeps `refusals`, by partition. What it refuses of what it is given again.
fn take_over_from(
    pipeline: &mut Pipeline,
    behind: i64,
    refusals: &[Vec<Refusal>],
) -> Vec<Vec<Refusal>> {
    let mut refused = Vec::new();
    for partition in 0..pipeline.steps.len() {
        let end = pipeline.partials[partition].len() as i64;
        let at = Position {
            next_offset: end - behind,
            watermark_ms: pipeline.steps[partition].watermark_ms(),
        };
        let recovered = RecoveredStep {
            state: pipeline.state_map("w", partition as i32),
            sinks: BTreeMap::from([("w".to_owned(), at)]),
            refusals: refusals.get(partition).cloned().unwrap_or_default(),
            ..RecoveredStep::default()
        };
        let setup = step_setup(&pipeline.plan, partition as i32, 1);
        let mut task = StepTask::begin(setup, &recovered).unwrap();
        let again = pipeline.partials[partition][task.next_offset() as usize..].to_vec();
        let silent = task.process(&again, end, pipeline.clock_ms).unwrap();
        assert_eq!((silent.consumed, silent.writes.len()), (again.len(), 0));
        let effects = task.process(&[], end, pipeline.clock_ms).unwrap();
        refused.push(pipeline.write(&effects));
        pipeline.steps[partition] = task;
    }
    refused
}

/// Lets every task of stage 2 that owes letters tell the log.
fn tell(pipeline: &mut Pipeline) {
    for partition in 0..pipeline.steps.len() {
        if pipeline.steps[partition].owes_letters() {
            let log = pipeline.steps[partition].seal(&[], &[]);
            pipeline.append(log);
        }
    }
}

#[test]
fn an_amendment_moves_a_group_between_its_fates() {
    let steps = [
        (2, stored(2), [2, 0, 0]),
        // What was stored before no longer holds.
        (1, None, [0, 3, 0]),
        (1, stored(4), [4, 0, 0]),
        (1, None, [0, 0, 5]),
        (1, None, [0, 6, 0]),
        (1, stored(7), [7, 0, 0]),
    ];
    for taken_over in [false, true] {
        let (mut pipeline, mut offset) = (counting(), 0);
        for (count, row, fates) in steps.clone() {
            more(&mut pipeline, &mut offset, count);
            assert_eq!(state(&pipeline), (row, fates), "{offset} events");
            assert_eq!(remembered(&pipeline), usize::from(fates[1] > 0));
            if taken_over {
                take_over(&mut pipeline);
            }
        }
        let reasons: Vec<_> = pipeline
            .dead_letters()
            .into_iter()
            .map(|(reason, output, _)| (reason, output))
            .collect();
        let refused = ("Refused".to_owned(), "w".to_owned());
        assert_eq!(reasons, [refused.clone(), refused]);
    }
}

#[test]
fn a_refused_group_is_forgotten_with_its_window() {
    let (mut pipeline, mut offset) = (counting(), 0);
    more(&mut pipeline, &mut offset, 3);
    assert_eq!(remembered(&pipeline), 1);
    pipeline.decree(crate::fixture::T0 + 120 * MINUTE);
    assert_eq!(remembered(&pipeline), 0);
    assert_eq!(state(&pipeline), (None, [0, 3, 0]));
}

#[test]
fn what_a_repair_refuses_right_where_the_log_is_has_its_letter_once() {
    let (mut pipeline, mut offset) = (counting(), 0);
    more(&mut pipeline, &mut offset, 2);
    assert_eq!(state(&pipeline), (stored(2), [2, 0, 0]));
    // The table that is set back takes no count of two, as it did not when it was saved. The process dies before the log is told.
    pipeline.refuses = |row| row["n"] == "2";
    let refusals = take_over_from(&mut pipeline, 1, &[]);
    assert_eq!(refusals.concat().len(), 1);
    assert_eq!(pipeline.dead_letters(), []);
    // Whoever goes on tells it, once.
    for _ in 0..3 {
        take_over_from(&mut pipeline, 0, &refusals);
        tell(&mut pipeline);
        assert_eq!(state(&pipeline), (None, [0, 2, 0]));
        assert_eq!(pipeline.dead_letters().len(), 1);
        assert_eq!(remembered(&pipeline), 1);
    }
}

#[test]
fn a_group_that_was_refused_as_its_window_ended_has_its_letter_once() {
    let mut pipeline = counting();
    pipeline.refuses = |_| true;
    pipeline.send(0, &[record(0, 0, &event("e", 1_000, "\"page\": \"/\""))]);
    assert_eq!(pipeline.dead_letters(), []);
    // What is pending is emitted and its window let go of by one and the same record.
    pipeline.decree(crate::fixture::T0 + 120 * MINUTE);
    assert_eq!(pipeline.dead_letters().len(), 1);
    // A task that rests stores its windows where it is.
    pipeline.clock_ms += 60_000;
    for partition in 0..pipeline.steps.len() {
        let end = pipeline.partials[partition].len() as i64;
        let step = &mut pipeline.steps[partition];
        let mut log = step.process(&[], end, pipeline.clock_ms).unwrap().log;
        log.extend(step.seal(&[], &[]));
        pipeline.append(log);
    }
    let refused = pipeline.refused.clone();
    assert_eq!(refused.concat().len(), 1);
    take_over_from(&mut pipeline, 0, &refused);
    tell(&mut pipeline);
    assert_eq!(pipeline.dead_letters().len(), 1);
}
