//! Tasks run beside each other: one that computes for long keeps neither the others nor the consumer group waiting.
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tidewheel_log::{EmbeddedLog, Log as _, LogError, NewRecord, Options, Producer};
use tidewheel_sinks::Sink;
use tidewheel_sinks::embedded::Columns;
use tidewheel_worker::{Limits, SystemTimer, Worker};
use tokio_util::sync::CancellationToken;

use crate::around::{Around, Otherwise};
use crate::fixture::{SINK, create_tables, create_topics, names, plan, source};

const PIPELINE: &str = "apiVersion: tidewheel.dev/v1alpha1
kind: Pipeline
metadata: {name: kpis, namespace: shop}
spec:
  sources: [{name: events}]
  outputs: [{name: rows, from: events, postgres: {sink: tables}}]
";

/// A log at which the tasks of two partitions meet as they begin. Who waits keeps the thread, as if it computed.
struct Meeting {
    /// The transactional ids of those who are expected.
    expected: [String; 2],
    here: Mutex<usize>,
    changed: Condvar,
}

impl Meeting {
    const PATIENCE: Duration = Duration::from_secs(20);

    /// Whether the other came, too.
    fn attend(&self) -> bool {
        let mut here = self.here.lock().unwrap();
        *here += 1;
        self.changed.notify_all();
        let waited = self
            .changed
            .wait_timeout_while(here, Self::PATIENCE, |here| *here < self.expected.len());
        !waited.unwrap().1.timed_out()
    }
}

#[async_trait]
impl Otherwise for Meeting {
    async fn producer(
        &self,
        inner: &EmbeddedLog,
        transactional_id: &str,
    ) -> Result<Box<dyn Producer>, LogError> {
        if self.expected.iter().any(|id| id == transactional_id) {
            // What this thread was to run next goes to another one.
            let met = tokio::task::block_in_place(|| self.attend());
            assert!(met, "the other task waits for this one");
        }
        inner.producer(transactional_id).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn tasks_of_one_input_compute_at_the_same_time() {
    let plan = plan(&format!("{}{PIPELINE}", source(2, "maxOutOfOrder: 0s")));
    let log = EmbeddedLog::in_memory(Options::default());
    create_topics(&log, &plan);
    for partition in [0, 1] {
        let event = NewRecord {
            topic: plan.sources[0].topic.clone(),
            partition: Some(partition),
            value: Some("{\"id\": \"a\", \"ts\": \"2026-01-01T00:00:00Z\"}".into()),
            ..NewRecord::default()
        };
        log.append(vec![event]).await.unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let database = create_tables(&folder.path().join("tables.db"), &plan).await;
    let sink: Arc<dyn Sink> = Arc::new(database.clone());
    let meeting = Meeting {
        expected: [0, 1].map(|partition| names(&plan).task("events", partition)),
        here: Mutex::default(),
        changed: Condvar::default(),
    };
    let around = Around {
        inner: log,
        otherwise: meeting,
    };
    let worker = Worker::new(
        plan.clone(),
        Arc::new(around),
        BTreeMap::from([(SINK.to_owned(), sink)]),
        Arc::new(SystemTimer),
        Limits::default(),
    );
    let worker = worker.await.unwrap();
    let stop = CancellationToken::new();
    let inputs: Vec<_> = worker.inputs(&stop).into_iter().map(tokio::spawn).collect();
    worker.control().close_windows().await.unwrap();
    stop.cancel();
    for input in inputs {
        input.await.unwrap();
    }
    let table = plan.outputs[0].table().unwrap();
    let rows = database.rows(table, Columns::Data).await.unwrap();
    assert_eq!(rows.len(), 2);
}
