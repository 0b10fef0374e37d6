//! A worker from Kafka to PostgreSQL, catching up on a topic that is full.
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::try_join_all;
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgPool;
use tidewheel_e2e::Usage;

use crate::Failure;
use crate::events::Events;
use crate::figures::Report;
use crate::pipeline::{BY_METHOD, EVENTS as EVERY_EVENT, WINDOWS, resources};
use crate::stack::{Role, Stack, Topic};

const EVENTS: usize = 2_000_000;
const PARTITIONS: u32 = 6;
const ROUNDS: usize = 3;
const WINDOW_SECONDS: f64 = 60.0;
/// How often it is looked how far the worker is.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How many times it is looked before something is wrong.
const LOOKS: usize = 30_000;

/// One job: what is written, and what was measured by round.
struct Job {
    name: &'static str,
    outputs: &'static [&'static str],
    /// Seconds.
    bare: Vec<f64>,
    /// Seconds.
    worker: Vec<f64>,
    /// Seconds; of raw rows only.
    copy: Vec<f64>,
    /// Processor time of worker, Kafka and PostgreSQL, seconds.
    cpu: [Vec<f64>; 3],
    peak_mib: Vec<f64>,
}

impl Job {
    fn new(name: &'static str, outputs: &'static [&'static str]) -> Self {
        Self {
            name,
            outputs,
            bare: Vec::new(),
            worker: Vec::new(),
            copy: Vec::new(),
            cpu: Default::default(),
            peak_mib: Vec::new(),
        }
    }
}

pub(crate) fn measure(events: Option<usize>) -> Result<Report, Failure> {
    let events = events.unwrap_or(EVENTS);
    let (_, lines) = Events::new(5, 10_000, 5_000).lines(events);
    let mut jobs = [
        Job::new("windows", &[WINDOWS]),
        Job::new("rows and windows", &[WINDOWS, EVERY_EVENT]),
    ];
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    for round in 1..=ROUNDS {
        for job in &mut jobs {
            runtime.block_on(run(job, &lines))?;
            eprintln!("worker: {}, round {round} of {ROUNDS}", job.name);
        }
    }
    Ok(report(events, &jobs))
}

async fn run(job: &mut Job, lines: &[Bytes]) -> Result<(), Failure> {
    let stack = Stack::start(&resources("Drop", PARTITIONS, BY_METHOD, job.outputs))?;
    let topic = Topic {
        partitions: PARTITIONS,
        events: lines.len(),
    };
    topic.fill(&stack, lines)?;
    job.bare.push(topic.read_alone(&stack)?);
    let database = stack.database(PARTITIONS).await?;
    let before = stack.used();
    let worker = stack.role("worker", &[])?;
    job.worker
        .push(catch_up(&worker, &database, lines.len()).await?);
    let (own, after) = (worker.usage(), stack.used());
    for (seconds, (from, to)) in job.cpu.iter_mut().zip([
        (Usage::default(), own),
        (before.kafka, after.kafka),
        (before.postgres, after.postgres),
    ]) {
        seconds.push(to.cpu.saturating_sub(from.cpu).as_secs_f64());
    }
    job.peak_mib.push(own.peak_bytes as f64 / 1024.0 / 1024.0);
    drop(worker);
    if job.outputs.contains(&EVERY_EVENT) {
        job.copy.push(copy_alone(&database, lines.len()).await?);
    }
    database.close().await;
    Ok(())
}

/// Seconds that all events would take at the rate from the first batch on, until every closed window is committed.
async fn catch_up(worker: &Role, database: &PgPool, events: usize) -> Result<f64, Failure> {
    let mut first = None;
    for _ in 0..LOOKS {
        let covered = worker
            .metric("tidewheel_task_next_offset", "clicks")
            .await?;
        let covered = covered.iter().sum::<f64>();
        if covered > 0.0 && first.is_none() {
            first = Some((Instant::now(), covered));
        }
        if covered >= events as f64 {
            let watermarks = worker.metric("tidewheel_task_watermark_seconds", "clicks");
            let watermark = watermarks.await?.into_iter().fold(f64::INFINITY, f64::min);
            await_window(database, watermark).await?;
            let (since, covered) = first.ok_or("the worker was done before it began")?;
            let share = 1.0 - covered / events as f64;
            return Ok(since.elapsed().as_secs_f64() / share);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Err("the worker does not get to the end".into())
}

/// Waits for the last window that is closed under a watermark.
async fn await_window(database: &PgPool, watermark: f64) -> Result<(), Failure> {
    let last = ((watermark / WINDOW_SECONDS).floor() - 1.0) * WINDOW_SECONDS;
    for _ in 0..LOOKS {
        let newest =
            "SELECT coalesce(extract(epoch FROM max(window_start)), 0)::float8 FROM per_minute";
        let newest: f64 = sqlx::query_scalar(newest).fetch_one(database).await?;
        if newest >= last {
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Err("the last window does not come".into())
}

/// Copies the rows that the worker wrote into a table like theirs, over as many connections as there were tasks. Seconds.
async fn copy_alone(database: &PgPool, events: usize) -> Result<f64, Failure> {
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM events")
        .fetch_one(database)
        .await?;
    if count != events as i64 {
        return Err(format!("{count} rows of {events} events").into());
    }
    let folder: String = sqlx::query_scalar("SHOW data_directory")
        .fetch_one(database)
        .await?;
    let file = |partition| format!("'{folder}/copied-{partition}.bin' (FORMAT binary)");
    for partition in 0..PARTITIONS {
        let rows = format!("SELECT * FROM events WHERE _partition = {partition} ORDER BY _offset");
        let sql = format!("COPY ({rows}) TO {}", file(partition));
        sqlx::query(AssertSqlSafe(sql)).execute(database).await?;
    }
    for sql in [
        "CREATE TABLE copied (LIKE events INCLUDING ALL)",
        "CHECKPOINT",
    ] {
        sqlx::query(sql).execute(database).await?;
    }
    let begin = Instant::now();
    let copies = (0..PARTITIONS).map(|partition| {
        let sql = format!("COPY copied FROM {}", file(partition));
        sqlx::query(AssertSqlSafe(sql)).execute(database)
    });
    try_join_all(copies).await?;
    Ok(begin.elapsed().as_secs_f64())
}

fn report(events: usize, jobs: &[Job]) -> Report {
    let mut report = Report::new(
        "worker",
        format!(
            "{events} events of {PARTITIONS} partitions from Kafka to PostgreSQL (fsync on) by one worker, all on this machine; \
             medians of {ROUNDS} rounds"
        ),
        events,
    );
    let millions = events as f64 / 1e6;
    for job in jobs {
        let name = job.name;
        report.add_rate(name, events, &job.worker);
        report.add_ratio(
            &format!("{name} / reading the topic alone"),
            &job.bare,
            &job.worker,
        );
        if !job.copy.is_empty() {
            report.add_ratio(&format!("{name} / COPY alone"), &job.copy, &job.worker);
            report.add_rate("COPY alone", events, &job.copy);
        }
        for (process, seconds) in ["worker", "Kafka", "PostgreSQL"].iter().zip(&job.cpu) {
            let cost = seconds.iter().map(|seconds| seconds / millions).collect();
            report.add_median(format!("{name}: {process}"), cost, "CPU s per million");
        }
        let peak = job.peak_mib.clone();
        report.add_median(format!("{name}: worker's peak of memory"), peak, "MiB");
    }
    report
}
