//! Where reading begins: once for all partitions that there are, and at the beginning for those that are added later.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tidewheel_log::{Cleanup, EmbeddedLog, Log, NewRecord, Options, TopicSettings};
use tidewheel_planner::plan::Plan;
use tidewheel_sinks::Sink;
use tidewheel_sinks::embedded::{Columns, Database};
use tidewheel_worker::{Limits, SystemTimer, Worker};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::fixture::{SINK, create_partials, create_tables, create_topics, names, plan, source};

const LATEST: &str = "Latest";
/// Long after the events of these tests, which are appended now.
const IN_THE_FUTURE: &str = "'2999-01-01T00:00:00Z'";

/// A pipeline with rows and windows over `events`, which has two partitions so far.
struct Stand {
    log: EmbeddedLog,
    database: Database,
    plan: Arc<Plan>,
    _folder: tempfile::TempDir,
}

/// A worker at work.
struct Running {
    stop: CancellationToken,
    inputs: Vec<JoinHandle<()>>,
}

impl Running {
    async fn stop(self) {
        self.stop.cancel();
        for input in self.inputs {
            input.await.unwrap();
        }
    }

    fn kill(self) {
        self.inputs.iter().for_each(JoinHandle::abort);
    }
}

impl Stand {
    async fn new(start: &str) -> Self {
        let plan = plan(&format!(
            "{}apiVersion: tidewheel.dev/v1alpha1
kind: Pipeline
metadata: {{name: kpis, namespace: shop}}
spec:
  sources: [{{name: events, start: {start}}}]
  steps:
    - {{name: win, aggregate: {{window: {{tumbling: 1m}}, sql: SELECT count(*) AS c FROM events}}}}
  outputs:
    - {{name: rows, from: events, postgres: {{sink: tables}}}}
    - {{name: wins, from: win, postgres: {{sink: tables}}}}
",
            source(2, "maxOutOfOrder: 0s")
        ));
        let log = EmbeddedLog::in_memory(Options::default());
        create_topics(&log, &plan);
        let folder = tempfile::tempdir().unwrap();
        let database = create_tables(&folder.path().join("tables.db"), &plan).await;
        Self {
            log,
            database,
            plan,
            _folder: folder,
        }
    }

    async fn worker(&self) -> Worker {
        let sink = Arc::new(self.database.clone()) as Arc<dyn Sink>;
        let sinks = BTreeMap::from([(SINK.to_owned(), sink)]);
        let (log, timer) = (Arc::new(self.log.clone()), Arc::new(SystemTimer));
        let worker = Worker::new(self.plan.clone(), log, sinks, timer, Limits::default())
            .await
            .unwrap();
        create_partials(&self.log, &worker);
        worker
    }

    async fn run(&self) -> Running {
        let worker = self.worker().await;
        let stop = CancellationToken::new();
        let inputs = worker.inputs(&stop).into_iter().map(tokio::spawn).collect();
        Running { stop, inputs }
    }

    async fn send(&self, partition: i32, ids: &[&str]) {
        let event = |id: &&str| NewRecord {
            topic: self.plan.sources[0].topic.clone(),
            partition: Some(partition),
            value: Some(format!("{{\"id\": \"{id}\", \"ts\": \"2026-01-01T00:00:00Z\"}}").into()),
            ..NewRecord::default()
        };
        self.log
            .append(ids.iter().map(event).collect())
            .await
            .unwrap();
    }

    fn grow(&self, topic: String, partitions: i32, cleanup: Cleanup) {
        let settings = TopicSettings {
            name: topic,
            partitions,
            cleanup,
        };
        self.log.create_topic(&settings).unwrap();
    }

    /// Gives the source a third partition, which has `ids` before any task can take it.
    async fn add_partition(&self, ids: &[&str]) {
        let topic = self.plan.sources[0].topic.clone();
        self.grow(topic, 3, Cleanup::Retention { ms: None });
        self.send(2, ids).await;
        self.grow(names(&self.plan).state("events"), 3, Cleanup::Compact);
    }

    async fn ids(&self) -> Vec<String> {
        let table = self.plan.outputs[0].table().unwrap();
        let rows = self.database.rows(table, Columns::Data).await.unwrap();
        let mut ids: Vec<_> = rows
            .iter()
            .map(|row| row["id"].as_str().unwrap().to_owned())
            .collect();
        ids.sort();
        ids
    }

    /// Waits until the table of rows holds exactly these.
    async fn expect(&self, ids: &[&str]) {
        let reached = async {
            while self.ids().await != ids {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let reached = tokio::time::timeout(Duration::from_secs(20), reached).await;
        assert!(
            reached.is_ok(),
            "expected {ids:?}, found {:?}",
            self.ids().await
        );
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_partition_that_is_added_while_a_worker_runs_is_read_from_its_beginning() {
    for start in [LATEST, IN_THE_FUTURE] {
        let stand = Stand::new(start).await;
        stand.send(0, &["before"]).await;
        let worker = stand.run().await;
        stand.send(1, &["b"]).await;
        stand.expect(&["b"]).await;
        stand.add_partition(&["c", "d"]).await;
        stand.expect(&["b", "c", "d"]).await;
        worker.stop().await;
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_partition_that_is_added_while_nobody_runs_is_read_from_its_beginning() {
    for start in [LATEST, IN_THE_FUTURE] {
        let stand = Stand::new(start).await;
        stand.send(0, &["before"]).await;
        let worker = stand.run().await;
        stand.send(0, &["a"]).await;
        stand.expect(&["a"]).await;
        worker.stop().await;
        stand.send(1, &["b"]).await;
        stand.add_partition(&["c"]).await;
        let worker = stand.run().await;
        stand.send(2, &["d"]).await;
        stand.expect(&["a", "b", "c", "d"]).await;
        worker.stop().await;
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_pipeline_that_dies_as_it_begins_has_begun() {
    let stand = Stand::new(LATEST).await;
    stand.send(0, &["before"]).await;
    // It never comes to a task.
    drop(stand.worker().await);
    stand.send(0, &["a"]).await;
    stand.add_partition(&["c"]).await;
    // Dies somewhere among its first steps.
    let worker = stand.run().await;
    tokio::task::yield_now().await;
    worker.kill();
    stand.send(1, &["b"]).await;
    let worker = stand.run().await;
    stand.expect(&["a", "b", "c"]).await;
    worker.stop().await;
}

#[tokio::test(flavor = "current_thread")]
async fn two_workers_agree_on_where_a_pipeline_begins() {
    let stand = Stand::new(LATEST).await;
    stand.send(0, &["before"]).await;
    let first = stand.run().await;
    stand.send(1, &["b"]).await;
    let second = stand.run().await;
    stand.add_partition(&["c"]).await;
    stand.send(0, &["a"]).await;
    stand.expect(&["a", "b", "c"]).await;
    first.kill();
    stand.send(2, &["d"]).await;
    stand.expect(&["a", "b", "c", "d"]).await;
    second.stop().await;
}
