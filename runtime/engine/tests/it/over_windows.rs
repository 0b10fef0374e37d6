//! Windows over windows: what the tasks of the inner step send, once, of rows that are final.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use tidewheel_engine::stage2::{RecoveredStep, StepTask};
use tidewheel_engine::wire::partial;
use tidewheel_engine::wire::state::{Position, StepKey, StepProgress};
use tidewheel_log::{NewRecord, Record};
use tidewheel_planner::plan::Plan;

use crate::fixture::{MINUTE, Pipeline, T0, event, plan, record, step_setup};

const HOUR: i64 = 60 * MINUTE;

fn chained(late: &str, hours: &str) -> Arc<Plan> {
    let steps = format!(
        "
    - {{name: minutes, aggregate: {{window: {{tumbling: 1m}}, late: {late}, sql: 'SELECT page, count(*) AS n FROM clicks GROUP BY page HAVING count(*) < 9'}}}}
    - {{name: hours, aggregate: {{window: {{tumbling: 1h}}, late: {{policy: Drop}}, sql: '{hours}'}}}}"
    );
    plan(&steps, &["minutes", "hours"])
}

const MOST: &str =
    "SELECT page, max(n) AS most, 60 / (count(*) - 3) AS x FROM minutes GROUP BY page";

fn click(offset: i64, ms: i64, page: &str) -> Record {
    let members = format!("\"page\": \"{page}\"");
    record(offset, 3 * HOUR, &event("e", ms, &members))
}

/// What was sent to the outer step: the watermark after [`T0`] and how many rows there are.
fn fed(plan: &Plan, sent: &[NewRecord]) -> Vec<(Option<i64>, i64)> {
    let schema = &plan.aggregate(1).unwrap().partial_schema;
    let of = |record: &NewRecord| {
        assert_eq!(record.topic, "shop.kpis.hours.g1.partials");
        let (header, batch) = partial::decode(record.value.as_ref().unwrap(), schema).unwrap();
        assert_eq!(header.source, "minutes");
        let rows = batch.map_or(0, |batch| {
            let counts = batch.column(batch.num_columns() - 1);
            counts.as_primitive::<Int64Type>().values().iter().sum()
        });
        (header.watermark_ms.map(|ms| ms - T0), rows)
    };
    sent.iter().map(of).collect()
}

/// A task of the outer step that has taken what was sent to its partition.
fn outer(plan: &Arc<Plan>, sent: &[NewRecord], partition: i32) -> (StepTask, Vec<String>) {
    let mut setup = step_setup(plan, partition, 1);
    setup.step = 1;
    setup.feeders = vec!["minutes/0".to_owned(), "minutes/1".to_owned()];
    setup.snapshot_every = Duration::from_secs(5);
    let mut task = StepTask::begin(setup, &RecoveredStep::default()).unwrap();
    let own = sent
        .iter()
        .filter(|record| record.partition == Some(partition));
    let records: Vec<Record> = (0..)
        .zip(own)
        .map(|(offset, record)| crate::fixture::appended(offset, record))
        .collect();
    let effects = task.process(&records, records.len() as i64, T0).unwrap();
    let rows = effects
        .writes
        .iter()
        .flat_map(|write| crate::fixture::rows_of(&write.rows));
    let rows = rows
        .map(|row| format!("{} {}", row["page"], row["most"]))
        .collect();
    (task, rows)
}

#[test]
fn rows_are_sent_once_they_are_final_and_the_watermark_stays_behind_what_may_come() {
    let plan = chained("{allowed: 1m, policy: DeadLetter}", MOST);
    let mut pipeline = Pipeline::new(plan.clone(), 1);
    let clicks: Vec<Record> = (0..6).map(|n| click(n, n * 30_000, "a")).collect();
    pipeline.send(0, &clicks);
    let rows = |sent: &[(Option<i64>, i64)]| sent.iter().map(|(_, rows)| rows).sum::<i64>();
    assert_eq!(rows(&fed(&plan, &pipeline.fed)), 0, "no minute is final");
    // The first two minutes are final when the watermark has passed the allowance behind them.
    pipeline.decree(T0 + 3 * MINUTE);
    let sent = fed(&plan, &pipeline.fed);
    assert_eq!(rows(&sent), 2);
    assert!(
        sent.iter()
            .all(|(watermark_ms, _)| *watermark_ms <= Some(2 * MINUTE))
    );
    pipeline.close();
    let sent = fed(&plan, &pipeline.fed);
    assert_eq!(rows(&sent), 3);
    let written: Vec<String> = (0..2)
        .flat_map(|at| outer(&plan, &pipeline.fed, at).1)
        .collect();
    assert!(
        written.is_empty(),
        "the group is a division by zero: {written:?}"
    );
    let closing_ms = pipeline.sources[0].closing_watermark_ms();
    assert_eq!(closing_ms, Some(T0 + HOUR + MINUTE), "that of the hour");
}

#[test]
fn who_goes_on_from_the_progress_sends_nothing_again() {
    let plan = chained(
        "{policy: Drop}",
        "SELECT page, max(n) AS most FROM minutes GROUP BY page",
    );
    let mut pipeline = Pipeline::new(plan.clone(), 1);
    let clicks: Vec<Record> = (0..40)
        .map(|n| click(n, n * 20_000, ["a", "b", "c"][n as usize % 3]))
        .collect();
    pipeline.send(0, &clicks);
    let mut again = Vec::new();
    for (partition, whole) in pipeline.steps.iter().enumerate() {
        let state = pipeline.state_map("minutes", partition as i32);
        let progress = StepProgress::decode(&state[&StepKey::Progress.encode(1)]).unwrap();
        let at = Position {
            next_offset: progress.next_offset,
            watermark_ms: progress.watermark_ms,
        };
        let recovered = RecoveredStep {
            state,
            sinks: BTreeMap::from([("minutes".to_owned(), at)]),
            ..RecoveredStep::default()
        };
        let setup = step_setup(&plan, partition as i32, 1);
        let mut task = StepTask::begin(setup, &recovered).unwrap();
        let records = &pipeline.partials[partition];
        // The snapshot is older than the progress, or there is none.
        let from = task.next_offset() as usize;
        for record in &records[from..] {
            let effects = task
                .process(std::slice::from_ref(record), record.offset + 1, T0)
                .unwrap();
            again.extend(effects.log);
        }
        assert_eq!(task.step_ledgers(), whole.step_ledgers());
    }
    again.retain(|record| record.topic.ends_with(".partials"));
    let sent = fed(&plan, &again);
    assert!(sent.iter().all(|(_, rows)| *rows == 0), "{sent:?}");
    let rows: i64 = fed(&plan, &pipeline.fed).iter().map(|(_, rows)| rows).sum();
    assert!(rows > 20, "{rows}");
}

#[test]
fn what_comes_for_a_window_that_others_are_made_of_is_a_dead_letter_and_counts_nowhere() {
    let plan = chained(
        "{policy: DeadLetter}",
        "SELECT page, max(n) AS most FROM minutes GROUP BY page",
    );
    let mut pipeline = Pipeline::new(plan.clone(), 1);
    pipeline.send(0, &[click(0, 0, "a"), click(1, 5 * MINUTE, "a")]);
    let before = (pipeline.rows("minutes"), fed(&plan, &pipeline.fed).len());
    assert_eq!(before.0.len(), 1);
    // A partition that is added has an event of the first minute.
    let mut added = Pipeline::new(plan.clone(), 2);
    let late = added.take(1, &[click(0, 1, "a")]);
    pipeline.deliver(late);
    assert_eq!(
        (pipeline.rows("minutes"), fed(&plan, &pipeline.fed).len()),
        before
    );
    let letters: Vec<_> = pipeline
        .dead_letters()
        .into_iter()
        .map(|letter| letter.0)
        .collect();
    assert_eq!(letters, ["WindowPurged"]);
    let ledger = pipeline.window_ledger("minutes");
    assert_eq!(
        (ledger.written, ledger.dead_lettered["WindowPurged"]),
        (1, 1)
    );
}

#[test]
fn rows_that_cannot_be_computed_are_dead_letters_of_the_outer_step() {
    let sql = "SELECT page, sum(60 / (n - 2)) AS most FROM minutes WHERE n < 5 GROUP BY page";
    let plan = chained("{policy: DeadLetter}", sql);
    let mut pipeline = Pipeline::new(plan.clone(), 1);
    // One, two and six of a page in a minute; nine are left out by the inner step.
    let mut clicks = Vec::new();
    for (minute, (page, count)) in [("a", 1), ("a", 2), ("a", 6), ("a", 9)].iter().enumerate() {
        for _ in 0..*count {
            clicks.push(click(clicks.len() as i64, minute as i64 * MINUTE, page));
        }
    }
    pipeline.send(0, &clicks);
    pipeline.close();
    let letters = pipeline.dead_letters().into_iter();
    let letters: Vec<_> = letters.map(|(reason, step, _)| (reason, step)).collect();
    assert_eq!(letters, [("Evaluation".to_owned(), "hours".to_owned())]);
    let mut ledger = tidewheel_engine::Ledger::default();
    let steps = pipeline.steps.iter();
    steps.for_each(|step| ledger.add(&step.step_ledgers()["hours"]));
    let filtered = BTreeMap::from([("hours".to_owned(), 1), ("minutes".to_owned(), 1)]);
    assert_eq!((ledger.read, ledger.written), (4, 1));
    assert_eq!(ledger.filtered, filtered);
    assert_eq!(
        (ledger.dead_lettered["Evaluation"], ledger.balance()),
        (1, 0)
    );
}
