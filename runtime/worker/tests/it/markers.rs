//! Offsets that hold no records, such as those of the markers of transactions: they may be gone before anybody asks.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;

use tidewheel_engine::wire::state::{SOURCE_PROGRESS_KEY, SourceProgress};
use tidewheel_log::{
    EmbeddedLog, Fetched, Home, Log as _, LogError, NewRecord, Options, Producer, Reader,
};
use tidewheel_planner::plan::Plan;
use tidewheel_sinks::Sink;
use tidewheel_sinks::embedded::{Columns, Database};
use tidewheel_worker::{Control, Limits, SystemTimer, Timer, Worker};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::around::{Around, Otherwise};
use crate::fixture::{SINK, create_tables, create_topics, names, plan, read_all, source};

const PIPELINE: &str = "apiVersion: tidewheel.dev/v1alpha1
kind: Pipeline
metadata: {name: kpis, namespace: shop}
spec:
  sources: [{name: events}]
  outputs: [{name: rows, from: events, postgres: {sink: tables}}]
";

/// A clock on which a second takes a millisecond.
struct Hurried(Instant);

#[async_trait]
impl Timer for Hurried {
    fn now_ms(&self) -> i64 {
        let elapsed = i64::try_from(self.0.elapsed().as_micros()).unwrap();
        1_700_000_000_000 + elapsed
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration / 1_000).await;
    }
}

/// The embedded log as Kafka would be: what holds no records is passed after the records before it. And commits are not answered while
/// the broker is away.
struct AsKafka {
    is_away: Arc<AtomicBool>,
}

#[async_trait]
impl Otherwise for AsKafka {
    async fn producer(
        &self,
        inner: &EmbeddedLog,
        transactional_id: &str,
    ) -> Result<Box<dyn Producer>, LogError> {
        let inner = inner.producer(transactional_id).await?;
        let is_away = self.is_away.clone();
        Ok(Box::new(Answering { inner, is_away }))
    }

    fn reader(&self, inner: Box<dyn Reader>) -> Box<dyn Reader> {
        Box::new(GapsLater { inner, gap: None })
    }
}

struct Answering {
    inner: Box<dyn Producer>,
    is_away: Arc<AtomicBool>,
}

#[async_trait]
impl Producer for Answering {
    async fn commit(&mut self, records: Vec<NewRecord>) -> Result<(), LogError> {
        if self.is_away.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        self.inner.commit(records).await
    }

    async fn settle(&mut self, home: Home) -> Result<(), LogError> {
        self.inner.settle(home).await
    }
}

struct GapsLater {
    inner: Box<dyn Reader>,
    /// What is left of the last answer: the way past what holds no records.
    gap: Option<Fetched>,
}

#[async_trait]
impl Reader for GapsLater {
    async fn fetch(
        &mut self,
        max_records: usize,
        max_bytes: usize,
        max_wait: Duration,
    ) -> Result<Fetched, LogError> {
        if let Some(gap) = self.gap.take() {
            return Ok(gap);
        }
        let mut fetched = self.inner.fetch(max_records, max_bytes, max_wait).await?;
        if let Some(last) = fetched.records.last() {
            let behind = last.offset + 1;
            self.gap = Some(Fetched {
                records: Vec::new(),
                next_offset: fetched.next_offset,
                at_end: fetched.at_end,
            });
            fetched.next_offset = behind;
            fetched.at_end = false;
        }
        Ok(fetched)
    }
}

/// A pipeline that copies what producers write in transactions.
struct Stand {
    plan: Arc<Plan>,
    log: EmbeddedLog,
    database: Database,
    /// Whether the broker is away.
    is_away: Arc<AtomicBool>,
    _folder: tempfile::TempDir,
}

struct Running {
    stop: CancellationToken,
    inputs: Vec<JoinHandle<()>>,
    control: Control,
}

impl Running {
    async fn end(self, kills: bool) {
        if kills {
            self.inputs.iter().for_each(JoinHandle::abort);
        }
        self.stop.cancel();
        for input in self.inputs {
            assert!(input.await.is_ok() || kills);
        }
    }

    /// Where the only task is.
    fn at(&self) -> i64 {
        let status = self.control.status();
        status.values().next().map_or(-1, |task| task.next_offset)
    }
}

impl Stand {
    async fn new() -> Self {
        let plan = plan(&format!(
            "{}{PIPELINE}",
            source(1, "maxOutOfOrder: 0s, idleAfter: 24h")
        ));
        let log = EmbeddedLog::in_memory(Options {
            transaction_markers: true,
            ..Options::default()
        });
        create_topics(&log, &plan);
        let folder = tempfile::tempdir().unwrap();
        let database = create_tables(&folder.path().join("tables.db"), &plan).await;
        Self {
            plan,
            log,
            database,
            is_away: Arc::default(),
            _folder: folder,
        }
    }

    fn topic(&self) -> &str {
        &self.plan.sources[0].topic
    }

    async fn send(&self, id: &str) {
        let event = NewRecord {
            topic: self.topic().to_owned(),
            partition: Some(0),
            value: Some(format!("{{\"id\": \"{id}\", \"ts\": \"2026-01-01T00:00:00Z\"}}").into()),
            ..NewRecord::default()
        };
        let mut producer = self.log.producer("somebody else").await.unwrap();
        producer.commit(vec![event]).await.unwrap();
    }

    async fn end(&self) -> i64 {
        self.log.offsets(self.topic(), 0).await.unwrap().end
    }

    /// Retention takes everything.
    async fn forget(&self) {
        let end = self.end().await;
        self.log.delete_below(self.topic(), 0, end).await.unwrap();
    }

    async fn run(&self, timer: Arc<dyn Timer>) -> Running {
        let sink = Arc::new(self.database.clone()) as Arc<dyn Sink>;
        let sinks = BTreeMap::from([(SINK.to_owned(), sink)]);
        let is_away = self.is_away.clone();
        let log = Around {
            inner: self.log.clone(),
            otherwise: AsKafka { is_away },
        };
        let limits = Limits {
            finish_within: Duration::from_secs(3_600),
            ..Limits::default()
        };
        let worker = Worker::new(self.plan.clone(), Arc::new(log), sinks, timer, limits);
        let worker = worker.await.unwrap();
        let stop = CancellationToken::new();
        Running {
            inputs: worker.inputs(&stop).into_iter().map(tokio::spawn).collect(),
            control: worker.control(),
            stop,
        }
    }

    async fn ids(&self) -> Vec<String> {
        let table = self.plan.outputs[0].table().unwrap();
        let rows = self.database.rows(table, Columns::Data).await.unwrap();
        let id = |row: &tidewheel_sinks::embedded::Row| row["id"].as_str().unwrap().to_owned();
        rows.iter().map(id).collect()
    }

    /// How far the progress in the log goes.
    async fn covered(&self) -> i64 {
        let state = read_all(&self.log, &names(&self.plan).state("events"), 0).await;
        let mut newest_first = state.iter().rev();
        let progress = newest_first
            .find(|record| record.key.as_deref() == Some(SOURCE_PROGRESS_KEY.as_bytes()));
        progress.map_or(-1, |record| {
            let progress = SourceProgress::decode(record.value.as_ref().unwrap()).unwrap();
            progress.main.next_offset
        })
    }
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let reached = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let reached = tokio::time::timeout(Duration::from_secs(20), reached).await;
    assert!(reached.is_ok(), "never: {what}");
}

#[tokio::test(flavor = "current_thread")]
async fn a_task_that_rests_has_covered_all_that_held_nothing() {
    let stand = Stand::new().await;
    stand.send("a").await;
    let end = stand.end().await;
    let worker = stand.run(Arc::new(Hurried(Instant::now()))).await;
    until("progress at the end", async || stand.covered().await == end).await;
    worker.end(true).await;
    stand.forget().await;
    // Nobody is asked about a loss that is none.
    let worker = stand.run(Arc::new(SystemTimer)).await;
    stand.send("b").await;
    until("both rows", async || stand.ids().await == ["a", "b"]).await;
    worker.end(false).await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_task_that_stops_has_covered_all_that_held_nothing() {
    let stand = Stand::new().await;
    stand.send("a").await;
    let end = stand.end().await;
    let worker = stand.run(Arc::new(SystemTimer)).await;
    until("the end", async || worker.at() == end).await;
    worker.end(false).await;
    stand.forget().await;
    let worker = stand.run(Arc::new(SystemTimer)).await;
    stand.send("b").await;
    until("both rows", async || stand.ids().await == ["a", "b"]).await;
    worker.end(false).await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_task_that_stops_waits_for_no_broker_to_hear_its_last_word() {
    let stand = Stand::new().await;
    stand.send("a").await;
    let end = stand.end().await;
    let worker = stand.run(Arc::new(SystemTimer)).await;
    until("the end", async || worker.at() == end).await;
    assert_ne!(stand.covered().await, end, "it has something to say");
    stand.is_away.store(true, Ordering::Relaxed);
    let ended = tokio::time::timeout(Duration::from_secs(60), worker.end(false)).await;
    ended.expect("it waits");
}
