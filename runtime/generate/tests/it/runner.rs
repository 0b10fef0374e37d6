//! Events in the log: each once, whatever happens to the runner.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::Value;
use tidewheel_crds::EventSourceSpec;
use tidewheel_generate::{Ended, Generator, Runner, RunnerError};
use tidewheel_log::{
    Appended, Cleanup, EmbeddedLog, Home, Log, LogError, Member, NewRecord, Offsets, Options,
    Producer, Reader, Record, SystemClock, TopicInfo, TopicSettings,
};
use tokio_util::sync::CancellationToken;

use crate::setup::{EVERYTHING, Hand, NEW_YEAR_MS, all, small, source, spec};

pub(crate) const POSITIONS: &str = "_positions";
const PARTITIONS: i32 = 3;

pub(crate) fn log() -> Arc<EmbeddedLog> {
    let log = EmbeddedLog::in_memory(Options::default());
    create_topics(&log);
    Arc::new(log)
}

fn create_topics(log: &EmbeddedLog) {
    let retention = Cleanup::Retention { ms: None };
    for (name, partitions, cleanup) in [
        ("shop.clicks", PARTITIONS, retention),
        (POSITIONS, 1, Cleanup::Compact),
    ] {
        log.create_topic(&TopicSettings {
            name: name.into(),
            partitions,
            cleanup,
        })
        .unwrap();
    }
}

pub(crate) async fn open(
    log: &Arc<impl Log>,
    clock: &Arc<Hand>,
    spec: &EventSourceSpec,
) -> Result<Runner, RunnerError> {
    Runner::open(log.clone(), clock.clone(), spec, &source(spec), POSITIONS).await
}

async fn events(log: &impl Log) -> Vec<(i32, Record)> {
    let mut events = Vec::new();
    for partition in 0..PARTITIONS {
        let end = log.offsets("shop.clicks", partition).await.unwrap().end;
        let mut reader = log.reader("shop.clicks", partition, 0).await.unwrap();
        loop {
            let fetched = reader.fetch(10_000, 1 << 24, Duration::ZERO).await.unwrap();
            events.extend(
                fetched
                    .records
                    .into_iter()
                    .map(|record| (partition, record)),
            );
            if fetched.next_offset >= end {
                break;
            }
        }
    }
    events
}

/// Ids depend on nothing but the event's number.
fn ids<'a>(events: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
    let id = |event: &[u8]| {
        serde_json::from_slice::<Value>(event).unwrap()["id"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let mut ids: Vec<_> = events.into_iter().map(id).collect();
    ids.sort_unstable();
    ids
}

fn expected_ids(spec: &EventSourceSpec) -> Vec<String> {
    ids(all(Generator::new(spec).unwrap()).iter().map(AsRef::as_ref))
}

pub(crate) async fn logged_ids(log: &impl Log) -> Vec<String> {
    let events = events(log).await;
    ids(events
        .iter()
        .map(|(_, record)| record.value.as_deref().unwrap()))
}

/// The newest value of each key in the topic of positions.
pub(crate) async fn positions(log: &impl Log) -> BTreeMap<String, Bytes> {
    let mut reader = log.reader(POSITIONS, 0, 0).await.unwrap();
    let fetched = reader.fetch(10_000, 1 << 24, Duration::ZERO).await.unwrap();
    let text = |key: Option<Bytes>| String::from_utf8(key.unwrap().to_vec()).unwrap();
    fetched
        .records
        .into_iter()
        .map(|record| (text(record.key), record.value.unwrap()))
        .collect()
}

#[tokio::test]
async fn a_run_makes_the_declared_events_and_ends() {
    let (log, spec) = (log(), small(200));
    let runner = Runner::open(
        log.clone(),
        Arc::new(SystemClock),
        &spec,
        &source(&spec),
        POSITIONS,
    )
    .await
    .unwrap();
    let made = runner.made();
    assert_eq!(
        runner.run(CancellationToken::new()).await.unwrap(),
        Ended::Finished
    );
    assert_eq!(*made.borrow(), 200);
    assert_eq!(logged_ids(log.as_ref()).await, expected_ids(&spec));
}

#[tokio::test]
async fn a_step_makes_what_is_due_at_the_time_it_was_due() {
    let (log, clock, spec) = (log(), Hand::at(NEW_YEAR_MS), small(1_000));
    let mut runner = open(&log, &clock, &spec).await.unwrap();
    assert_eq!(runner.step().await.unwrap().made, 1);
    assert_eq!(runner.step().await.unwrap().made, 0);
    clock.advance(20);
    assert_eq!(runner.step().await.unwrap().made, 20);
    clock.advance(900);
    assert_eq!(runner.step().await.unwrap().made, 900);

    let mut times: Vec<_> = events(log.as_ref())
        .await
        .iter()
        .map(|(_, record)| {
            let event: Value = serde_json::from_slice(record.value.as_ref().unwrap()).unwrap();
            chrono::DateTime::parse_from_rfc3339(event["ts"].as_str().unwrap())
                .unwrap()
                .timestamp_millis()
        })
        .collect();
    times.sort_unstable();
    assert_eq!(times, (NEW_YEAR_MS..=NEW_YEAR_MS + 920).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_runner_rests_until_the_next_event_and_never_spins() {
    let (log, clock) = (log(), Hand::at(NEW_YEAR_MS));
    let mut slow = small(3);
    slow.generator.as_mut().unwrap().events_per_second = 2;
    let mut runner = open(&log, &clock, &slow).await.unwrap();
    assert_eq!(
        runner.step().await.unwrap().rest,
        Some(Duration::from_millis(500))
    );
    clock.advance(499);
    assert_eq!(
        runner.step().await.unwrap().rest,
        Some(Duration::from_millis(20))
    );
    clock.advance(501);
    let last = runner.step().await.unwrap();
    assert_eq!((last.made, last.rest), (2, None));
}

#[tokio::test]
async fn events_of_one_key_share_a_partition() {
    let (log, clock, spec) = (log(), Hand::at(NEW_YEAR_MS), small(600));
    let mut runner = open(&log, &clock, &spec).await.unwrap();
    clock.advance(900);
    runner.step().await.unwrap();
    let mut partition_of = BTreeMap::new();
    for (partition, record) in events(log.as_ref()).await {
        let event: Value = serde_json::from_slice(record.value.as_ref().unwrap()).unwrap();
        let key = record.key.unwrap();
        assert_eq!(key.as_ref(), event["user_id"].as_str().unwrap().as_bytes());
        assert_eq!(*partition_of.entry(key).or_insert(partition), partition);
    }
    assert!(
        partition_of
            .values()
            .collect::<std::collections::BTreeSet<_>>()
            .len()
            > 1
    );
}

#[tokio::test]
async fn whoever_opens_it_again_goes_on_with_the_next_event() {
    let folder = tempfile::tempdir().unwrap();
    let (clock, spec) = (Hand::at(NEW_YEAR_MS), small(100));
    for _ in 0..12 {
        // Each time another process, as far as the log can tell.
        let log = Arc::new(EmbeddedLog::open(folder.path(), Options::default()).unwrap());
        create_topics(&log);
        let mut runner = open(&log, &clock, &spec).await.unwrap();
        clock.advance(9);
        runner.step().await.unwrap();
    }
    let log = EmbeddedLog::open(folder.path(), Options::default()).unwrap();
    assert_eq!(logged_ids(&log).await, expected_ids(&spec));
}

/// Opens it and makes all that it declares. How many events there are in all, and that no id is there twice.
async fn all_of(log: &Arc<EmbeddedLog>, clock: &Arc<Hand>, spec: &EventSourceSpec) -> usize {
    let mut runner = open(log, clock, spec).await.unwrap();
    while runner.step().await.unwrap().rest.is_some() {
        clock.advance(900);
    }
    let mut ids = logged_ids(log.as_ref()).await;
    let all = ids.len();
    ids.dedup();
    assert_eq!(ids.len(), all, "an id came twice");
    all
}

#[tokio::test]
async fn a_changed_generator_makes_its_count_anew_and_no_id_twice() {
    let (log, clock, first) = (log(), Hand::at(NEW_YEAR_MS), small(100));
    assert_eq!(all_of(&log, &clock, &first).await, 100);
    assert_eq!(all_of(&log, &clock, &first).await, 100);

    let mut other_values = first.clone();
    let generator = other_values.generator.as_mut().unwrap();
    generator.fields[1].zipf.as_mut().unwrap().cardinality = 3;
    assert_eq!(all_of(&log, &clock, &other_values).await, 200);
    assert_eq!(all_of(&log, &clock, &other_values).await, 200);

    let mut other_seed = other_values.clone();
    other_seed.generator.as_mut().unwrap().seed = 8;
    assert_eq!(all_of(&log, &clock, &other_seed).await, 300);

    assert_eq!(all_of(&log, &clock, &first).await, 400);
}

#[tokio::test]
async fn a_new_rate_or_count_goes_on() {
    let (log, clock, mut spec) = (log(), Hand::at(NEW_YEAR_MS), small(100));
    assert_eq!(all_of(&log, &clock, &spec).await, 100);
    let generator = spec.generator.as_mut().unwrap();
    generator.events_per_second = 7_000;
    generator.count = Some(150);
    assert_eq!(all_of(&log, &clock, &spec).await, 150);
    assert_eq!(logged_ids(log.as_ref()).await, expected_ids(&spec));
}

#[tokio::test]
async fn a_commit_of_unknown_outcome_neither_loses_nor_repeats_an_event() {
    for fault in [Fault::BeforeTheCommit, Fault::AfterTheCommit] {
        let log = Arc::new(Faulty {
            log: log(),
            fault,
            commits: Arc::default(),
        });
        let (clock, spec) = (Hand::at(NEW_YEAR_MS), small(100));
        let mut runner = open(&log, &clock, &spec).await.unwrap();
        let mut failed = 0;
        loop {
            match runner.step().await {
                Ok(step) if step.rest.is_none() => break,
                Ok(_) => {}
                Err(error) => {
                    assert!(error.is_transient(), "{error}");
                    failed += 1;
                }
            }
            clock.advance(10);
        }
        assert!(failed > 2, "{failed} commits failed");
        assert_eq!(
            logged_ids(log.log.as_ref()).await,
            expected_ids(&spec),
            "{fault:?}"
        );
    }
}

#[tokio::test]
async fn a_runner_that_was_replaced_cannot_write() {
    let (log, clock, spec) = (log(), Hand::at(NEW_YEAR_MS), small(100));
    let mut old = open(&log, &clock, &spec).await.unwrap();
    old.step().await.unwrap();
    let mut new = open(&log, &clock, &spec).await.unwrap();
    clock.advance(500);
    let error = old.step().await.unwrap_err();
    assert!(
        matches!(error, RunnerError::Log(LogError::Fenced { .. })),
        "{error}"
    );
    while new.step().await.unwrap().rest.is_some() {}
    assert_eq!(logged_ids(log.as_ref()).await, expected_ids(&spec));
}

#[tokio::test]
async fn an_event_that_its_schema_refuses_is_named_and_not_written() {
    let bad = spec(&EVERYTHING.replace("trace, uuid: {}", "trace, constant: {value: \"a\\0b\"}"));
    let (log, clock) = (log(), Hand::at(NEW_YEAR_MS));
    let mut runner = open(&log, &clock, &bad).await.unwrap();
    let error = runner.step().await.unwrap_err();
    insta::assert_snapshot!(error.to_string());
    assert!(events(log.as_ref()).await.is_empty());
}

#[tokio::test]
async fn a_run_stops_when_told() {
    let (log, clock, spec) = (log(), Hand::at(NEW_YEAR_MS), small(100));
    let runner = open(&log, &clock, &spec).await.unwrap();
    let stop = CancellationToken::new();
    let run = tokio::spawn(runner.run(stop.clone()));
    tokio::task::yield_now().await;
    stop.cancel();
    assert_eq!(run.await.unwrap().unwrap(), Ended::Stopped);
}

#[derive(Debug, Clone, Copy)]
enum Fault {
    BeforeTheCommit,
    AfterTheCommit,
}

/// A log of which every third commit fails.
struct Faulty {
    log: Arc<EmbeddedLog>,
    fault: Fault,
    commits: Arc<AtomicU32>,
}

struct FaultyProducer {
    producer: Box<dyn Producer>,
    fault: Fault,
    commits: Arc<AtomicU32>,
}

#[async_trait]
impl Producer for FaultyProducer {
    async fn commit(&mut self, records: Vec<NewRecord>) -> Result<(), LogError> {
        let fails = self.commits.fetch_add(1, Ordering::Relaxed) % 3 == 2;
        if !fails || matches!(self.fault, Fault::AfterTheCommit) {
            self.producer.commit(records).await?;
        }
        if fails {
            return Err(LogError::Unavailable {
                reason: "no answer".into(),
            });
        }
        Ok(())
    }
    async fn settle(&mut self, home: Home) -> Result<(), LogError> {
        self.producer.settle(home).await
    }
}

#[async_trait]
impl Log for Faulty {
    async fn topic(&self, topic: &str) -> Result<Option<TopicInfo>, LogError> {
        self.log.topic(topic).await
    }
    async fn append(&self, records: Vec<NewRecord>) -> Result<Vec<Appended>, LogError> {
        self.log.append(records).await
    }
    async fn producer(&self, id: &str) -> Result<Box<dyn Producer>, LogError> {
        let producer = self.log.producer(id).await?;
        Ok(Box::new(FaultyProducer {
            producer,
            fault: self.fault,
            commits: self.commits.clone(),
        }))
    }
    async fn reader(
        &self,
        topic: &str,
        partition: i32,
        from: i64,
    ) -> Result<Box<dyn Reader>, LogError> {
        self.log.reader(topic, partition, from).await
    }
    async fn offsets(&self, topic: &str, partition: i32) -> Result<Offsets, LogError> {
        self.log.offsets(topic, partition).await
    }
    async fn offset_at(
        &self,
        topic: &str,
        partition: i32,
        append_time_ms: i64,
    ) -> Result<i64, LogError> {
        self.log.offset_at(topic, partition, append_time_ms).await
    }
    async fn join(&self, group: &str, topic: &str) -> Result<Box<dyn Member>, LogError> {
        self.log.join(group, topic).await
    }
    async fn delete_below(&self, topic: &str, partition: i32, offset: i64) -> Result<(), LogError> {
        self.log.delete_below(topic, partition, offset).await
    }
}
