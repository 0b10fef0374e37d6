//! What a worker takes of memory and time where either could grow without end: a sink that hangs, a restart with much state, many ids to
//! tell apart, many partitions.
use std::time::{Duration, Instant};

use sqlx::postgres::PgPool;

use crate::Failure;
use crate::events::Events;
use crate::figures::{Report, mib};
use crate::growth::{Size, fill};
use crate::pipeline::{BY_METHOD, EVENTS as EVERY_EVENT, WINDOWS, resources};
use crate::stack::{Role, Stack};

const EVENTS: usize = 1_000_000;
const PARTITIONS: u32 = 6;
const MANY_PARTITIONS: u32 = 64;
const USERS: u64 = 100_000;
/// So many more ids than events of the other measurements.
const IDS: usize = 10;
/// Event time that the events of an hour's windows, and of a deduplication's horizon, take, seconds.
const WITHIN_SECONDS: u64 = 3_000;
const HANGS_FOR: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(1_200);
/// The Kafka client counts what it receives for everybody to see every few seconds.
const COUNTED_WITHIN: Duration = Duration::from_secs(6);

/// Windows of an hour by user.
const HOURLY: &str = "
    - name: hourly
      aggregate:
        window: {tumbling: 1h}
        sql: SELECT user_id, count(*) AS count, sum(metric) AS sum_metric, max(metric) AS max_metric FROM clicks GROUP BY user_id";
const HOURS: &str = "{name: hourly, from: hourly, postgres: {sink: warehouse}}";

/// Windows of an hour by method, of events that are told apart by their ids for an hour.
const UNIQUE: &str = "
    - name: unique_clicks
      deduplicate: {from: clicks, by: [event_id], within: 1h}
    - name: hourly
      aggregate:
        window: {tumbling: 1h}
        sql: SELECT method, count(*) AS count FROM unique_clicks GROUP BY method";

pub(crate) fn measure(events: Option<usize>) -> Result<Report, Failure> {
    let events = events.unwrap_or(EVENTS);
    let runtime = crate::runtime()?;
    runtime.block_on(run(events))
}

async fn run(events: usize) -> Result<Report, Failure> {
    let mut report = Report::new(
        "bounded",
        format!(
            "one worker, with Kafka and PostgreSQL on the same machine; {events} events of {PARTITIONS} partitions unless something else is said"
        ),
        events,
    );
    let mut stack = Stack::start()?;
    hanging_sink(&mut stack, events, &mut report).await?;
    let begin = Open {
        what: format!("windows of an hour with {USERS} groups"),
        steps: HOURLY,
        events,
    };
    begin.measure(&mut stack, &mut report).await?;
    let begin = Open {
        what: format!("{} ids within an hour", events * IDS),
        steps: UNIQUE,
        events: events * IDS,
    };
    begin.measure(&mut stack, &mut report).await?;
    partitions(&mut stack, events, &mut report).await?;
    Ok(report)
}

/// Rows and windows while the database stands still, and what comes waits in Kafka.
async fn hanging_sink(
    stack: &mut Stack,
    events: usize,
    report: &mut Report,
) -> Result<(), Failure> {
    let outputs = [WINDOWS, EVERY_EVENT];
    stack.deploy(|namespace| resources(namespace, "Drop", PARTITIONS, BY_METHOD, &outputs))?;
    let database = stack.database(1).await?;
    let worker = stack.role("worker", &[])?;
    worker.ready().await?;
    let mut source = Events::new(11, USERS, 5_000);
    let first = events / 20;
    fill(stack, PARTITIONS, &mut source, first)?;
    await_rows(&database, first).await?;
    let what = "a sink that hangs for a minute";
    let peak = |when: &str, report: &mut Report| {
        report.add(
            format!("{what}: peak of memory {when}"),
            peak_mib(&worker),
            "MiB",
        );
    };
    peak("before", report);
    let hangs = Instant::now();
    stack.postgres.pause()?;
    let sent = fill(stack, PARTITIONS, &mut source, events);
    tokio::time::sleep(HANGS_FOR.saturating_sub(hangs.elapsed())).await;
    // Whatever fails: no server is left standing still.
    stack.postgres.resume()?;
    sent?;
    peak("at its end", report);
    let resumed = Instant::now();
    await_rows(&database, first + events).await?;
    peak("once every event is a row", report);
    let seconds = resumed.elapsed().as_secs_f64();
    report.add(format!("{what}: every event is a row after"), seconds, "s");
    Ok(())
}

/// A worker with all of its windows open, which is killed, and the next one.
struct Open {
    what: String,
    steps: &'static str,
    events: usize,
}

impl Open {
    async fn measure(&self, stack: &mut Stack, report: &mut Report) -> Result<(), Failure> {
        let what = &self.what;
        stack.deploy(|namespace| resources(namespace, "Drop", PARTITIONS, self.steps, &[HOURS]))?;
        let per_second = (self.events as u64 / WITHIN_SECONDS).max(1);
        let mut source = Events::new(12, USERS, per_second);
        fill(stack, PARTITIONS, &mut source, self.events)?;
        let began = Instant::now();
        let worker = stack.role("worker", &[])?;
        covered(&worker, self.events).await?;
        let seconds = began.elapsed().as_secs_f64();
        report.add(format!("{what}: read within"), seconds, "s");
        report.add(format!("{what}: peak of memory"), peak_mib(&worker), "MiB");
        let state = worker
            .metric("tidewheel_task_state_bytes", "hourly")
            .await?;
        report.add(
            format!("{what}: of it window state"),
            mib(state.iter().sum::<f64>() as u64),
            "MiB",
        );
        // With SIGKILL.
        drop(worker);
        // One for each partition: a task takes it once it knows again what the one before it knew.
        let more = PARTITIONS as usize;
        fill(stack, PARTITIONS, &mut source, more)?;
        let began = Instant::now();
        let worker = stack.role("worker", &[])?;
        covered(&worker, self.events + more).await?;
        let seconds = began.elapsed().as_secs_f64();
        report.add(
            format!("{what}: after kill -9, the next one takes new events after"),
            seconds,
            "s",
        );
        tokio::time::sleep(COUNTED_WITHIN).await;
        let received = worker.sum("tidewheel_kafka_received_bytes_total").await?;
        report.add(
            format!("{what}: for that it receives from Kafka"),
            mib(received as u64),
            "MiB",
        );
        report.add(
            format!("{what}: and has a peak of memory"),
            peak_mib(&worker),
            "MiB",
        );
        Ok(())
    }
}

/// Rows and windows of few and of many partitions.
async fn partitions(stack: &mut Stack, events: usize, report: &mut Report) -> Result<(), Failure> {
    let mut rates = Vec::new();
    for partitions in [PARTITIONS, MANY_PARTITIONS] {
        let size = Size {
            events,
            keys: USERS,
            partitions,
            steps: BY_METHOD,
        };
        let cost = size.measure(stack).await?;
        let what = format!("rows and windows of {partitions} partitions");
        report.add(what.clone(), cost.rate, "events/s");
        report.add(format!("{what}: worker"), cost.cpu[0], "CPU s per million");
        report.add(format!("{what}: peak of memory"), cost.peak_mib, "MiB");
        rates.push(cost.rate);
    }
    let ratio = rates[1] / rates[0];
    report.add(
        format!("rate with {MANY_PARTITIONS} / with {PARTITIONS} partitions"),
        ratio,
        "",
    );
    Ok(())
}

/// Waits until every task has begun, and those of the source have covered so many events.
async fn covered(worker: &Role, events: usize) -> Result<(), Failure> {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        let clicks = worker
            .metric("tidewheel_task_next_offset", "clicks")
            .await?;
        let hourly = worker
            .metric("tidewheel_task_next_offset", "hourly")
            .await?;
        let have_begun = [&clicks, &hourly].map(|tasks| tasks.len() == PARTITIONS as usize);
        if have_begun == [true; 2] && clicks.iter().sum::<f64>() >= events as f64 {
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Err("the worker does not get to the end".into())
}

async fn await_rows(database: &PgPool, rows: usize) -> Result<(), Failure> {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        let seen: i64 = sqlx::query_scalar("SELECT count(*) FROM events")
            .fetch_one(database)
            .await?;
        if seen == rows as i64 {
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Err(format!("not all of {rows} events are rows").into())
}

fn peak_mib(worker: &Role) -> f64 {
    mib(worker.usage().peak_bytes)
}
