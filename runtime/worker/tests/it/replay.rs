//! Windows of the past, computed once more from what the log still has.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use serde_json::{Value, json};
use tidewheel_log::{Clock, EmbeddedLog, Log, NewRecord, Options};
use tidewheel_planner::plan::Plan;
use tidewheel_sinks::embedded::{Columns, Database};
use tidewheel_sinks::{Collected, Sink};
use tidewheel_worker::replay::{For, Range, Replay, ReplayError, Untouched, Why};
use tidewheel_worker::{Control, Limits, SystemTimer, Worker};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::fixture::{SINK, create_partials, create_tables, create_topics, plan, source};

/// 2026-01-01T00:00:00Z.
const BEGIN_MS: i64 = 1_767_225_600_000;
const MINUTE_MS: i64 = 60_000;
const MINUTES: i64 = 40;

/// A clock that stands still until it is set.
#[derive(Clone)]
struct Hand(Arc<AtomicI64>);

impl Clock for Hand {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// A pipeline that has read forty minutes of events, in the time that they took.
struct Stand {
    log: EmbeddedLog,
    database: Database,
    plan: Arc<Plan>,
    stop: CancellationToken,
    inputs: Vec<JoinHandle<()>>,
    _folder: tempfile::TempDir,
}

/// A row of a window: its start, ms, its group, how many, and their sum.
type Row = (i64, String, i64, i64);

fn pipeline(sum: &str) -> Arc<Plan> {
    plan(&yaml(sum))
}

/// The same with windows over the windows, which are final when they are written.
fn chained() -> Arc<Plan> {
    let yaml = yaml("sum(n)").replace("policy: Amend", "policy: DeadLetter");
    let step = "    - {name: tens, aggregate: {window: {tumbling: 10m}, sql: 'SELECT sum(c) AS c FROM win'}}\n";
    let output = "    - {name: tens, from: tens, postgres: {sink: tables}}\n";
    let yaml = yaml.replace("  outputs:\n", &format!("{step}  outputs:\n"));
    plan(&format!("{yaml}{output}"))
}

fn yaml(sum: &str) -> String {
    format!(
        "{}apiVersion: tidewheel.dev/v1alpha1
kind: Pipeline
metadata: {{name: kpis, namespace: shop}}
spec:
  sources: [{{name: events}}]
  steps:
    - {{name: once, deduplicate: {{from: events, by: [id], within: 2m}}}}
    - name: win
      aggregate:
        window: {{tumbling: 1m}}
        late: {{allowed: 20s, policy: Amend}}
        sql: SELECT kind, count(*) AS c, {sum} AS total FROM once GROUP BY kind
  outputs:
    - {{name: rows, from: once, postgres: {{sink: tables}}}}
    - {{name: wins, from: win, postgres: {{sink: tables}}}}
",
        source(1, "maxOutOfOrder: 10s, maxFuture: 30s")
    )
}

impl Stand {
    async fn new() -> Self {
        Self::of(pipeline("sum(n)")).await
    }

    async fn of(plan: Arc<Plan>) -> Self {
        let clock = Hand(Arc::new(AtomicI64::new(BEGIN_MS)));
        let log = EmbeddedLog::in_memory(Options {
            clock: Arc::new(clock.clone()),
            segment_bytes: 1,
            ..Options::default()
        });
        create_topics(&log, &plan);
        let folder = tempfile::tempdir().unwrap();
        let database = create_tables(&folder.path().join("tables.db"), &plan).await;
        let sink = Arc::new(database.clone()) as Arc<dyn Sink>;
        let sinks = BTreeMap::from([(SINK.to_owned(), sink)]);
        let (own, timer) = (Arc::new(log.clone()), Arc::new(SystemTimer));
        let worker = Worker::new(plan.clone(), own, sinks, timer, Limits::default());
        let worker = worker.await.unwrap();
        create_partials(&log, &worker);
        let control = worker.control();
        let stop = CancellationToken::new();
        let inputs = worker.inputs(&stop).into_iter().map(tokio::spawn).collect();
        for minute in 0..MINUTES {
            let now_ms = BEGIN_MS + minute * MINUTE_MS;
            clock.0.store(now_ms + 30_000, Ordering::SeqCst);
            log.append(events(&plan, minute, now_ms)).await.unwrap();
            // Positions are remembered at the ends of batches.
            if minute % 5 == 4 {
                until(&control, |control| {
                    Box::pin(async { control.sources_are_read().await.unwrap() })
                })
                .await;
            }
        }
        let stand = Self {
            log,
            database,
            plan,
            stop,
            inputs,
            _folder: folder,
        };
        for _ in 0..1_000 {
            let closed = stand
                .replay(&stand.plan, range(12, 38), For::ItsTables)
                .await;
            if closed.is_ok() {
                return stand;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{:?}", stand.live().await);
    }

    /// What the worker has written.
    async fn live(&self) -> Vec<Row> {
        let table = self.plan.outputs[1].table().unwrap();
        let rows = self.database.rows(table, Columns::Data).await.unwrap();
        let row = |row: BTreeMap<String, Value>| {
            let start = row["window_start"].as_str().unwrap();
            let minute = |at: usize| start[at..at + 2].parse::<i64>().unwrap();
            let start_ms = BEGIN_MS + (minute(11) * 60 + minute(14)) * MINUTE_MS;
            let kind = row["kind"].as_str().unwrap().to_owned();
            (
                start_ms,
                kind,
                row["c"].as_i64().unwrap(),
                row["total"].as_i64().unwrap(),
            )
        };
        let mut rows: Vec<Row> = rows
            .into_iter()
            .map(|found| row(found.into_iter().collect()))
            .collect();
        rows.sort_unstable();
        rows
    }

    async fn between(&self, range: Range) -> Vec<Row> {
        let mut rows = self.live().await;
        rows.retain(|row| range.from_ms <= row.0 && row.0 + MINUTE_MS <= range.to_ms);
        rows
    }

    async fn replay(&self, plan: &Plan, range: Range, tables: For) -> Result<Replay, ReplayError> {
        Replay::new(Arc::new(self.log.clone()), plan, range, tables).await
    }

    async fn end(self) {
        self.stop.cancel();
        for input in self.inputs {
            input.await.unwrap();
        }
    }
}

async fn until(
    control: &Control,
    is_so: impl Fn(&Control) -> std::pin::Pin<Box<dyn Future<Output = bool> + '_>>,
) {
    for _ in 0..1_000 {
        if is_so(control).await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{:?}", control.status());
}

/// The events of a minute: one of the minute before in time, some of this one, one that comes twice, and one that is late.
fn events(plan: &Plan, minute: i64, now_ms: i64) -> Vec<NewRecord> {
    let event = |id: String, second: i64, n: i64| {
        let kind = if n % 2 == 0 { "a" } else { "b" };
        let ts = rfc3339(now_ms + second * 1_000);
        let event = json!({"id": id, "ts": ts, "kind": kind, "n": n});
        NewRecord {
            topic: plan.sources[0].topic.clone(),
            partition: Some(0),
            value: Some(event.to_string().into()),
            ..NewRecord::default()
        }
    };
    let mut events = Vec::new();
    if minute > 0 {
        events.push(event(format!("{minute}-before"), -5, minute));
    }
    events.extend((0..5).map(|n| event(format!("{minute}-{n}"), 25 + n, n)));
    events.push(event(format!("{}-1", minute - 1), 29, 1_000));
    events.push(event(format!("{minute}-late"), -180, 10_000));
    events
}

fn rfc3339(ms: i64) -> String {
    let second = (ms - BEGIN_MS).div_euclid(1_000);
    // Some events are of the day before.
    let (day, second) = match second < 0 {
        true => ("2025-12-31", second + 86_400),
        false => ("2026-01-01", second),
    };
    format!(
        "{day}T{:02}:{:02}:{:02}Z",
        second / 3_600,
        second / 60 % 60,
        second % 60
    )
}

fn range(from: i64, to: i64) -> Range {
    Range {
        from_ms: BEGIN_MS + from * MINUTE_MS,
        to_ms: BEGIN_MS + to * MINUTE_MS,
    }
}

/// The rows that a replay computes.
async fn computed(replay: &Replay) -> Vec<Row> {
    let starts = replay.outputs()[0].starts_ms.clone();
    let collected = Collected::new([("wins".to_owned(), starts)].into());
    let sink = Arc::new(collected.clone()) as Arc<dyn Sink>;
    let sinks = BTreeMap::from([(SINK.to_owned(), sink)]);
    let worker = replay
        .worker(
            sinks,
            tidewheel_worker::SchemasOf::new(),
            Arc::new(SystemTimer),
        )
        .await
        .unwrap();
    let working = CancellationToken::new();
    let inputs: JoinSet<()> = worker.inputs(&working).into_iter().collect();
    worker.control().close_windows().await.unwrap();
    replay.check_kept().await.unwrap();
    drop(inputs);
    let mut rows: Vec<Row> = collected.take("wins").iter().flat_map(rows_of).collect();
    rows.sort_unstable();
    rows
}

fn rows_of(batch: &RecordBatch) -> Vec<Row> {
    let starts = batch.column_by_name("window_start").unwrap();
    let starts = starts.as_primitive::<TimestampMicrosecondType>();
    let kinds = batch.column_by_name("kind").unwrap().as_string::<i32>();
    let number = |name: &str, row: usize| {
        let column = batch.column_by_name(name).unwrap();
        column.as_primitive::<Int64Type>().value(row)
    };
    let row = |row: usize| {
        let start_ms = starts.value(row) / 1_000;
        (
            start_ms,
            kinds.value(row).to_owned(),
            number("c", row),
            number("total", row),
        )
    };
    (0..batch.num_rows()).map(row).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_of_the_log_gives_the_windows_that_the_worker_wrote() {
    let stand = Stand::new().await;
    let (topic, asked) = (&stand.plan.sources[0].topic, range(12, 20));
    let replay = stand
        .replay(&stand.plan, asked, For::ItsTables)
        .await
        .unwrap();
    let read = replay.reads()[0].clone();
    let end = stand.log.offsets(topic, 0).await.unwrap().end;
    assert!(0 < read.from && read.to < end, "{read:?} of {end}");
    let expected = stand.between(asked).await;
    assert_eq!(expected.len(), 16, "{expected:?}");
    // Of each minute: five of its own and one that came with the next; neither the repeated nor the late one.
    let counted: i64 = expected.iter().map(|row| row.2).sum();
    assert_eq!(counted, 8 * 6, "{expected:?}");
    assert_eq!(computed(&replay).await, expected);
    stand.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_files_wait_longer_for_what_is_out_of_order_more_is_read() {
    let stand = Stand::new().await;
    let to = async |plan: &Plan| {
        let replay = stand.replay(plan, range(12, 20), For::OtherTables).await;
        replay.unwrap().reads()[0].to
    };
    let waiting = |delay: &str| plan(&yaml("sum(n)").replace("maxOutOfOrder: 10s", delay));
    let as_it_was = to(&stand.plan).await;
    assert_eq!(to(&waiting("maxOutOfOrder: 5s")).await, as_it_was);
    assert!(to(&waiting("maxOutOfOrder: 12m")).await > as_it_was);
    stand.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn windows_are_computed_again_of_which_others_are_made_and_those_are_left_as_they_are() {
    let stand = Stand::of(chained()).await;
    let asked = range(12, 20);
    let replay = stand.replay(&stand.plan, asked, For::ItsTables);
    let replay = replay.await.unwrap();
    let outputs: Vec<_> = replay
        .outputs()
        .iter()
        .map(|output| output.step.as_str())
        .collect();
    assert_eq!(outputs, ["win"]);
    let over_windows = Untouched {
        output: "tens".to_owned(),
        why: Why::OverWindows,
    };
    assert!(replay.untouched().contains(&over_windows));
    let expected = stand.between(asked).await;
    assert_eq!(expected.len(), 16, "{expected:?}");
    assert_eq!(computed(&replay).await, expected);
    stand.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_retention_no_longer_reaches_the_earliest_time_is_named_and_possible() {
    let stand = Stand::new().await;
    let topic = stand.plan.sources[0].topic.clone();
    let cut = stand.log.offset_at(&topic, 0, BEGIN_MS + 10 * MINUTE_MS);
    let cut = cut.await.unwrap();
    stand.log.delete_below(&topic, 0, cut).await.unwrap();
    assert_eq!(stand.log.offsets(&topic, 0).await.unwrap().earliest, cut);
    let refused = stand
        .replay(&stand.plan, range(5, 20), For::ItsTables)
        .await;
    let Some(ReplayError::OutOfReach {
        from_ms: Some(from_ms),
        ..
    }) = refused.err()
    else {
        panic!("it is out of reach");
    };
    // The oldest came at 10:30. With `maxFuture` and `within` that is 13:00 and a moment.
    assert_eq!(from_ms, BEGIN_MS + 14 * MINUTE_MS);
    let possible = Range {
        from_ms,
        ..range(0, 20)
    };
    let replay = stand
        .replay(&stand.plan, possible, For::ItsTables)
        .await
        .unwrap();
    assert_eq!(computed(&replay).await, stand.between(possible).await);
    stand.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn windows_that_may_change_are_refused_up_to_the_time_that_is_named() {
    let stand = Stand::new().await;
    let refused = stand
        .replay(&stand.plan, range(30, MINUTES), For::ItsTables)
        .await;
    let Some(ReplayError::NotFinal {
        until_ms: Some(until_ms),
        ..
    }) = refused.err()
    else {
        panic!("it is not final");
    };
    assert!(until_ms < BEGIN_MS + MINUTES * MINUTE_MS);
    let possible = Range {
        to_ms: until_ms,
        ..range(30, 0)
    };
    let replay = stand
        .replay(&stand.plan, possible, For::ItsTables)
        .await
        .unwrap();
    assert_eq!(computed(&replay).await, stand.between(possible).await);
    stand.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_sql_is_for_other_tables() {
    let stand = Stand::new().await;
    let (other, asked) = (pipeline("2 * sum(n)"), range(12, 20));
    let refused = stand.replay(&other, asked, For::ItsTables).await;
    assert!(matches!(refused.err(), Some(ReplayError::OtherPlan { step }) if step == "win"));
    let replay = stand.replay(&other, asked, For::OtherTables).await.unwrap();
    let mut doubled = stand.between(asked).await;
    doubled.iter_mut().for_each(|row| row.3 *= 2);
    assert_eq!(computed(&replay).await, doubled);
    stand.end().await;
}

#[tokio::test]
async fn what_nobody_has_run_cannot_be_replayed() {
    let (plan, log) = (
        pipeline("sum(n)"),
        EmbeddedLog::in_memory(Options::default()),
    );
    create_topics(&log, &plan);
    let refused = Replay::new(Arc::new(log), &plan, range(0, 9), For::ItsTables).await;
    assert!(matches!(refused.err(), Some(ReplayError::NeverRan)));
}
