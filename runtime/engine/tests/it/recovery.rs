//! A task that is taken over goes on as if it had never stopped.
use std::collections::BTreeMap;

use tidewheel_engine::EngineError;
use tidewheel_engine::stage1::{Recovered, SourceTask, StartAt};
use tidewheel_engine::stage2::{RecoveredStep, StepTask};
use tidewheel_engine::wire::state::{Position, SourceProgress};
use tidewheel_log::Record;

use crate::fixture::{MINUTE, Pipeline, event, plan, record, source_setup, step_setup};

const STEPS: &str = "
    - {name: once, deduplicate: {from: clicks, by: [id], within: 10m}}
    - name: w
      aggregate: {window: {tumbling: 1m}, late: {allowed: 1m, policy: Amend}, sql: 'SELECT page, count(*) AS n, first_value(id) AS f FROM once GROUP BY page'}";

fn clicks() -> Vec<Record> {
    (0..60)
        .map(|n| {
            let page = format!("\"page\": \"/{}\"", n % 3);
            record(
                n,
                n * 5_000,
                &event(&format!("e{}", n % 40), n * 5_000, &page),
            )
        })
        .collect()
}

/// Begins both stages anew from what is in the state topics and in the tables.
fn take_over(pipeline: &mut Pipeline, records: &[Record], at: i64) {
    let bytes = pipeline.state_of("clicks", 0, "progress").unwrap();
    let progress = SourceProgress::decode(&bytes).unwrap();
    let sinks = BTreeMap::from([("once".to_owned(), progress.main)]);
    let recovered = Recovered {
        progress: Some(progress),
        sinks,
        ..Recovered::default()
    };
    let mut task = SourceTask::begin(
        source_setup(&pipeline.plan, 0, 1),
        recovered,
        &StartAt::default(),
    )
    .unwrap();
    assert_eq!(task.next_offset(), at);
    let effects = task
        .process(&records[..at as usize], at, pipeline.clock_ms)
        .unwrap();
    assert!(
        effects.log.is_empty() && effects.writes.is_empty(),
        "filling the deduplication has no effects"
    );
    pipeline.sources[0] = task;
    take_over_steps(pipeline, 1);
}

/// Begins the tasks of stage 2 anew from what is in the state topics and in the tables.
pub(crate) fn take_over_steps(pipeline: &mut Pipeline, source_partitions: i32) {
    for partition in 0..pipeline.steps.len() {
        let state = pipeline.state_map("w", partition as i32);
        let end = pipeline.partials[partition].len() as i64;
        let written = pipeline.steps[partition].watermark_ms();
        let sinks = BTreeMap::from([(
            "w".to_owned(),
            Position {
                next_offset: end,
                watermark_ms: written,
            },
        )]);
        let recovered = RecoveredStep {
            state,
            sinks,
            earliest: 0,
            refusals: Vec::new(),
            outdated: BTreeMap::new(),
        };
        let setup = step_setup(&pipeline.plan, partition as i32, source_partitions);
        let mut task = StepTask::begin(setup, &recovered).unwrap();
        let again: Vec<Record> =
            pipeline.partials[partition][task.next_offset() as usize..].to_vec();
        if !again.is_empty() {
            let effects = task.process(&again, end, pipeline.clock_ms).unwrap();
            assert!(
                effects.writes.is_empty() && effects.log.is_empty(),
                "merging again is silent"
            );
        }
        assert_eq!(task.watermark_ms(), written);
        pipeline.steps[partition] = task;
    }
}

#[test]
fn tasks_taken_over_anywhere_end_as_undisturbed_ones() {
    let records = clicks();
    let mut undisturbed = Pipeline::new(plan(STEPS, &["once", "w"]), 1);
    records
        .chunks(4)
        .for_each(|records| undisturbed.send(0, records));
    undisturbed.close();
    for at in [4usize, 24, 40, 56] {
        let mut pipeline = Pipeline::new(plan(STEPS, &["once", "w"]), 1);
        for (index, batch) in records.chunks(4).enumerate() {
            if index * 4 == at {
                take_over(&mut pipeline, &records, at as i64);
            }
            // Snapshots are taken on the way.
            pipeline.clock_ms += 2_000;
            pipeline.send(0, batch);
        }
        pipeline.close();
        assert_eq!(
            pipeline.tables["once"], undisturbed.tables["once"],
            "taken over at {at}"
        );
        let values = |pipeline: &Pipeline| {
            let rows = pipeline.rows("w");
            rows.iter()
                .map(|row| {
                    (
                        row["window_start"].clone(),
                        row["page"].clone(),
                        row["n"].clone(),
                        row["f"].clone(),
                    )
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(
            values(&pipeline),
            values(&undisturbed),
            "taken over at {at}"
        );
        assert_eq!(
            pipeline.window_ledger("w"),
            undisturbed.window_ledger("w"),
            "taken over at {at}"
        );
        assert_eq!(
            pipeline.sources[0].ledgers().outputs,
            undisturbed.sources[0].ledgers().outputs,
            "taken over at {at}"
        );
    }
}

#[test]
fn what_a_sink_has_beyond_the_log_is_not_written_again() {
    let mut pipeline = Pipeline::new(plan(STEPS, &["once", "w"]), 1);
    let records = clicks();
    pipeline.send(0, &records[..4]);
    let progress =
        SourceProgress::decode(&pipeline.state_of("clicks", 0, "progress").unwrap()).unwrap();
    // The sink had offset 6 committed when the log had not.
    let ahead = Position {
        next_offset: 6,
        ..progress.main
    };
    let recovered = Recovered {
        progress: Some(progress),
        sinks: BTreeMap::from([("once".to_owned(), ahead)]),
        ..Recovered::default()
    };
    pipeline.sources[0] = SourceTask::begin(
        source_setup(&pipeline.plan, 0, 1),
        recovered,
        &StartAt::default(),
    )
    .unwrap();
    let already: Vec<String> = pipeline.tables["once"].keys().cloned().collect();
    pipeline.tables.clear();
    pipeline.send(0, &records[4..8]);
    let offsets: Vec<String> = pipeline
        .rows("once")
        .iter()
        .map(|row| row["_offset"].clone())
        .collect();
    assert_eq!(
        (already.len(), offsets),
        (4, vec!["6".to_owned(), "7".to_owned()])
    );
    let ledger = &pipeline.sources[0].ledgers().outputs["once"];
    assert_eq!(
        (ledger.read, ledger.written),
        (8, 8),
        "they count all the same"
    );
}

#[test]
fn a_newer_plan_keeps_its_task() {
    let mut pipeline = Pipeline::new(plan(STEPS, &["once", "w"]), 1);
    pipeline.send(0, &clicks()[..4]);
    let mut progress =
        SourceProgress::decode(&pipeline.state_of("clicks", 0, "progress").unwrap()).unwrap();
    progress.revision = 9;
    let recovered = Recovered {
        progress: Some(progress),
        ..Recovered::default()
    };
    let error = SourceTask::begin(
        source_setup(&pipeline.plan, 0, 1),
        recovered,
        &StartAt::default(),
    )
    .unwrap_err();
    assert!(
        matches!(error, EngineError::Outdated { ours: 1, theirs: 9 }),
        "{error}"
    );
}

#[test]
fn contributions_to_a_purged_window_are_told_and_counted() {
    let steps = "    - name: w\n      aggregate: {window: {tumbling: 1m}, sql: 'SELECT page, count(*) AS n FROM clicks GROUP BY page'}\n";
    let mut pipeline = Pipeline::new(plan(steps, &["w"]), 1);
    let late = pipeline.take(0, &[record(0, 0, &event("a", 0, "\"page\": \"/\""))]);
    let later = pipeline.take(
        0,
        &[record(1, 0, &event("b", 30 * MINUTE, "\"page\": \"/\""))],
    );
    pipeline.deliver(later);
    pipeline.deliver(late);
    pipeline.close();
    assert_eq!(pipeline.dead_letters()[0].0, "WindowPurged");
    let ledger = pipeline.window_ledger("w");
    assert_eq!(
        (
            ledger.read,
            ledger.written,
            ledger.dead_lettered["WindowPurged"],
            ledger.balance()
        ),
        (2, 1, 1, 0)
    );
}
