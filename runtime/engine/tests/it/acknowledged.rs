//! What is gone stops a task until exactly that is acknowledged; then it goes on without, and its ledgers say what was lost.
use std::collections::BTreeMap;

use bytes::Bytes;
use tidewheel_engine::EngineError;
use tidewheel_engine::stage1::{Recovered, SourceTask, StartAt};
use tidewheel_engine::stage2::{RecoveredStep, StepTask};
use tidewheel_engine::wire::acknowledgement::{
    ACKNOWLEDGED, Acknowledged, Acknowledgement, Missing, Unacknowledged, WAITING, key,
};
use tidewheel_engine::wire::state::{Position, SourceProgress};
use tidewheel_log::Record;

use crate::fixture::{MINUTE, Pipeline, T0, event, header, plan, record, source_setup, step_setup};

const STEPS: &str = "
    - {name: once, deduplicate: {from: clicks, by: [id], within: 10m}}
    - name: w
      aggregate: {window: {tumbling: 1m}, late: {allowed: 1m, policy: Amend}, sql: 'SELECT page, count(*) AS n FROM once GROUP BY page'}";

fn clicks() -> Vec<Record> {
    let click = |n: i64| {
        let page = format!("\"page\": \"/{}\"", n % 3);
        record(n, n * 5_000, &event(&format!("e{n}"), n * 5_000, &page))
    };
    (0..60).map(click).collect()
}

/// A pipeline that has taken the first `count` events.
fn taken(count: usize) -> Pipeline {
    let mut pipeline = Pipeline::new(plan(STEPS, &["once", "w"]), 1);
    pipeline.send(0, &clicks()[..count]);
    pipeline
}

fn progress(pipeline: &Pipeline) -> SourceProgress {
    SourceProgress::decode(&pipeline.state_of("clicks", 0, "progress").unwrap()).unwrap()
}

/// Takes the task over where the oldest event is at `earliest` and the table stands at `sink`.
fn begin(
    pipeline: &Pipeline,
    earliest: i64,
    sink: Option<Position>,
) -> Result<SourceTask, EngineError> {
    let state = pipeline.state_map("clicks", 0);
    let recovered = Recovered {
        progress: Some(progress(pipeline)),
        sinks: sink.map(|at| ("once".to_owned(), at)).into_iter().collect(),
        acknowledgement: Acknowledgement::read(&state, None).unwrap(),
        ..Recovered::default()
    };
    let start = StartAt {
        earliest,
        ..StartAt::default()
    };
    SourceTask::begin(source_setup(&pipeline.plan, 0, 1), recovered, &start)
}

fn unacknowledged<T: std::fmt::Debug>(begun: Result<T, EngineError>) -> Unacknowledged {
    match begun.unwrap_err() {
        EngineError::Unacknowledged(waits) => waits,
        other => panic!("{other}"),
    }
}

/// Has the task leave word of what it waits for, and somebody acknowledge a hash.
fn acknowledge(pipeline: &mut Pipeline, waits: &Unacknowledged, hash: &str, refill: bool) {
    let (input, partition) = (waits.place.input.clone(), waits.place.partition);
    let generation = (input == "w").then_some(1);
    let topic = pipeline.names.state(&input);
    let state = pipeline.state_map(&input, partition);
    let known = Acknowledgement::read(&state, generation).unwrap();
    let word = known.wait(&topic, &waits.place, &waits.missing);
    pipeline.append(word.into_iter().collect());
    let key = (topic, partition, key(ACKNOWLEDGED, generation));
    let value = Acknowledged::new(hash, refill).encode();
    pipeline.state.insert(key, value);
}

fn hash(waits: &Unacknowledged) -> String {
    waits.missing.hash(&waits.place)
}

/// Puts a task to work that was begun.
fn go_on(pipeline: &mut Pipeline, mut task: SourceTask) {
    let words = task.begin_to_speak().unwrap();
    assert!(pipeline.append(words).is_empty(), "the step knows the task");
    pipeline.sources[0] = task;
}

fn kept_keys(pipeline: &Pipeline) -> Vec<Bytes> {
    let state = pipeline.state_map("clicks", 0);
    let asked = [WAITING, ACKNOWLEDGED].map(|key| Bytes::from_static(key.as_bytes()));
    asked
        .into_iter()
        .filter(|key| state.contains_key(key))
        .collect()
}

#[test]
fn events_that_are_gone_stop_the_task_until_exactly_that_is_acknowledged() {
    let mut pipeline = taken(12);
    let sink = Some(progress(&pipeline).main);
    let waits = unacknowledged(begin(&pipeline, 20, sink));
    assert_eq!(waits.missing, Missing::Offsets { from: 12, to: 20 });
    assert_eq!(
        waits.to_string(),
        format!(
            "offsets 12 to 19 of clicks/0 were deleted before they were read, by retention or by somebody: `tidewheel acknowledge shop/kpis --hash {}` counts them as lost and goes on",
            hash(&waits)
        )
    );
    acknowledge(&mut pipeline, &waits, "000000000000", false);
    unacknowledged(begin(&pipeline, 20, sink));
    // What has grown since is something else.
    acknowledge(&mut pipeline, &waits, &hash(&waits), false);
    let grown = unacknowledged(begin(&pipeline, 21, sink));
    assert_ne!(hash(&grown), hash(&waits));

    assert_eq!(kept_keys(&pipeline).len(), 2);
    let task = begin(&pipeline, 20, sink).unwrap();
    assert_eq!(task.next_offset(), 20);
    go_on(&mut pipeline, task);
    assert!(kept_keys(&pipeline).is_empty());
    // Whoever takes over now has nothing to ask.
    let task = begin(&pipeline, 20, sink).unwrap();
    go_on(&mut pipeline, task);
    pipeline.send(0, &clicks()[20..]);
    pipeline.close();

    let mut whole = taken(0);
    whole.send(0, &[&clicks()[..12], &clicks()[20..]].concat());
    whole.close();
    assert_eq!(pipeline.tables["once"], whole.tables["once"]);
    let values = |pipeline: &Pipeline| -> Vec<[String; 3]> {
        let rows = pipeline.rows("w");
        rows.iter()
            .map(|row| ["window_start", "page", "n"].map(|name| row[name].clone()))
            .collect()
    };
    assert_eq!(values(&pipeline), values(&whole));
    let ledgers = pipeline.sources[0].ledgers();
    for ledger in [&ledgers.outputs["once"], &ledgers.steps["w"]] {
        let counts = (ledger.read, ledger.written, ledger.lost, ledger.balance());
        assert_eq!(counts, (60, 52, 8, 0));
    }
    let windows = pipeline.window_ledger("w");
    assert_eq!((windows.written, windows.balance()), (52, 0));
}

#[test]
fn what_had_come_before_a_pipeline_first_read_can_be_gone_too() {
    let mut pipeline = taken(0);
    let start = StartAt {
        earliest: 5,
        first: 3,
        ..StartAt::default()
    };
    let begin = |recovered: Recovered| {
        SourceTask::begin(source_setup(&pipeline.plan, 0, 1), recovered, &start)
    };
    let waits = unacknowledged(begin(Recovered::default()));
    assert_eq!(waits.missing, Missing::Offsets { from: 3, to: 5 });
    acknowledge(&mut pipeline, &waits, &hash(&waits), false);
    let recovered = Recovered {
        acknowledgement: Acknowledgement::read(&pipeline.state_map("clicks", 0), None).unwrap(),
        ..Recovered::default()
    };
    let setup = source_setup(&pipeline.plan, 0, 1);
    let mut task = SourceTask::begin(setup, recovered, &start).unwrap();
    let words = task.begin_to_speak().unwrap();
    assert!(words.iter().any(|word| word.topic.ends_with(".partials")));
    let ledgers = task.ledgers();
    assert_eq!(
        (
            task.next_offset(),
            ledgers.outputs["once"].lost,
            ledgers.steps["w"].lost
        ),
        (5, 2, 2)
    );
}

#[test]
fn a_table_that_was_set_back_lacks_what_is_gone_and_is_given_the_rest() {
    let mut pipeline = taken(12);
    let known = progress(&pipeline);
    let at = |next_offset: i64| {
        Some(Position {
            next_offset,
            ..known.main
        })
    };
    let waits = unacknowledged(begin(&pipeline, 8, at(4)));
    assert_eq!(waits.missing, Missing::Offsets { from: 4, to: 8 });
    acknowledge(&mut pipeline, &waits, &hash(&waits), false);
    let task = begin(&pipeline, 8, at(4)).unwrap();
    go_on(&mut pipeline, task);
    // It dies before the table has got anything, and again: the table goes on behind what is gone, and that counts once.
    for _ in 0..2 {
        let task = begin(&pipeline, 8, at(4)).unwrap();
        assert_eq!(task.next_offset(), 8);
        go_on(&mut pipeline, task);
    }
    // A table that is further back still lacks something else.
    let further = unacknowledged(begin(&pipeline, 8, at(3)));
    assert_eq!(further.missing, Missing::Offsets { from: 3, to: 8 });
    pipeline.tables.clear();
    pipeline.send(0, &clicks()[8..14]);
    let offsets: Vec<String> = pipeline
        .rows("once")
        .iter()
        .map(|row| row["_offset"].clone())
        .collect();
    assert_eq!(offsets, ["10", "11", "12", "13", "8", "9"]);
    let ledger = &pipeline.sources[0].ledgers().outputs["once"];
    assert_eq!((ledger.read, ledger.lost, ledger.balance()), (18, 4, 0));
}

#[test]
fn a_table_without_progress_is_filled_again_or_goes_on_as_it_is() {
    for refill in [true, false] {
        let mut pipeline = taken(12);
        let waits = unacknowledged(begin(&pipeline, 2, None));
        let outputs = BTreeMap::from([("once".to_owned(), 12)]);
        assert_eq!(waits.missing, Missing::Progress { outputs });
        assert!(
            waits.to_string().contains("once (at least offset 12)"),
            "{waits}"
        );
        acknowledge(&mut pipeline, &waits, &hash(&waits), refill);
        pipeline.tables.clear();
        // It dies before the table has got anything: what was acknowledged holds.
        for _ in 0..2 {
            let task = begin(&pipeline, 2, None).unwrap();
            assert_eq!(task.next_offset(), if refill { 2 } else { 12 });
            go_on(&mut pipeline, task);
            assert!(kept_keys(&pipeline).is_empty());
        }
        let from = if refill { 2 } else { 12 };
        pipeline.send(0, &clicks()[from..14]);
        assert_eq!(pipeline.rows("once").len(), 14 - from);
        let ledger = &pipeline.sources[0].ledgers().outputs["once"];
        assert_eq!((ledger.read, ledger.written), (14, 14), "each counts once");
        // From now on the table has progress, and is asked for it.
        unacknowledged(begin(&pipeline, 2, None));
    }
}

#[test]
fn what_came_back_is_not_waited_for_any_more() {
    let mut pipeline = taken(12);
    let waits = unacknowledged(begin(&pipeline, 0, None));
    acknowledge(&mut pipeline, &waits, "000000000000", false);
    let task = begin(&pipeline, 0, Some(progress(&pipeline).main)).unwrap();
    go_on(&mut pipeline, task);
    assert!(kept_keys(&pipeline).is_empty());
}

/// Takes the tasks of stage 2 over where the oldest partials are at `earliest` and tables have what they had.
fn begin_step(
    pipeline: &Pipeline,
    partition: usize,
    earliest: i64,
    sink: bool,
) -> Result<StepTask, EngineError> {
    let at = Position {
        next_offset: pipeline.partials[partition].len() as i64,
        watermark_ms: None,
    };
    let recovered = RecoveredStep {
        state: pipeline.state_map("w", partition as i32),
        sinks: sink.then(|| ("w".to_owned(), at)).into_iter().collect(),
        earliest,
        ..RecoveredStep::default()
    };
    let setup = step_setup(&pipeline.plan, partition as i32, 1);
    StepTask::begin(setup, &recovered)
}

/// Has the task of stage 2 go on with nothing new, and carries out what that leads to.
fn settle(pipeline: &mut Pipeline, partition: usize) {
    let at = pipeline.steps[partition].next_offset();
    let clock_ms = pipeline.clock_ms;
    let effects = pipeline.steps[partition]
        .process(&[], at, clock_ms)
        .unwrap();
    let committed: Vec<usize> = effects.writes.iter().map(|write| write.output).collect();
    let refusals = pipeline.write(&effects);
    let mut log = effects.log;
    log.extend(pipeline.steps[partition].seal(&committed, &refusals));
    pipeline.append(log);
}

#[test]
fn partials_that_are_gone_are_lost_to_their_windows() {
    let mut pipeline = taken(12);
    // The newest snapshot is behind: what came after it stands in the partials alone.
    pipeline.clock_ms += MINUTE;
    pipeline.send(0, &clicks()[12..24]);
    pipeline.send(0, &clicks()[24..36]);
    let mut lost = 0;
    for partition in 0..pipeline.steps.len() {
        let gone = pipeline.partials[partition].len() as i64 + 1;
        let waits = unacknowledged(begin_step(&pipeline, partition, gone, true));
        let Missing::Offsets { from, to } = waits.missing else {
            panic!("{waits}");
        };
        assert!(from < to && to == gone, "{waits}");
        acknowledge(&mut pipeline, &waits, &hash(&waits), false);
        pipeline.steps[partition] = begin_step(&pipeline, partition, gone, true).unwrap();
        settle(&mut pipeline, partition);
        let state = pipeline.state_map("w", partition as i32);
        assert!(!state.contains_key(&b"g1/waiting"[..]));
        assert!(!state.contains_key(&b"g1/acknowledged"[..]));
        // What is stored now needs nothing that is gone.
        let again = begin_step(&pipeline, partition, gone, true).unwrap();
        assert_eq!(again.next_offset(), gone);
        assert_eq!(again.ledgers(), pipeline.steps[partition].ledgers());
        lost += pipeline.steps[partition].ledgers()["w"].lost;
        pipeline.partials[partition].push(record(gone - 1, 0, ""));
    }
    assert!(lost > 0, "something was in no snapshot");
    pipeline.send(0, &clicks()[36..]);
    pipeline.decree(T0 + 60 * MINUTE);
    let ledger = pipeline.window_ledger("w");
    assert_eq!(
        (ledger.read, ledger.lost, ledger.balance()),
        (60, lost, 0),
        "{ledger:?}"
    );
    assert!(
        pipeline
            .dead
            .iter()
            .all(|dead| header(dead, "tidewheel-reason").is_some())
    );
}

#[test]
fn windows_whose_table_has_no_progress_are_written_again() {
    for refill in [true, false] {
        let mut pipeline = taken(24);
        pipeline.close();
        let before = pipeline.rows("w").len();
        pipeline.tables.remove("w");
        for partition in 0..pipeline.steps.len() {
            let waits = unacknowledged(begin_step(&pipeline, partition, 0, false));
            acknowledge(&mut pipeline, &waits, &hash(&waits), refill);
            let mut task = begin_step(&pipeline, partition, 0, false).unwrap();
            let rest = pipeline.partials[partition][task.next_offset() as usize..].to_vec();
            let end = pipeline.partials[partition].len() as i64;
            task.process(&rest, end, pipeline.clock_ms).unwrap();
            pipeline.steps[partition] = task;
            settle(&mut pipeline, partition);
        }
        pipeline.send(0, &clicks()[24..]);
        pipeline.close();
        let rows = pipeline.rows("w").len();
        let later = 9;
        assert_eq!(rows, if refill { before + later } else { later });
        assert_eq!(pipeline.window_ledger("w").balance(), 0);
    }
}
