//! Windows over windows: hours that are made of minutes, and what becomes of them when a step changes.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tidewheel_engine::Ledger;
use tidewheel_log::{EmbeddedLog, Log, NewRecord};
use tidewheel_planner::plan::Plan;
use tidewheel_planner::topics;
use tidewheel_sinks::Sink;
use tidewheel_sinks::embedded::{Columns, Database};
use tidewheel_worker::{Control, Limits, SystemTimer, Worker, topic_settings};
use tokio_util::sync::CancellationToken;

use crate::fixture::{SINK, create_tables, plan, source};
use crate::generations::{log_of, run, run_while, start};

/// 2026-01-01T00:00:00Z, ms.
const T0: i64 = 1_767_225_600_000;
/// An event every ten seconds.
const EVERY_S: i64 = 10;

const HOURS: &str = "window: {tumbling: 1h}, late: {policy: Drop}, sql: 'SELECT kind, max(c) AS most, sum(c) AS c, count(*) AS minutes FROM minutes GROUP BY kind'";

fn minutes(window: &str, value: &str) -> String {
    format!(
        "window: {{{window}}}, late: {{policy: Drop}}, sql: 'SELECT kind, {value} AS c FROM events GROUP BY kind'"
    )
}

/// A pipeline with minutes, and what is made of them; both in tables.
fn chained(minutes: &str, hours: Option<&str>) -> Arc<Plan> {
    plan(&yaml(minutes, hours))
}

/// A pipeline with plain minutes and hours, and with names of its own.
pub(crate) fn hourly_plan() -> Arc<Plan> {
    let yaml = yaml(&minutes("tumbling: 1m", "count(*)"), Some(HOURS));
    plan(&yaml.replace("events", "visits").replace("kpis", "hourly"))
}

fn yaml(minutes: &str, hours: Option<&str>) -> String {
    let (mut step, mut output) = (String::new(), "");
    if let Some(hours) = hours {
        step = format!("    - {{name: hours, aggregate: {{{hours}}}}}\n");
        output = "    - {name: hours, from: hours, postgres: {sink: tables}}\n";
    }
    format!(
        "{}apiVersion: tidewheel.dev/v1alpha1
kind: Pipeline
metadata: {{name: kpis, namespace: shop}}
spec:
  sources: [{{name: events}}]
  steps:
    - {{name: minutes, aggregate: {{{minutes}}}}}
{step}  outputs:
    - {{name: minutes, from: minutes, postgres: {{sink: tables}}}}
{output}",
        source(2, "maxOutOfOrder: 0s")
    )
}

/// Sends the events of some minutes: kind `a` in one partition, `b` in the other, and of `b` more in minutes that are odd.
async fn send(log: &dyn Log, plan: &Plan, minutes: std::ops::Range<i64>) {
    let mut events = Vec::new();
    for second in (minutes.start * 60..minutes.end * 60).step_by(EVERY_S as usize) {
        let more = usize::from((second / 60) % 2 == 1);
        for (kind, times) in [("a", 1), ("b", 1 + more)] {
            events.extend(std::iter::repeat_n(event(plan, kind, second), times));
        }
    }
    log.append(events).await.unwrap();
}

/// Sends an event of a kind in each of these minutes.
async fn send_of(log: &dyn Log, plan: &Plan, kind: &str, minutes: impl IntoIterator<Item = i64>) {
    let events = minutes
        .into_iter()
        .map(|minute| event(plan, kind, minute * 60));
    log.append(events.collect()).await.unwrap();
}

/// Kind `a` is in one partition, `b` in the other.
fn event(plan: &Plan, kind: &str, second: i64) -> NewRecord {
    let ts_ms = T0 + second * 1_000;
    let value = format!(r#"{{"id": "{kind}{second}", "ts": {ts_ms}, "kind": "{kind}"}}"#);
    NewRecord {
        topic: plan.sources[0].topic.clone(),
        partition: Some(i32::from(kind == "b")),
        value: Some(value.into()),
        ..NewRecord::default()
    }
}

/// Runs `plan` until every task of a step has seen the watermark of that minute.
async fn run_to(log: &EmbeddedLog, database: &Database, plan: &Arc<Plan>, step: &str, minute: i64) {
    let has_come = async |control: Control| {
        let is_there = || {
            let status = control.status();
            let of_step = status.iter().filter(|((input, _), _)| input == step);
            let watermarks: Vec<_> = of_step.map(|(_, task)| task.watermark_ms).collect();
            watermarks.len() == 2
                && watermarks
                    .iter()
                    .all(|ms| *ms >= Some(T0 + minute * 60_000))
        };
        while !is_there() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    run_while(log, database, plan, has_come).await;
}

/// The rows of an output: by minute of the start and kind, the numbers of these columns.
async fn rows(
    database: &Database,
    plan: &Plan,
    output: usize,
    columns: &[&str],
) -> BTreeMap<(i64, String), Vec<i64>> {
    let table = plan.outputs[output].table().unwrap();
    let rows = database.rows(table, Columns::Data).await.unwrap();
    let row = |row: &tidewheel_sinks::embedded::Row| {
        let start = row["window_start"].as_str().unwrap();
        let part = |range: std::ops::Range<usize>| start[range].parse::<i64>().unwrap();
        let minute = (part(8..10) - 1) * 1_440 + part(11..13) * 60 + part(14..16);
        let kind = row["kind"].as_str().unwrap().to_owned();
        let numbers = columns.iter().map(|name| row[*name].as_i64().unwrap());
        ((minute, kind), numbers.collect())
    };
    rows.iter().map(row).collect()
}

/// What hours have to be: the most in a minute, the sum, and how many minutes there were; `add`: to the count of each minute.
fn hour(kind: &str, minutes: std::ops::Range<i64>, add: i64) -> Vec<i64> {
    let per_minute = 60 / EVERY_S;
    let of = |minute: i64| match (kind, minute % 2) {
        ("b", 1) => 2 * per_minute + add,
        _ => per_minute + add,
    };
    let count = minutes.end - minutes.start;
    let all = || minutes.clone().map(of);
    vec![all().max().unwrap(), all().sum(), count]
}

fn hours(hours: &[(i64, std::ops::Range<i64>, i64)]) -> BTreeMap<(i64, String), Vec<i64>> {
    let of = |(start, minutes, add): &(i64, std::ops::Range<i64>, i64)| {
        ["a", "b"].map(|kind| ((*start, kind.to_owned()), hour(kind, minutes.clone(), *add)))
    };
    hours.iter().flat_map(of).collect()
}

const COLUMNS: [&str; 3] = ["most", "c", "minutes"];

#[tokio::test(flavor = "current_thread")]
async fn hours_are_made_of_minutes() {
    let plan = hourly_plan();
    let log = log_of(&plan);
    for partials in topics::of_partials(&plan, None).unwrap() {
        log.create_topic(&topic_settings(&partials)).unwrap();
    }
    check_hours(Arc::new(log), plan).await;
}

/// Sends events, runs a worker over all of them, and looks at what came out of [`hourly_plan`]. All topics are there.
pub(crate) async fn check_hours(log: Arc<dyn Log>, plan: Arc<Plan>) {
    let folder = tempfile::tempdir().unwrap();
    let database = create_tables(&folder.path().join("tables.db"), &plan).await;
    send(log.as_ref(), &plan, 0..150).await;
    let sinks = BTreeMap::from([(SINK.to_owned(), Arc::new(database.clone()) as Arc<dyn Sink>)]);
    let (timer, limits) = (Arc::new(SystemTimer), Limits::default());
    let worker = Worker::new(plan.clone(), log, sinks, timer, limits);
    let worker = worker.await.unwrap();
    let (control, stop) = (worker.control(), CancellationToken::new());
    let inputs: Vec<_> = worker.inputs(&stop).into_iter().map(tokio::spawn).collect();
    let closed = tokio::time::timeout(Duration::from_secs(60), control.close_windows()).await;
    let status = control.status();
    closed
        .unwrap_or_else(|_| panic!("not closed: {status:#?}"))
        .unwrap();
    stop.cancel();
    for input in inputs {
        input.await.unwrap();
    }
    let expected = hours(&[(0, 0..60, 0), (60, 60..120, 0), (120, 120..150, 0)]);
    assert_eq!(rows(&database, &plan, 1, &COLUMNS).await, expected);
    assert_eq!(rows(&database, &plan, 0, &["c"]).await.len(), 300);
    let mut ledger = Ledger::default();
    let ledgers = status
        .values()
        .filter_map(|task| task.step_ledgers.get("hours"));
    ledgers.for_each(|of_task| ledger.add(of_task));
    assert_eq!((ledger.read, ledger.written), (300, 300));
}

/// What is in the tables after the steps were changed from `old` to `new` when an hour and a half had been read, and three were read in the
/// end: the hours by these columns, and the counts of minutes.
async fn changed(
    old: &Arc<Plan>,
    new: &Arc<Plan>,
    columns: &[&str],
) -> (
    BTreeMap<(i64, String), Vec<i64>>,
    BTreeMap<(i64, String), Vec<i64>>,
) {
    let log = log_of(old);
    for topic in topics::of_pipeline(new) {
        log.create_topic(&topic_settings(&topic)).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tables.db");
    create_tables(&path, old).await;
    let database = create_tables(&path, new).await;
    send(&log, old, 0..90).await;
    let last = if old.outputs.len() > 1 {
        "hours"
    } else {
        "minutes"
    };
    // The outer step hears of what makes it emit something.
    let minute = if last == "hours" { 60 } else { 89 };
    run_to(&log, &database, old, last, minute).await;
    send(&log, old, 90..180).await;
    run(&log, &database, new).await;
    let hours = rows(&database, new, 1, columns).await;
    (hours, rows(&database, new, 0, &["c"]).await)
}

#[tokio::test(flavor = "current_thread")]
async fn a_changed_hour_is_made_of_all_its_minutes_again() {
    let plain = minutes("tumbling: 1m", "count(*)");
    let old = chained(&plain, Some(HOURS));
    let least = HOURS.replace("max(c)", "min(c) + 1000");
    let new = chained(&plain, Some(&least));
    let (found, minutes) = changed(&old, &new, &COLUMNS).await;
    let mut expected = hours(&[(0, 0..60, 0), (60, 60..120, 0), (120, 120..180, 0)]);
    for ((start, _), numbers) in &mut expected {
        if *start > 0 {
            numbers[0] = 60 / EVERY_S + 1_000;
        }
    }
    assert_eq!(found, expected);
    assert_eq!(minutes.len(), 360);
}

#[tokio::test(flavor = "current_thread")]
async fn changed_minutes_begin_with_the_hour_that_is_open() {
    let old = chained(&minutes("tumbling: 1m", "count(*)"), Some(HOURS));
    let new = chained(&minutes("tumbling: 1m", "count(*) + 100"), Some(HOURS));
    let (found, minutes) = changed(&old, &new, &COLUMNS).await;
    let expected = hours(&[(0, 0..60, 0), (60, 60..120, 100), (120, 120..180, 100)]);
    assert_eq!(found, expected);
    assert_eq!(minutes.len(), 360);
    let is_new = |(minute, numbers): (i64, &Vec<i64>)| (numbers[0] > 100) == (minute >= 60);
    assert!(
        minutes
            .iter()
            .all(|((minute, _), numbers)| is_new((*minute, numbers)))
    );
}

#[tokio::test(flavor = "current_thread")]
async fn hours_that_are_added_begin_with_the_one_that_is_open() {
    let plain = minutes("tumbling: 1m", "count(*)");
    let (old, new) = (chained(&plain, None), chained(&plain, Some(HOURS)));
    let (found, minutes) = changed(&old, &new, &COLUMNS).await;
    assert_eq!(found, hours(&[(60, 60..120, 0), (120, 120..180, 0)]));
    assert_eq!(minutes.len(), 360);
}

#[tokio::test(flavor = "current_thread")]
async fn hours_over_sessions_that_a_change_leaves_as_they_are_have_no_row_and_no_wrong_one() {
    // A session of each minute that is odd: those of `b` come twice in it.
    let sessions = minutes("session: {gap: 5s}", "count(*)");
    let old = chained(&sessions, Some(HOURS));
    let least = HOURS.replace("max(c)", "min(c)");
    let new = chained(&sessions, Some(&least));
    let (found, _) = changed(&old, &new, &["minutes"]).await;
    // A session of each event. Those of the first half of the second hour are not written again.
    let of_hour = |start: i64| ["a", "b"].map(|kind| ((start, kind.to_owned()), vec![360]));
    let expected: BTreeMap<_, _> = [0, 120].into_iter().flat_map(of_hour).collect();
    assert_eq!(found, expected);
}

#[tokio::test(flavor = "current_thread")]
async fn sessions_that_two_changes_leave_as_they_are_are_in_no_wrong_hour() {
    let over_sessions =
        |hours: &str| chained(&minutes("session: {gap: 5m}", "count(*)"), Some(hours));
    let old = over_sessions(HOURS);
    let log = log_of(&old);
    let folder = tempfile::tempdir().unwrap();
    let database = create_tables(&folder.path().join("tables.db"), &old).await;
    // One of `b` begins before the first one that is open at the change, of `a`, and its row is of the second hour.
    send_of(&log, &old, "a", 55..=90).await;
    send_of(
        &log,
        &old,
        "b",
        [10, 20].into_iter().chain(50..=62).chain([80, 90]),
    )
    .await;
    run_to(&log, &database, &old, "hours", 60).await;

    // One that never gets anywhere is between the two.
    start(&log, &over_sessions(&HOURS.replace("max(c)", "min(c)")))
        .await
        .unwrap();
    let new = over_sessions(&HOURS.replace("max(c)", "max(c) + 1000"));
    send_of(&log, &old, "a", (91..=130).chain([190])).await;
    send_of(&log, &old, "b", [130, 190]).await;
    run(&log, &database, &new).await;
    let hour =
        |start: i64, kind: &str, numbers: [i64; 3]| ((start, kind.to_owned()), numbers.to_vec());
    let expected = BTreeMap::from([
        hour(0, "b", [1, 2, 2]),
        hour(120, "a", [1_076, 76, 1]),
        hour(120, "b", [1_001, 1, 1]),
        hour(180, "a", [1_001, 1, 1]),
        hour(180, "b", [1_001, 1, 1]),
    ]);
    assert_eq!(rows(&database, &new, 1, &COLUMNS).await, expected);
}
