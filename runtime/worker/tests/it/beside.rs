//! Tasks run beside each other: one that computes for long keeps neither the others nor the consumer group waiting.
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tidewheel_log::{EmbeddedLog, Log as _, NewRecord, Options};
use tidewheel_planner::plan::Table;
use tidewheel_sinks::embedded::{Columns, Database};
use tidewheel_sinks::{
    Change, Committed, Guarantee, Origin, OutputId, Progress, Refused, Sink, SinkError, TaskId,
    Writer,
};
use tidewheel_worker::{Limits, SystemTimer, Worker};
use tokio_util::sync::CancellationToken;

use crate::fixture::{SINK, create_tables, create_topics, plan, source};

const PIPELINE: &str = "apiVersion: tidewheel.dev/v1alpha1
kind: Pipeline
metadata: {name: kpis, namespace: shop}
spec:
  sources: [{name: events}]
  outputs: [{name: rows, from: events, postgres: {sink: tables}}]
";

/// Those who wait for each other keep their threads, as if they computed.
#[derive(Default)]
struct Meeting {
    here: Mutex<usize>,
    changed: Condvar,
}

impl Meeting {
    const EXPECTED: usize = 2;
    const PATIENCE: Duration = Duration::from_secs(20);

    /// Whether the others came, too.
    fn attend(&self) -> bool {
        let mut here = self.here.lock().unwrap();
        *here += 1;
        self.changed.notify_all();
        let waited = self
            .changed
            .wait_timeout_while(here, Self::PATIENCE, |here| *here < Self::EXPECTED);
        !waited.unwrap().1.timed_out()
    }
}

/// Tables whose writers meet before their first commit.
struct Meeters {
    inner: Database,
    meeting: Arc<Meeting>,
}

#[async_trait]
impl Sink for Meeters {
    fn guarantee(&self) -> Guarantee {
        self.inner.guarantee()
    }

    async fn writer(
        &self,
        output: &OutputId,
        table: &Table,
        task: &TaskId,
    ) -> Result<Box<dyn Writer>, SinkError> {
        let inner = self.inner.writer(output, table, task).await?;
        let meeting = Some(self.meeting.clone());
        Ok(Box::new(Meeter { inner, meeting }))
    }
}

struct Meeter {
    inner: Box<dyn Writer>,
    meeting: Option<Arc<Meeting>>,
}

#[async_trait]
impl Writer for Meeter {
    async fn begin_generation(
        &mut self,
        generation: i64,
        cut_ms: Option<i64>,
    ) -> Result<(), SinkError> {
        self.inner.begin_generation(generation, cut_ms).await
    }

    async fn last_commit(&mut self) -> Result<Option<(Progress, Vec<Refused>)>, SinkError> {
        self.inner.last_commit().await
    }

    async fn commit(
        &mut self,
        generation: i64,
        change: &Change,
        expected: Option<Progress>,
        next: Progress,
        kept: &[Refused],
        origin: Origin<'_>,
    ) -> Result<Committed, SinkError> {
        if let Some(meeting) = self.meeting.take() {
            // What this thread was to run next goes to another one.
            let met = tokio::task::block_in_place(|| meeting.attend());
            assert!(met, "the other task waits for this one");
        }
        self.inner
            .commit(generation, change, expected, next, kept, origin)
            .await
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
    let sink: Arc<dyn Sink> = Arc::new(Meeters {
        inner: database.clone(),
        meeting: Arc::default(),
    });
    let worker = Worker::new(
        plan.clone(),
        Arc::new(log),
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
