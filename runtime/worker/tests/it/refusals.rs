//! Rows that a sink refuses for their data: each reaches the dead-letter topic once, and its ledger says so, whatever fails.
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use tidewheel_engine::Ledger;
use tidewheel_log::{EmbeddedLog, Log as _, NewRecord, Options};
use tidewheel_planner::plan::{Plan, Table};
use tidewheel_sinks::embedded::{Columns, Database};
use tidewheel_sinks::{
    Change, Committed, Guarantee, Origin, OutputId, Progress, Refused, Sink, SinkError, TaskId,
    Writer,
};
use tidewheel_worker::{Limits, Status, SystemTimer, Timer, Worker};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::fixture::{
    SINK, create_partials, create_tables, create_topics, header, names, plan, read_all, source,
};

/// Rows with a negative `n` cannot be stored, nor windows of three.
const PIPELINE: &str = "apiVersion: tidewheel.dev/v1alpha1
kind: Pipeline
metadata: {name: kpis, namespace: shop}
spec:
  sources: [{name: events}]
  steps:
    - name: marked
      sql: |
        SELECT id, ts, kind, CASE WHEN n < 0 THEN chr(0) ELSE 'fine' END AS mark FROM events
        UNION ALL SELECT id, ts, kind, CASE WHEN n < -1 THEN chr(0) ELSE 'fine' END AS mark FROM events WHERE kind = 'double'
    - {name: again, sql: 'SELECT id, mark FROM marked'}
    - name: win
      aggregate:
        window: {tumbling: 1m}
        late: {allowed: 10m, policy: Amend}
        sql: SELECT kind, count(*) AS c, CASE WHEN count(*) = 3 THEN chr(0) ELSE 'fine' END AS mark FROM events GROUP BY kind
  outputs:
    - {name: rows, from: marked, postgres: {sink: tables}}
    - {name: others, from: again, postgres: {sink: tables}}
    - {name: wins, from: win, postgres: {sink: tables}}
";

/// What goes wrong, once, with a commit that refuses something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The commit comes through, and its answer does not.
    LosesAnswer,
    /// None.
    Nothing,
    /// The process dies right after it.
    Dies,
}

/// Embedded tables with one fault.
#[derive(Clone)]
struct Faulty {
    inner: Database,
    output: &'static str,
    fault: Fault,
    happened: Arc<AtomicBool>,
    death: Arc<Notify>,
    /// How many rows each commit had.
    rows: Arc<Mutex<Vec<usize>>>,
}

#[async_trait]
impl Sink for Faulty {
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
        if output.output != self.output {
            return Ok(inner);
        }
        let sink = self.clone();
        Ok(Box::new(FaultyWriter { sink, inner }))
    }
}

struct FaultyWriter {
    sink: Faulty,
    inner: Box<dyn Writer>,
}

#[async_trait]
impl Writer for FaultyWriter {
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
        let inner = &mut self.inner;
        if let Change::Append(rows) = change {
            self.sink.rows.lock().unwrap().push(rows.num_rows());
        }
        let committed = inner
            .commit(generation, change, expected, next, kept, origin)
            .await?;
        let nothing = committed.refused.is_empty() || self.sink.fault == Fault::Nothing;
        if nothing || self.sink.happened.swap(true, Ordering::Relaxed) {
            return Ok(committed);
        }
        if self.sink.fault == Fault::Dies {
            self.sink.death.notify_one();
            std::future::pending::<()>().await;
        }
        Err(SinkError::Unavailable {
            output: self.sink.output.to_owned(),
            reason: "the answer was lost".to_owned(),
        })
    }
}

/// What a pipeline runs on, and stays when its process ends.
struct Place {
    plan: Arc<Plan>,
    log: EmbeddedLog,
    folder: tempfile::TempDir,
    database: Database,
    timer: Arc<dyn Timer>,
}

/// A clock that stands still.
struct Standing(i64);

#[async_trait]
impl Timer for Standing {
    fn now_ms(&self) -> i64 {
        self.0
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

impl Place {
    async fn new() -> Self {
        let plan = plan(&format!("{}{PIPELINE}", source(1, "maxOutOfOrder: 10s")));
        let log = EmbeddedLog::in_memory(Options::default());
        create_topics(&log, &plan);
        let folder = tempfile::tempdir().unwrap();
        let database = create_tables(&folder.path().join("tables.db"), &plan).await;
        Self {
            plan,
            log,
            folder,
            database,
            timer: Arc::new(SystemTimer),
        }
    }

    /// Appends events of (second, kind, `n`).
    async fn send(&self, events: &[(u32, &str, i64)]) {
        let record = |&(second, kind, n): &(u32, &str, i64)| {
            let ts = format!("2026-01-01T00:{:02}:{:02}Z", second / 60, second % 60);
            let event = json!({"id": format!("{second}"), "ts": ts, "kind": kind, "n": n});
            NewRecord {
                topic: self.plan.sources[0].topic.clone(),
                partition: Some(0),
                value: Some(event.to_string().into()),
                ..NewRecord::default()
            }
        };
        let records = events.iter().map(record).collect();
        self.log.append(records).await.unwrap();
    }

    /// Runs a process until all windows are closed. What it says of its tasks.
    async fn run(&self) -> Status {
        self.run_on(Arc::new(self.database.clone()), None)
            .await
            .expect("nothing kills it")
    }

    fn sink(&self, output: &'static str, fault: Fault) -> Faulty {
        Faulty {
            inner: self.database.clone(),
            output,
            fault,
            happened: Arc::default(),
            death: Arc::default(),
            rows: Arc::default(),
        }
    }

    /// Runs a process with a fault at `output`, which has to happen. What it says of its tasks, where it survives.
    async fn run_with(&self, output: &'static str, fault: Fault) -> Option<Status> {
        let sink = self.sink(output, fault);
        let (happened, death) = (Arc::clone(&sink.happened), Arc::clone(&sink.death));
        let status = self.run_on(Arc::new(sink), Some(death)).await;
        assert!(happened.load(Ordering::Relaxed), "nothing was refused");
        status
    }

    async fn run_on(&self, sink: Arc<dyn Sink>, death: Option<Arc<Notify>>) -> Option<Status> {
        let sinks = BTreeMap::from([(SINK.to_owned(), sink)]);
        let (log, timer) = (Arc::new(self.log.clone()), self.timer.clone());
        let worker = Worker::new(self.plan.clone(), log, sinks, timer, Limits::default())
            .await
            .unwrap();
        create_partials(&self.log, &worker);
        let stop = CancellationToken::new();
        let inputs: Vec<_> = worker.inputs(&stop).into_iter().map(tokio::spawn).collect();
        let control = worker.control();
        let killed = async {
            match death {
                Some(death) => death.notified().await,
                None => std::future::pending().await,
            }
        };
        let ended = async {
            tokio::select! {
                closed = control.close_windows() => { closed.unwrap(); true }
                () = killed => false,
            }
        };
        let survives = tokio::time::timeout(Duration::from_secs(30), ended)
            .await
            .unwrap_or_else(|_| panic!("it never ends: {:#?}", control.status()));
        let status = control.status();
        if survives {
            stop.cancel();
        } else {
            inputs.iter().for_each(tokio::task::JoinHandle::abort);
        }
        for input in inputs {
            let ended = input.await;
            assert!(ended.is_ok() || !survives, "{ended:?}");
        }
        survives.then_some(status)
    }

    /// The dead letters: the output that refused, offset, and of windows what they say.
    async fn letters(&self) -> Vec<(String, i64, Value)> {
        let records = read_all(&self.log, &names(&self.plan).dead_letters(), 0).await;
        let letter = |record: &tidewheel_log::Record| {
            let text = |name| header(record, name).unwrap();
            assert_eq!(text("tidewheel-reason"), "Refused");
            let value: Value = serde_json::from_slice(record.value.as_ref().unwrap()).unwrap();
            (
                text("tidewheel-step"),
                text("tidewheel-offset").parse().unwrap(),
                value["c"].clone(),
            )
        };
        let mut letters: Vec<_> = records.iter().map(letter).collect();
        letters.sort_by_key(|(step, offset, _)| (step.clone(), *offset));
        letters
    }

    /// Dead letters of rows: the output that refused, and offset.
    async fn row_letters(&self) -> Vec<(String, i64)> {
        let letters = self.letters().await.into_iter();
        let rows = letters.filter(|(_, _, count)| count.is_null());
        rows.map(|(step, offset, _)| (step, offset)).collect()
    }

    /// Dead letters of windows: how many rows went into each.
    async fn window_letters(&self) -> Vec<i64> {
        let letters = self.letters().await;
        letters
            .iter()
            .filter_map(|(_, _, count)| count.as_i64())
            .collect()
    }

    /// The windows in the table, with their counts.
    async fn counts(&self) -> Vec<i64> {
        let table = self.plan.outputs[2].table().unwrap();
        let rows = self.database.rows(table, Columns::Data).await.unwrap();
        rows.iter().map(|row| row["c"].as_i64().unwrap()).collect()
    }

    /// How many of the rows that it refused an output keeps.
    async fn kept(&self, output: &str) -> usize {
        let mut outputs = self.plan.outputs.iter();
        let table = outputs.find(|found| found.name == output).unwrap().table();
        let id = OutputId {
            pipeline: "shop/kpis".to_owned(),
            output: output.to_owned(),
        };
        let task = TaskId {
            input: "events".to_owned(),
            partition: 0,
        };
        let writer = self.database.writer(&id, table.unwrap(), &task).await;
        let newest = writer.unwrap().last_commit().await.unwrap();
        newest.map_or(0, |(_, kept)| kept.len())
    }

    async fn saved(&self) -> PathBuf {
        self.database.close().await.unwrap();
        let copy = self.folder.path().join("copy.db");
        std::fs::copy(self.database.path(), &copy).unwrap();
        copy
    }

    async fn set_back(&self, copy: PathBuf) {
        self.database.close().await.unwrap();
        std::fs::copy(copy, self.database.path()).unwrap();
    }
}

/// What the ledger of an output says: read, written, refused; it has to balance.
fn ledger(status: &Status, input: &str, output: &str) -> (u64, u64, u64) {
    let ledger: &Ledger = &status[&(input.to_owned(), 0)].ledgers[output];
    assert_eq!(ledger.balance(), 0, "{ledger:?}");
    let refused = ledger.dead_lettered.get("Refused").copied();
    (ledger.read, ledger.written, refused.unwrap_or(0))
}

fn of_rows(output: &str, offsets: &[i64]) -> Vec<(String, i64)> {
    let letter = |&offset: &i64| (output.to_owned(), offset);
    offsets.iter().map(letter).collect()
}

#[tokio::test(flavor = "current_thread")]
async fn a_record_is_refused_once_however_many_rows_and_outputs_it_has() {
    let place = Place::new().await;
    // One of two rows, both rows, an only row.
    place
        .send(&[
            (1, "double", -1),
            (2, "a", 1),
            (3, "double", -2),
            (4, "b", -1),
        ])
        .await;
    let status = place.run().await;
    let expected = [of_rows("others", &[0, 2, 3]), of_rows("rows", &[0, 2, 3])].concat();
    assert_eq!(place.row_letters().await, expected);
    assert_eq!(ledger(&status, "events", "rows"), (4, 1, 3));
    assert_eq!(ledger(&status, "events", "others"), (4, 1, 3));
}

#[tokio::test(flavor = "current_thread")]
async fn a_refused_window_is_no_longer_among_what_was_written() {
    let place = Place::new().await;
    place
        .send(&[(1, "a", 1), (2, "a", 1), (3, "a", 1), (4, "b", 1)])
        .await;
    let status = place.run().await;
    assert_eq!(place.window_letters().await, [3]);
    assert_eq!(place.counts().await, [1]);
    assert_eq!(ledger(&status, "win", "wins"), (4, 1, 3));
}

#[tokio::test(flavor = "current_thread")]
async fn dead_letters_of_rows_survive_a_death_between_sink_and_log() {
    for output in ["rows", "others"] {
        let place = Place::new().await;
        place
            .send(&[(1, "a", 1), (2, "double", -2), (3, "b", -1)])
            .await;
        assert!(place.run_with(output, Fault::Dies).await.is_none());
        assert_eq!(place.row_letters().await, [], "the log knows nothing yet");
        place.send(&[(4, "c", -1)]).await;
        let status = place.run().await;
        let expected = [of_rows("others", &[1, 2, 3]), of_rows("rows", &[1, 2, 3])].concat();
        assert_eq!(place.row_letters().await, expected, "{output}");
        assert_eq!(ledger(&status, "events", output), (4, 1, 3));
    }
}

#[tokio::test(flavor = "current_thread")]
async fn dead_letters_of_windows_survive_a_death_between_sink_and_log() {
    let place = Place::new().await;
    place.send(&[(1, "a", 1), (2, "a", 1), (3, "a", 1)]).await;
    assert!(place.run_with("wins", Fault::Dies).await.is_none());
    assert_eq!(place.window_letters().await, [0; 0]);
    let status = place.run().await;
    assert_eq!(place.window_letters().await, [3]);
    assert_eq!(ledger(&status, "win", "wins"), (3, 0, 3));
}

#[tokio::test(flavor = "current_thread")]
async fn dead_letters_survive_a_lost_answer() {
    let place = Place::new().await;
    place.send(&[(1, "a", 1), (2, "double", -2)]).await;
    let status = place.run_with("rows", Fault::LosesAnswer).await.unwrap();
    let expected = [of_rows("others", &[1]), of_rows("rows", &[1])].concat();
    assert_eq!(place.row_letters().await, expected);
    assert_eq!(ledger(&status, "events", "rows"), (2, 1, 1));

    let place = Place::new().await;
    place.send(&[(1, "a", 1), (2, "a", 1), (3, "a", 1)]).await;
    let status = place.run_with("wins", Fault::LosesAnswer).await.unwrap();
    assert_eq!(place.window_letters().await, [3]);
    assert_eq!(ledger(&status, "win", "wins"), (3, 0, 3));
}

#[tokio::test(flavor = "current_thread")]
async fn a_database_that_was_set_back_refuses_in_silence_what_it_refused_before() {
    let place = Place::new().await;
    place.send(&[(1, "a", -1)]).await;
    place.run().await;
    let copy = place.saved().await;
    place
        .send(&[(700, "b", -1), (701, "b", 1), (702, "b", 1)])
        .await;
    place.run().await;
    let letters = place.letters().await;
    assert_eq!(
        letters.len(),
        5,
        "two records at two outputs, and a window: {letters:?}"
    );

    place.set_back(copy).await;
    place.send(&[(1_500, "c", -1)]).await;
    let status = place.run().await;
    assert_eq!(place.window_letters().await, [3]);
    let expected = [of_rows("others", &[0, 1, 4]), of_rows("rows", &[0, 1, 4])].concat();
    assert_eq!(place.row_letters().await, expected);
    assert_eq!(place.counts().await, [1, 1]);
    assert_eq!(ledger(&status, "events", "rows"), (5, 2, 3));
    assert_eq!(ledger(&status, "win", "wins"), (5, 2, 3));
}

#[tokio::test(flavor = "current_thread")]
async fn where_rows_are_refused_fewer_are_taken_at_once() {
    // Whose batches grow as if they took no time.
    let mut place = Place::new().await;
    place.timer = Arc::new(Standing(SystemTimer.now_ms()));
    let fine = 1_024 + 2_048 + 4_096;
    let events: Vec<(u32, &str, i64)> = (0..fine + 12_000)
        .map(|number| (number % 3_000, "a", if number < fine { 1 } else { -1 }))
        .collect();
    place.send(&events).await;
    let sink = place.sink("rows", Fault::Nothing);
    let rows = Arc::clone(&sink.rows);
    place.run_on(Arc::new(sink), None).await.unwrap();
    let rows = rows.lock().unwrap();
    let expected = [1_024, 2_048, 4_096, 8_192, 1_024, 1_024, 1_024, 736];
    assert_eq!(*rows, expected);
}

#[tokio::test(flavor = "current_thread")]
async fn what_is_settled_is_let_go_of_by_outputs_that_write_nothing_more() {
    let place = Place::new().await;
    place.send(&[(1, "a", -1)]).await;
    place.run().await;
    assert_eq!(
        (place.kept("rows").await, place.kept("others").await),
        (1, 1)
    );
    let broken = NewRecord {
        topic: place.plan.sources[0].topic.clone(),
        partition: Some(0),
        value: Some("{".into()),
        ..NewRecord::default()
    };
    place.log.append(vec![broken]).await.unwrap();
    place.run().await;
    assert_eq!(
        (place.kept("rows").await, place.kept("others").await),
        (0, 0)
    );
}
