//! One worker on a tokio runtime: events in, tables, dead letters and ledgers out.
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use tidewheel_log::{EmbeddedLog, Log, NewRecord, Options};
use tidewheel_planner::plan::Plan;
use tidewheel_planner::topics;
use tidewheel_sinks::Sink;
use tidewheel_sinks::embedded::Columns;
use tidewheel_worker::{Limits, SystemTimer, Worker, topic_settings};
use tokio_util::sync::CancellationToken;

use crate::fixture::{SINK, create_tables, create_topics, header, names, plan, read_all, source};

const PIPELINE: &str = "apiVersion: tidewheel.dev/v1alpha1
kind: Pipeline
metadata: {name: kpis, namespace: shop}
spec:
  sources: [{name: events}]
  steps:
    - {name: parsed, sql: \"SELECT id, ts, kind, n, CAST(raw AS BIGINT) AS v FROM events WHERE kind <> 'skip'\"}
    - {name: once, deduplicate: {from: parsed, by: [id], within: 10m}}
    - name: win
      aggregate:
        window: {tumbling: 1m}
        sql: SELECT kind, count(*) AS c, sum(n) AS s FROM once GROUP BY kind HAVING count(*) > 1
    - {name: after, sql: 'SELECT kind, window_start, window_end, s * 2 AS double FROM win'}
  outputs:
    - {name: rows, from: once, postgres: {sink: tables}}
    - {name: wins, from: win, postgres: {sink: tables}}
    - {name: afters, from: after, postgres: {sink: tables}}
";

fn event(id: &str, second: u32, kind: &str, n: i64, raw: &str) -> String {
    json!({"id": id, "ts": format!("2026-01-01T00:{:02}:{:02}Z", second / 60, second % 60), "kind": kind, "n": n, "raw": raw}).to_string()
}

/// Four records of eleven are dead letters, one is a duplicate, one is filtered.
pub(crate) fn counts_plan() -> Arc<Plan> {
    plan(&format!("{}{PIPELINE}", source(1, "maxOutOfOrder: 10s")))
}

#[tokio::test(flavor = "current_thread")]
async fn events_become_rows_windows_dead_letters_and_ledgers() {
    let log = EmbeddedLog::in_memory(Options::default());
    let plan = counts_plan();
    create_topics(&log, &plan);
    for partials in topics::of_partials(&plan, None).unwrap() {
        log.create_topic(&topic_settings(&partials)).unwrap();
    }
    check_counts(Arc::new(log), plan).await;
}

/// Sends the events, runs a worker over all of them, and looks at everything that came out. All topics are there.
pub(crate) async fn check_counts(log: Arc<dyn Log>, plan: Arc<Plan>) {
    let folder = tempfile::tempdir().unwrap();
    let database = create_tables(&folder.path().join("tables.db"), &plan).await;

    let values = [
        event("1", 1, "a", 10, "1"),
        event("2", 2, "a", 20, "2"),
        event("2", 2, "a", 20, "2"),
        event("3", 3, "skip", 1, "x"),
        event("4", 4, "b", 1, "x"),
        "{".to_owned(),
        json!({"id": "5"}).to_string(),
        event("6", 5, "b", 7, "3"),
        event("7", 75, "a", 5, "4"),
        event("8", 6, "a", 1, "5"),
        event("9", 90, "a", 6, "6"),
    ];
    let record = |value: &String| NewRecord {
        topic: plan.sources[0].topic.clone(),
        partition: Some(0),
        value: Some(value.clone().into()),
        ..NewRecord::default()
    };
    log.append(values.iter().map(record).collect())
        .await
        .unwrap();

    let sinks = BTreeMap::from([(SINK.to_owned(), Arc::new(database.clone()) as Arc<dyn Sink>)]);
    let worker = Worker::new(
        plan.clone(),
        log.clone(),
        sinks,
        Arc::new(SystemTimer),
        Limits::default(),
    )
    .await
    .unwrap();
    let stop = CancellationToken::new();
    let inputs: Vec<_> = worker.inputs(&stop).into_iter().map(tokio::spawn).collect();
    let control = worker.control();
    let closed =
        tokio::time::timeout(std::time::Duration::from_secs(60), control.close_windows()).await;
    let status = control.status();
    closed
        .unwrap_or_else(|_| panic!("not closed: {status:#?}"))
        .unwrap();
    stop.cancel();
    for input in inputs {
        input.await.unwrap();
    }

    let rows = |output: usize| {
        let (database, plan) = (database.clone(), plan.clone());
        async move {
            let rows = database
                .rows(plan.outputs[output].table().unwrap(), Columns::Data)
                .await
                .unwrap();
            rows.into_iter().map(Value::Object).collect::<Vec<_>>()
        }
    };
    let ids: Vec<_> = rows(0)
        .await
        .iter()
        .map(|row| row["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids, ["1", "2", "6", "7", "8", "9"]);
    let window = |minute: u32| format!("2026-01-01T00:{minute:02}:00Z");
    assert_eq!(
        rows(1).await,
        [
            json!({"kind": "a", "c": 2, "s": 30, "window_start": window(0), "window_end": window(1)}),
            json!({"kind": "a", "c": 2, "s": 11, "window_start": window(1), "window_end": window(2)}),
        ]
    );
    assert_eq!(rows(2).await[0]["double"], 60);

    let letters: Vec<_> = read_all(log.as_ref(), &names(&plan).dead_letters(), 0)
        .await
        .iter()
        .map(|record| {
            let text = |name| header(record, name).unwrap_or_default();
            (
                text("tidewheel-offset"),
                text("tidewheel-reason"),
                text("tidewheel-step"),
            )
        })
        .collect();
    let letter = |offset: &str, reason: &str, step: &str| {
        (offset.to_owned(), reason.to_owned(), step.to_owned())
    };
    let mut sorted = letters.clone();
    sorted.sort();
    assert_eq!(
        sorted,
        [
            letter("4", "Evaluation", "parsed"),
            letter("5", "Malformed", ""),
            letter("6", "Missing", ""),
            letter("9", "Late", "win")
        ]
    );

    let source = &status[&("events".to_owned(), 0)];
    let ledger = &source.ledgers["rows"];
    assert_eq!(
        (
            ledger.read,
            ledger.written,
            ledger.duplicate,
            ledger.filtered["parsed"]
        ),
        (11, 6, 1, 1)
    );
    assert_eq!(ledger.balance(), 0);
    let step = &source.step_ledgers["win"];
    assert_eq!(
        (
            step.read,
            step.written,
            step.dead_lettered["Late"],
            step.balance()
        ),
        (11, 5, 1, 0)
    );
    let step = &status[&("win".to_owned(), 0)].ledgers["wins"];
    assert_eq!(
        (
            step.read,
            step.written,
            step.filtered["win"],
            step.balance()
        ),
        (5, 4, 1, 0)
    );
}
