//! What workers are allotted, and what they do where they cannot run.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tidewheel_engine::wire::acknowledgement::{Acknowledged, Missing, Place};
use tidewheel_log::{EmbeddedLog, Log, LogError, NewRecord, Options, Producer};
use tidewheel_planner::generations::{NewerPlan, NotRecomputed, partials_topics};
use tidewheel_planner::plan::Plan;
use tidewheel_sinks::Sink;
use tidewheel_sinks::embedded::{Columns, Database};
use tidewheel_worker::{
    Control, Limits, Sinks, SystemTimer, Worker, WorkerError, acknowledge, read_allotment,
};
use tokio_util::sync::CancellationToken;

use crate::around::{Around, Otherwise};
use crate::fixture::{SINK, create_partials, create_tables, create_topics, names, plan, source};

/// 2026-01-01T00:00:00Z.
const MIDNIGHT_MS: i64 = 1_767_225_600_000;

/// A pipeline whose windows hold `value`.
fn kpis(generation: Option<i64>, value: &str) -> Arc<Plan> {
    let generation = generation.map_or(String::new(), |n| format!(", generation: {n}"));
    plan(&format!(
        "{}apiVersion: tidewheel.dev/v1alpha1
kind: Pipeline
metadata: {{name: kpis, namespace: shop{generation}}}
spec:
  sources: [{{name: events}}]
  steps:
    - name: win
      aggregate: {{window: {{tumbling: 1m}}, sql: 'SELECT kind, {value} AS v FROM events GROUP BY kind'}}
  outputs:
    - {{name: wins, from: win, postgres: {{sink: tables}}}}
",
        source(2, "maxOutOfOrder: 10s")
    ))
}

pub(crate) async fn start(log: &EmbeddedLog, plan: &Arc<Plan>) -> Result<Worker, WorkerError> {
    start_on(Arc::new(log.clone()), plan).await
}

async fn start_on(log: Arc<dyn Log>, plan: &Arc<Plan>) -> Result<Worker, WorkerError> {
    let timer = Arc::new(SystemTimer);
    let limits = Limits::default();
    Worker::new(plan.clone(), log, Sinks::default(), timer, limits).await
}

pub(crate) fn log_of(plan: &Plan) -> EmbeddedLog {
    let log = EmbeddedLog::in_memory(Options::default());
    create_topics(&log, plan);
    log
}

#[tokio::test(flavor = "current_thread")]
async fn an_old_plan_that_is_started_again_is_refused() {
    let (old, new) = (kpis(Some(1), "count(*)"), kpis(Some(2), "sum(n)"));
    let log = log_of(&old);
    let first = start(&log, &old).await.unwrap();
    assert_eq!(first.partials_topics()[0].0, "shop.kpis.win.g1.partials");
    let second = start(&log, &new).await.unwrap();
    assert_eq!(second.partials_topics()[0].0, "shop.kpis.win.g2.partials");

    let allotted = || async { read_allotment(&log, &names(&old)).await.unwrap().unwrap() };
    let before = allotted().await;
    let refused = start(&log, &old).await.err();
    assert!(
        matches!(
            refused,
            Some(WorkerError::NewerPlan(NewerPlan { ours: 1, theirs: 2 }))
        ),
        "{refused:?}"
    );
    assert_eq!(allotted().await, before, "nothing was allotted to it");
    let again = start(&log, &new).await.unwrap();
    assert_eq!(again.partials_topics(), second.partials_topics());
}

/// Another plan begins whenever somebody looks whether what was allotted to it is there.
struct Outbidding {
    plan: Arc<Plan>,
    looks: AtomicUsize,
}

#[async_trait]
impl Otherwise for Outbidding {
    async fn producer(
        &self,
        inner: &EmbeddedLog,
        transactional_id: &str,
    ) -> Result<Box<dyn Producer>, LogError> {
        if self.looks.fetch_add(1, Ordering::Relaxed) > 0 {
            start(inner, &self.plan).await.unwrap();
        }
        inner.producer(transactional_id).await
    }
}

#[tokio::test(flavor = "current_thread")]
async fn two_plans_without_ages_that_begin_at_once_do_not_outbid_each_other_for_ever() {
    let (one, other) = (kpis(None, "count(*)"), kpis(None, "sum(n)"));
    let log = log_of(&one);
    let outbidding = Outbidding {
        plan: other.clone(),
        looks: AtomicUsize::new(0),
    };
    let around = Arc::new(Around {
        inner: log.clone(),
        otherwise: outbidding,
    });
    let outbid = start_on(around.clone(), &one).await.err();
    assert!(matches!(outbid, Some(WorkerError::Outbid)), "{outbid:?}");
    assert_eq!(around.otherwise.looks.load(Ordering::Relaxed), 2);
    // The same plan in another process is no other plan.
    let again = start_on(around, &other).await.unwrap();
    assert_eq!(again.partials_topics()[0].0, "shop.kpis.win.g2.partials");
}

#[tokio::test(flavor = "current_thread")]
async fn without_ages_the_plan_that_starts_last_is_the_newest() {
    let (old, new) = (kpis(None, "count(*)"), kpis(None, "sum(n)"));
    let log = log_of(&old);
    for (plan, topic) in [
        (&old, "shop.kpis.win.g1.partials"),
        (&new, "shop.kpis.win.g2.partials"),
        (&old, "shop.kpis.win.g3.partials"),
    ] {
        assert_eq!(
            start(&log, plan).await.unwrap().partials_topics()[0].0,
            topic
        );
    }
}

#[tokio::test(flavor = "current_thread")]
async fn topics_that_are_made_before_a_worker_starts_are_those_that_it_uses() {
    let (old, new) = (kpis(Some(1), "count(*)"), kpis(Some(2), "sum(n)"));
    let log = log_of(&old);
    for plan in [&old, &new, &new] {
        let known = read_allotment(&log, &names(plan)).await.unwrap();
        let foreseen = partials_topics(plan, known.as_ref()).unwrap();
        assert_eq!(start(&log, plan).await.unwrap().partials_topics(), foreseen);
    }
}

#[tokio::test(flavor = "current_thread")]
async fn without_its_generations_topic_no_worker_starts() {
    let plan = kpis(None, "count(*)");
    let log = log_of(&plan);
    log.delete_topic(&names(&plan).generations()).unwrap();
    let refused = start(&log, &plan).await.err();
    let Some(WorkerError::NoTopic { topic }) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(topic, "shop.kpis.generations");
}

#[tokio::test(flavor = "current_thread")]
async fn a_worker_waits_for_its_topics_and_says_so() {
    let plan = kpis(None, "count(*)");
    let log = log_of(&plan);
    let worker = start(&log, &plan).await.unwrap();
    let (control, stop) = (worker.control(), CancellationToken::new());
    let inputs: Vec<_> = worker.inputs(&stop).into_iter().map(tokio::spawn).collect();
    let look = || tokio::time::sleep(Duration::from_millis(5));

    let awaited = "waiting for topic shop.kpis.win.g1.partials, which `tidewheel provision` or the operator makes";
    let all_wait = || {
        let status = control.status();
        status.len() == 4
            && status
                .values()
                .all(|task| task.blocked.as_deref() == Some(awaited))
    };
    let waiting = async {
        while !all_wait() {
            look().await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(20), waiting).await;
    waited.unwrap_or_else(|_| panic!("{:#?}", control.status()));

    create_partials(&log, &worker);
    let going_on = async {
        while !control.sources_are_read().await.unwrap() {
            look().await;
        }
    };
    let went_on = tokio::time::timeout(Duration::from_secs(20), going_on).await;
    went_on.unwrap_or_else(|_| panic!("{:#?}", control.status()));
    stop.cancel();
    for input in inputs {
        input.await.unwrap();
    }
}

/// Runs `plan` until every window is closed.
pub(crate) async fn run(log: &EmbeddedLog, database: &Database, plan: &Arc<Plan>) {
    let closed = async |control: Control| control.close_windows().await.unwrap();
    run_while(log, database, plan, closed).await;
}

/// Runs `plan` until something is so.
pub(crate) async fn run_while(
    log: &EmbeddedLog,
    database: &Database,
    plan: &Arc<Plan>,
    until: impl AsyncFnOnce(Control),
) {
    let sinks = BTreeMap::from([(SINK.to_owned(), Arc::new(database.clone()) as Arc<dyn Sink>)]);
    let (timer, limits) = (Arc::new(SystemTimer), Limits::default());
    let worker = Worker::new(plan.clone(), Arc::new(log.clone()), sinks, timer, limits)
        .await
        .unwrap();
    create_partials(log, &worker);
    let (control, stop) = (worker.control(), CancellationToken::new());
    let inputs: Vec<_> = worker.inputs(&stop).into_iter().map(tokio::spawn).collect();
    let waited = tokio::time::timeout(Duration::from_secs(20), until(control.clone())).await;
    assert!(
        waited.is_ok(),
        "never: {:#?}; {:?}",
        control.status(),
        windows(database, plan).await
    );
    stop.cancel();
    for input in inputs {
        input.await.unwrap();
    }
}

/// A pipeline that counts events in windows of `size`.
fn counts(size: &str) -> Arc<Plan> {
    aggregating(
        "win",
        &format!("window: {{tumbling: {size}}}, sql: SELECT count(*) AS c FROM events"),
    )
}

/// A pipeline with the windows of one step, which is called `name`.
fn aggregating(name: &str, aggregate: &str) -> Arc<Plan> {
    aggregating_of("maxOutOfOrder: 0s", name, aggregate)
}

/// The same over a source with this event time.
fn aggregating_of(event_time: &str, name: &str, aggregate: &str) -> Arc<Plan> {
    plan(&format!(
        "{}apiVersion: tidewheel.dev/v1alpha1
kind: Pipeline
metadata: {{name: kpis, namespace: shop}}
spec:
  sources: [{{name: events}}]
  steps:
    - {{name: {name}, aggregate: {{{aggregate}}}}}
  outputs:
    - {{name: wins, from: {name}, postgres: {{sink: tables}}}}
",
        source(1, event_time)
    ))
}

/// The windows after an event at each tenth second up to 100 was counted in windows of 20 s, then in windows of 50 s: the second of the
/// start, that of the end, and the count. `retains`: whether the log still has all events when the size changes.
async fn windows_of_20_then_50_seconds(retains: bool) -> Vec<(String, String, i64)> {
    let (old, new) = (counts("20s"), counts("50s"));
    let log = log_of(&old);
    let folder = tempfile::tempdir().unwrap();
    let database = create_tables(&folder.path().join("tables.db"), &old).await;
    let topic = &old.sources[0].topic;
    let events = (0..=10).map(|tens| event(topic, tens));
    log.append(events.collect()).await.unwrap();
    run(&log, &database, &old).await;
    if !retains {
        log.delete_below(topic, 0, 5).await.unwrap();
    }
    run(&log, &database, &new).await;
    windows(&database, &new).await
}

/// An event at a tenth second.
fn event(topic: &str, tens: i64) -> NewRecord {
    let ts_ms = MIDNIGHT_MS + tens * 10_000;
    NewRecord {
        topic: topic.to_owned(),
        partition: Some(0),
        value: Some(format!("{{\"id\": \"{tens}\", \"ts\": {ts_ms}}}").into()),
        ..NewRecord::default()
    }
}

/// The rows of the only output.
async fn windows(database: &Database, plan: &Plan) -> Vec<(String, String, i64)> {
    let rows = database
        .rows(plan.outputs[0].table().unwrap(), Columns::Data)
        .await;
    let window = |row: &serde_json::Map<String, serde_json::Value>| {
        let second = |column: &str| row[column].as_str().unwrap()[14..19].to_owned();
        let count = row["c"].as_i64().unwrap();
        (second("window_start"), second("window_end"), count)
    };
    rows.unwrap().iter().map(window).collect()
}

#[tokio::test(flavor = "current_thread")]
async fn a_changed_size_counts_every_event_in_one_window() {
    // Windows up to 120 s are final. Those of both sizes begin together at 100 s.
    let windows = windows_of_20_then_50_seconds(true).await;
    let expected = [
        ("00:00", "00:20", 2),
        ("00:20", "00:40", 2),
        ("00:40", "01:00", 2),
        ("01:00", "01:20", 2),
        ("01:20", "01:40", 2),
        ("01:40", "02:30", 1),
    ];
    assert_eq!(windows, expected.map(owned));
}

#[tokio::test(flavor = "current_thread")]
async fn windows_that_cannot_be_computed_anew_stay() {
    let windows = windows_of_20_then_50_seconds(false).await;
    assert_eq!(windows.iter().map(|(.., count)| count).sum::<i64>(), 11);
    assert_eq!(windows.last(), Some(&owned(("01:40", "02:00", 1))));
}

/// A pipeline whose step `name` has windows of 20 s that stay open for long, and hold `value`.
fn amended(name: &str, value: &str) -> Arc<Plan> {
    aggregating(name, &amending(value))
}

fn amending(value: &str) -> String {
    format!(
        "window: {{tumbling: 20s}}, late: {{allowed: 1h, policy: Amend}}, sql: SELECT {value} AS c FROM events"
    )
}

/// Runs `plan` without closing any window, until there are so many.
async fn run_until(log: &EmbeddedLog, database: &Database, plan: &Arc<Plan>, count: usize) {
    let are_there = async |control: Control| {
        while windows(database, plan).await.len() != count
            || !control.sources_are_read().await.unwrap()
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    run_while(log, database, plan, are_there).await;
}

#[tokio::test(flavor = "current_thread")]
async fn open_windows_of_which_retention_has_taken_events_stay_when_sql_changes() {
    let (old, new) = (amended("win", "count(*)"), amended("win", "count(*) + 100"));
    for taken in [0, 5] {
        let log = log_of(&old);
        let folder = tempfile::tempdir().unwrap();
        let database = create_tables(&folder.path().join("tables.db"), &old).await;
        let topic = &old.sources[0].topic;
        // Up to 100 s: the windows that start up to 80 s are there, and open.
        let events = (0..=10).map(|tens| event(topic, tens));
        log.append(events.collect()).await.unwrap();
        run_until(&log, &database, &old, 5).await;
        log.delete_below(topic, 0, taken).await.unwrap();
        // Up to 200 s.
        let events = (11..=20).map(|tens| event(topic, tens));
        log.append(events.collect()).await.unwrap();
        // The window at 100 s has lost none of its events, but that is not known.
        let expected: &[(&str, &str, i64)] = match taken {
            0 => &[
                ("00:00", "00:20", 102),
                ("00:20", "00:40", 102),
                ("00:40", "01:00", 102),
                ("01:00", "01:20", 102),
                ("01:20", "01:40", 102),
                ("01:40", "02:00", 102),
                ("02:00", "02:20", 102),
                ("02:20", "02:40", 102),
                ("02:40", "03:00", 102),
                ("03:00", "03:20", 102),
            ],
            _ => &[
                ("00:00", "00:20", 2),
                ("00:20", "00:40", 2),
                ("00:40", "01:00", 2),
                ("01:00", "01:20", 2),
                ("01:20", "01:40", 2),
                ("02:00", "02:20", 102),
                ("02:20", "02:40", 102),
                ("02:40", "03:00", 102),
                ("03:00", "03:20", 102),
            ],
        };
        run_until(&log, &database, &new, expected.len()).await;
        let mut found = windows(&database, &new).await;
        found.sort();
        let expected: Vec<_> = expected.iter().map(|&window| owned(window)).collect();
        assert_eq!(found, expected, "{taken} events are gone");
        let allotted = read_allotment(&log, &names(&new)).await.unwrap().unwrap();
        // An hour is waited for what is late, and at 100 s the old generation had come.
        let expected = (taken > 0).then_some(NotRecomputed {
            from_ms: Some(MIDNIGHT_MS + 100_000 - 3_600_000),
            until_ms: MIDNIGHT_MS + 120_000,
        });
        assert_eq!(allotted.steps["win"].not_recomputed, expected);
    }
}

#[tokio::test(flavor = "current_thread")]
async fn what_retention_takes_before_a_changed_step_has_read_it_again_is_told_and_acknowledged() {
    let (old, new) = (amended("win", "count(*)"), amended("win", "count(*) + 100"));
    let log = log_of(&old);
    let folder = tempfile::tempdir().unwrap();
    let database = create_tables(&folder.path().join("tables.db"), &old).await;
    let topic = &old.sources[0].topic;
    let events = (0..=10).map(|tens| event(topic, tens));
    log.append(events.collect()).await.unwrap();
    run_until(&log, &database, &old, 5).await;
    // It is decided that all windows are computed anew, and nobody has begun to.
    drop(start(&log, &new).await.unwrap());
    log.delete_below(topic, 0, 3).await.unwrap();
    let waits = async |control: Control| {
        let status = || control.status().remove(&("events".to_owned(), 0));
        while status().is_none_or(|task| !task.blocked_until_mended) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let why = status().unwrap().blocked.unwrap();
        assert!(why.contains("offsets 0 to "), "{why}");
    };
    run_while(&log, &database, &new, waits).await;

    let place = Place {
        pipeline: new.full_name(),
        input: "events".to_owned(),
        partition: 0,
    };
    let missing = Missing::Offsets { from: 0, to: 3 };
    let known = Acknowledged::new(&missing.hash(&place), false);
    acknowledge(&log, &names(&new), (&place, None), &known)
        .await
        .unwrap();
    let is_counted = async |control: Control| {
        control.sources_are_read().await.unwrap();
        while windows(&database, &new).await.len() != 4 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let task = &control.status()[&("events".to_owned(), 0)];
        let ledger = &task.step_ledgers["win"];
        assert_eq!((ledger.read, ledger.lost, ledger.balance()), (11, 3, 0));
    };
    run_while(&log, &database, &new, is_counted).await;
    let mut found = windows(&database, &new).await;
    found.sort();
    let expected = [
        ("00:20", "00:40", 101),
        ("00:40", "01:00", 102),
        ("01:00", "01:20", 102),
        ("01:20", "01:40", 102),
    ];
    assert_eq!(found, expected.map(owned));
}

#[tokio::test(flavor = "current_thread")]
async fn what_retention_took_may_be_as_new_as_events_out_of_order_were_when_it_came() {
    let old = aggregating_of("maxOutOfOrder: 100s", "win", &amending("count(*)"));
    let new = aggregating_of("maxOutOfOrder: 0s", "win", &amending("count(*) + 100"));
    let log = log_of(&old);
    let folder = tempfile::tempdir().unwrap();
    let database = create_tables(&folder.path().join("tables.db"), &old).await;
    let topic = &old.sources[0].topic;
    // The newest come first.
    log.append((0..=10).rev().map(|tens| event(topic, tens)).collect())
        .await
        .unwrap();
    run_until(&log, &database, &old, 0).await;
    log.append(vec![event(topic, 20)]).await.unwrap();
    run_until(&log, &database, &old, 5).await;
    // Those from 60 s to 100 s.
    log.delete_below(topic, 0, 5).await.unwrap();
    log.append((11..=20).map(|tens| event(topic, tens)).collect())
        .await
        .unwrap();
    run_until(&log, &database, &new, 9).await;
    let mut found = windows(&database, &new).await;
    found.sort();
    let expected = [
        ("00:00", "00:20", 2),
        ("00:20", "00:40", 2),
        ("00:40", "01:00", 2),
        ("01:00", "01:20", 2),
        ("01:20", "01:40", 2),
        ("02:00", "02:20", 102),
        ("02:20", "02:40", 102),
        ("02:40", "03:00", 102),
        ("03:00", "03:20", 102),
    ];
    assert_eq!(found, expected.map(owned));
}

#[tokio::test(flavor = "current_thread")]
async fn a_step_of_another_name_takes_over_the_windows_of_its_output() {
    let old = amended("win", "count(*)");
    let log = log_of(&old);
    let folder = tempfile::tempdir().unwrap();
    let database = create_tables(&folder.path().join("tables.db"), &old).await;
    let topic = &old.sources[0].topic;
    let mut sent = 0;
    let names = [("win", 0), ("renamed", 100), ("win", 200), ("again", 300)];
    for (index, (name, more)) in names.into_iter().enumerate() {
        let plan = amended(name, &format!("count(*) + {more}"));
        for topic in tidewheel_planner::topics::of_pipeline(&plan) {
            log.create_topic(&tidewheel_worker::topic_settings(&topic))
                .unwrap();
        }
        // Two windows more each time, and the event that ends them.
        let until = 4 * (index as i64 + 1);
        log.append((sent..=until).map(|tens| event(topic, tens)).collect())
            .await
            .unwrap();
        sent = until + 1;
        let count = 2 * (index + 1);
        run_until(&log, &database, &plan, count).await;
        let counts = windows(&database, &plan).await;
        let counts: Vec<_> = counts.iter().map(|(.., count)| *count).collect();
        assert_eq!(counts, vec![2 + more; count], "{name}");
    }
}

/// A pipeline that counts events in sessions.
fn sessions(gap: &str) -> Arc<Plan> {
    aggregating(
        "win",
        &format!(
            "window: {{session: {{gap: {gap}}}}}, late: {{policy: Drop}}, sql: SELECT count(*) AS c FROM events"
        ),
    )
}

/// The sessions after events were counted with a gap of 15 s up to 100 s, and with one of 30 s up to 200 s.
async fn sessions_of_15_then_30_seconds(retains: bool) -> Vec<(String, String, i64)> {
    let (old, new) = (sessions("15s"), sessions("30s"));
    let log = log_of(&old);
    let folder = tempfile::tempdir().unwrap();
    let database = create_tables(&folder.path().join("tables.db"), &old).await;
    let topic = &old.sources[0].topic;
    log.append((0..=10).map(|tens| event(topic, tens)).collect())
        .await
        .unwrap();
    run(&log, &database, &old).await;
    if !retains {
        log.delete_below(topic, 0, 5).await.unwrap();
    }
    log.append([12, 20].map(|tens| event(topic, tens)).to_vec())
        .await
        .unwrap();
    run(&log, &database, &new).await;
    windows(&database, &new).await
}

#[tokio::test(flavor = "current_thread")]
async fn what_goes_on_with_a_session_from_before_a_change_is_no_session_of_its_own() {
    // The first is final up to 115 s. By the new gap the event at 120 s belongs to it.
    let found = sessions_of_15_then_30_seconds(true).await;
    let expected = [("00:00", "01:55", 11), ("03:20", "03:50", 1)];
    assert_eq!(found, expected.map(owned));
}

#[tokio::test(flavor = "current_thread")]
async fn a_session_that_may_have_lost_events_is_not_written() {
    // Of the events up to 100 s some are gone, and so may have been one to which that at 120 s belongs.
    let found = sessions_of_15_then_30_seconds(false).await;
    let expected = [("00:00", "01:55", 11), ("03:20", "03:50", 1)];
    assert_eq!(found, expected.map(owned));
}

fn owned((start, end, count): (&str, &str, i64)) -> (String, String, i64) {
    (start.to_owned(), end.to_owned(), count)
}
