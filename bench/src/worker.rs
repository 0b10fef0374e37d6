//! A worker from Kafka to PostgreSQL, catching up on a topic that is full.
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use sqlx::AssertSqlSafe;
use sqlx::postgres::{PgPool, PgPoolCopyExt as _};
use tokio::io::AsyncReadExt as _;

use crate::Failure;
use crate::events::Events;
use crate::figures::{Report, mib};
use crate::pipeline::{BY_METHOD, EVENTS as EVERY_EVENT, WINDOWS, resources};
use crate::stack::{Role, Stack, Topic, Used};

const EVENTS: usize = 3_000_000;
const PARTITIONS: u32 = 6;
const ROUNDS: usize = 3;
const WINDOW_SECONDS: f64 = 60.0;
/// The share of the events after which is measured: programs have started, and tables and indexes are no longer empty.
const WARM_UP: f64 = 0.25;
/// How often it is looked how far the worker is. It costs the worker something to say it.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How many times it is looked before something is wrong.
const LOOKS: usize = 12_000;
/// How much a client of COPY sends at a time.
const PIECE_BYTES: usize = 1 << 18;

/// One job: what is written, and what was measured by round.
struct Job {
    name: &'static str,
    outputs: &'static [&'static str],
    /// Seconds.
    bare: Vec<f64>,
    /// Seconds.
    worker: Vec<f64>,
    /// COPY alone, of raw rows only, in each of the [ways](WAYS).
    copies: [Copies; WAYS.len()],
    /// Processor time of worker, Kafka and PostgreSQL, seconds.
    cpu: [Vec<f64>; 3],
    peak_mib: Vec<f64>,
}

/// COPY alone, by round.
#[derive(Default)]
struct Copies {
    /// Seconds.
    took: Vec<f64>,
    /// Processor time of PostgreSQL, seconds.
    cpu: Vec<f64>,
}

/// Where a worker was at a moment.
pub(crate) struct Reached {
    pub(crate) at: Instant,
    /// Events.
    pub(crate) covered: f64,
    /// Processor time so far of worker, Kafka and PostgreSQL.
    pub(crate) cpu: [Duration; 3],
}

impl Reached {
    fn now(stack: &Stack, worker: &Role, covered: f64) -> Self {
        let Used { kafka, postgres } = stack.used();
        Self {
            at: Instant::now(),
            covered,
            cpu: [worker.usage().cpu, kafka.cpu, postgres.cpu],
        }
    }
}

impl Job {
    fn new(name: &'static str, outputs: &'static [&'static str]) -> Self {
        Self {
            name,
            outputs,
            bare: Vec::new(),
            worker: Vec::new(),
            copies: Default::default(),
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
    let runtime = crate::runtime()?;
    let mut stack = Stack::start()?;
    for round in 1..=ROUNDS {
        for job in &mut jobs {
            runtime.block_on(run(&mut stack, job, &lines))?;
            eprintln!("worker: {}, round {round} of {ROUNDS}", job.name);
        }
    }
    Ok(report(events, &jobs))
}

async fn run(stack: &mut Stack, job: &mut Job, lines: &[Bytes]) -> Result<(), Failure> {
    let outputs = job.outputs;
    stack.deploy(|namespace| resources(namespace, "Drop", PARTITIONS, BY_METHOD, outputs))?;
    let stack = &*stack;
    let topic = Topic {
        partitions: PARTITIONS,
        events: lines.len(),
    };
    topic.fill(stack, lines)?;
    job.bare.push(topic.read_alone(stack)?);
    let database = stack.database(PARTITIONS).await?;
    let worker = stack.role("worker", &[])?;
    let [from, to] = catch_up(stack, &worker, &database, lines.len()).await?;
    // As all events would take at the rate of those that were measured.
    let all = lines.len() as f64 / (to.covered - from.covered);
    job.worker.push((to.at - from.at).as_secs_f64() * all);
    for (seconds, (from, to)) in job.cpu.iter_mut().zip(from.cpu.into_iter().zip(to.cpu)) {
        seconds.push(to.saturating_sub(from).as_secs_f64() * all);
    }
    let peak_bytes = worker.usage().peak_bytes;
    job.peak_mib.push(mib(peak_bytes));
    drop(worker);
    if job.outputs.contains(&EVERY_EVENT) {
        let files = copy_out(&database, lines.len()).await?;
        for (copies, way) in job.copies.iter_mut().zip(WAYS) {
            let before = stack.used().postgres.cpu;
            copies.took.push(copy_alone(&database, &files, way).await?);
            let cpu = stack.used().postgres.cpu.saturating_sub(before);
            copies.cpu.push(cpu.as_secs_f64());
        }
    }
    database.close().await;
    Ok(())
}

/// From the end of the warm-up until every closed window is committed.
pub(crate) async fn catch_up(
    stack: &Stack,
    worker: &Role,
    database: &PgPool,
    events: usize,
) -> Result<[Reached; 2], Failure> {
    let mut first = None;
    for _ in 0..LOOKS {
        let covered = worker
            .metric("tidewheel_task_next_offset", "clicks")
            .await?;
        let covered = covered.iter().sum::<f64>();
        if covered >= events as f64 * WARM_UP && first.is_none() {
            first = Some(Reached::now(stack, worker, covered));
        }
        if covered >= events as f64 {
            let watermarks = worker.metric("tidewheel_task_watermark_seconds", "clicks");
            let watermark = watermarks.await?.into_iter().fold(f64::INFINITY, f64::min);
            await_window(database, watermark).await?;
            let first = first.filter(|first| first.covered < covered);
            let first = first.ok_or("the worker was done before it began: give it more events")?;
            return Ok([first, Reached::now(stack, worker, covered)]);
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

/// Who reads the files of a COPY.
#[derive(Clone, Copy)]
enum By {
    /// The server, in one transaction for each file: a program elsewhere cannot have that.
    Server,
    /// A client, which does nothing else.
    Client,
}

/// A way to copy what is in files.
#[derive(Clone, Copy)]
struct Way {
    name: &'static str,
    by: By,
    /// Files that are copied at the same time, each over a connection of its own.
    at_once: usize,
}

const WAYS: [Way; 3] = [
    Way {
        name: "COPY alone from files, six at once",
        by: By::Server,
        at_once: PARTITIONS as usize,
    },
    Way {
        name: "COPY alone from a client, six at once",
        by: By::Client,
        at_once: PARTITIONS as usize,
    },
    Way {
        name: "COPY alone from a client, one after the other",
        by: By::Client,
        at_once: 1,
    },
];

/// Has the server write the rows that the worker wrote to a file for each task.
async fn copy_out(database: &PgPool, events: usize) -> Result<Vec<PathBuf>, Failure> {
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM events")
        .fetch_one(database)
        .await?;
    if count != events as i64 {
        return Err(format!("{count} rows of {events} events").into());
    }
    let folder: String = sqlx::query_scalar("SHOW data_directory")
        .fetch_one(database)
        .await?;
    let mut files = Vec::new();
    for partition in 0..PARTITIONS {
        let rows = format!("SELECT * FROM events WHERE _partition = {partition} ORDER BY _offset");
        let file = Path::new(&folder).join(format!("copied-{partition}.bin"));
        let sql = format!("COPY ({rows}) TO '{}' (FORMAT binary)", file.display());
        sqlx::query(AssertSqlSafe(sql)).execute(database).await?;
        files.push(file);
    }
    Ok(files)
}

/// Copies files of rows into a table like the one that they are from. Seconds.
async fn copy_alone(database: &PgPool, files: &[PathBuf], way: Way) -> Result<f64, Failure> {
    for sql in [
        "DROP TABLE IF EXISTS copied",
        "CREATE TABLE copied (LIKE events INCLUDING ALL)",
        "CHECKPOINT",
    ] {
        sqlx::query(sql).execute(database).await?;
    }
    let begin = Instant::now();
    let copies = stream::iter(files).map(|file| copy_file(database, file, way.by));
    let copies = copies.buffer_unordered(way.at_once);
    copies.try_collect::<()>().await?;
    Ok(begin.elapsed().as_secs_f64())
}

async fn copy_file(database: &PgPool, file: &Path, by: By) -> Result<(), Failure> {
    match by {
        By::Server => {
            let sql = format!("COPY copied FROM '{}' (FORMAT binary)", file.display());
            sqlx::query(AssertSqlSafe(sql)).execute(database).await?;
        }
        By::Client => {
            let mut rows = tokio::fs::File::open(file).await?;
            let mut copy = database
                .copy_in_raw("COPY copied FROM STDIN (FORMAT binary)")
                .await?;
            loop {
                let mut piece = Vec::with_capacity(PIECE_BYTES);
                let mut limited = (&mut rows).take(PIECE_BYTES as u64);
                if limited.read_to_end(&mut piece).await? == 0 {
                    break;
                }
                copy.send(piece).await?;
            }
            copy.finish().await?;
        }
    }
    Ok(())
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
        for (copies, way) in job.copies.iter().zip(WAYS) {
            if copies.took.is_empty() {
                continue;
            }
            let alone = way.name;
            report.add_rate(alone, events, &copies.took);
            report.add_ratio(&format!("{name} / {alone}"), &copies.took, &job.worker);
            let cost = copies
                .cpu
                .iter()
                .map(|seconds| seconds / millions)
                .collect();
            report.add_median(format!("{alone}: PostgreSQL"), cost, "CPU s per million");
            report.add_ratio(
                &format!("rows for a CPU second of PostgreSQL, {name} / {alone}"),
                &copies.cpu,
                &job.cpu[2],
            );
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
