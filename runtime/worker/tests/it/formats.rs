//! Golden bytes of the generations topic: written the same, and read, by every later build. `UPDATE_GOLDEN=1` writes the file.
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tidewheel_log::{EmbeddedLog, Log, NewRecord, Options};
use tidewheel_planner::plan::Plan;
use tidewheel_worker::{Allotment, Limits, Sinks, SystemTimer, Worker};

use crate::fixture::{create_topics, names, plan, read_all, source};

const PIPELINE: &str = "apiVersion: tidewheel.dev/v1alpha1
kind: Pipeline
metadata: {name: kpis, namespace: shop}
spec:
  sources: [{name: events}]
  steps:
    - {name: once, deduplicate: {from: events, by: [id], within: 10m}}
    - name: win
      aggregate: {window: {tumbling: 1m}, late: {allowed: 5m}, sql: 'SELECT kind, count(*) AS c FROM once GROUP BY kind'}
  outputs:
    - {name: rows, from: once, postgres: {sink: tables}}
    - {name: wins, from: win, postgres: {sink: tables}}
";

/// Stands where fingerprints stand: those are the planner's, and change with what they cover.
const FINGERPRINT: &str = "00000000000000000000000000000000";

fn log_of(plan: &Plan) -> EmbeddedLog {
    let log = EmbeddedLog::in_memory(Options::default());
    create_topics(&log, plan);
    log
}

/// Starts a worker; the newest value of the generations topic.
async fn allotted(log: &EmbeddedLog, plan: &Arc<Plan>) -> Bytes {
    let timer = Arc::new(SystemTimer);
    Worker::new(
        plan.clone(),
        Arc::new(log.clone()),
        Sinks::default(),
        timer,
        Limits::default(),
    )
    .await
    .unwrap();
    let record = read_all(log, &names(plan).generations(), 0)
        .await
        .pop()
        .unwrap();
    assert_eq!(record.key.unwrap(), "plan");
    record.value.unwrap()
}

fn without_fingerprints(value: &[u8]) -> String {
    let mut value: serde_json::Value = serde_json::from_slice(value).unwrap();
    for part in ["steps", "outputs"] {
        for allotted in value[part].as_object_mut().unwrap().values_mut() {
            assert_eq!(
                allotted["fingerprint"].as_str().unwrap().len(),
                FINGERPRINT.len()
            );
            allotted["fingerprint"] = FINGERPRINT.into();
        }
    }
    value.to_string()
}

#[tokio::test(flavor = "current_thread")]
async fn the_generations_of_a_plan() {
    let plan = plan(&format!("{}{PIPELINE}", source(1, "maxOutOfOrder: 10s")));
    let written = without_fingerprints(&allotted(&log_of(&plan), &plan).await);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden/generations.v1.json");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &written).unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap();
    assert_eq!(stored, written, "the format has changed");

    let log = log_of(&plan);
    let mut producer = log.producer("an earlier build").await.unwrap();
    let record = NewRecord {
        topic: names(&plan).generations(),
        partition: Some(0),
        key: Some("plan".into()),
        value: Some(stored.into()),
        headers: Vec::new(),
    };
    producer.commit(vec![record]).await.unwrap();
    let read = Allotment::read(&log, &names(&plan)).await.unwrap().unwrap();
    let step = &read.steps["win"];
    assert_eq!(
        (
            read.revision,
            step.number,
            step.cut_ms,
            step.size_ms,
            step.allowed_ms
        ),
        (1, 1, None, 60_000, 300_000)
    );
    assert_eq!(read.outputs["rows"].number, 1);

    // What it says of fingerprints is no longer so: the next generations follow on it.
    let value: serde_json::Value = serde_json::from_slice(&allotted(&log, &plan).await).unwrap();
    assert_eq!(
        (
            &value["revision"],
            &value["steps"]["win"]["number"],
            &value["outputs"]["rows"]["number"]
        ),
        (&2.into(), &2.into(), &2.into())
    );
}
