//! From produced to committed: how old an event is when its row can be seen.
use std::ops::Range;
use std::time::{Duration, Instant};

use chrono::{SecondsFormat, Utc};
use rdkafka::producer::Producer as _;
use sqlx::Row as _;
use sqlx::postgres::PgPool;

use crate::Failure;
use crate::figures::Report;
use crate::pipeline::{BY_METHOD, EVENTS as EVERY_EVENT, WINDOWS, resources};
use crate::stack::{Stack, Topic, send};

pub(crate) const PER_SECOND: usize = 5_000;
const EVENTS: usize = 150_000;
const PARTITIONS: u32 = 6;
/// What is sent first and not measured, seconds: Kafka's Java compiles what it runs, and the database's caches are filled.
pub(crate) const WARM_UP: usize = 90;
/// For how long events are sent that nobody reads, seconds: what Kafka takes for the producer alone.
const ALONE: usize = 20;
/// How often some events are sent.
const TICK: Duration = Duration::from_millis(2);

/// How old events were when their rows were committed, ms, by the database's own record: how many, p50, p99, the oldest. The first
/// seconds are left out.
const AGES: &str = "
    WITH aged AS (
        SELECT 1000 * extract(epoch FROM pg_xact_commit_timestamp(xmin) - ts)::float8 AS ms
        FROM events WHERE ts > (SELECT min(ts) FROM events) + make_interval(secs => $1))
    SELECT count(*), percentile_disc(0.5) WITHIN GROUP (ORDER BY ms), percentile_disc(0.99) WITHIN GROUP (ORDER BY ms), max(ms)
    FROM aged";

/// How old events were when their rows were committed, ms.
pub(crate) struct Ages {
    rows: i64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) longest: f64,
}

impl Ages {
    /// Of the rows in `events`, without those of the warm-up.
    pub(crate) async fn read(database: &PgPool) -> Result<Self, Failure> {
        let row = sqlx::query(AGES)
            .bind(WARM_UP as f64)
            .fetch_one(database)
            .await?;
        Ok(Self {
            rows: row.get(0),
            p50: row.get(1),
            p99: row.get(2),
            longest: row.get(3),
        })
    }
}

pub(crate) fn measure(events: Option<usize>) -> Result<Report, Failure> {
    let events = events.unwrap_or(EVENTS);
    let runtime = crate::runtime()?;
    runtime.block_on(run(events))
}

async fn run(events: usize) -> Result<Report, Failure> {
    let mut stack = Stack::start()?;
    let outputs = [WINDOWS, EVERY_EVENT];
    stack.deploy(|namespace| resources(namespace, "Drop", PARTITIONS, BY_METHOD, &outputs))?;
    let worker = stack.role("worker", &[])?;
    worker.ready().await?;
    let warm_up = WARM_UP * PER_SECOND;
    produce(&stack, 0..warm_up)?;
    let (before, server) = (worker.usage(), stack.used());
    produce(&stack, warm_up..warm_up + events)?;
    let (own, after) = (worker.usage(), stack.used());
    let database = stack.database(1).await?;
    await_rows(&database, (warm_up + events) as i64).await?;
    drop(worker);
    let ages = Ages::read(&database).await?;
    let before_alone = stack.used();
    produce(&stack, 0..ALONE * PER_SECOND)?;
    let alone = stack
        .used()
        .kafka
        .cpu
        .saturating_sub(before_alone.kafka.cpu);
    let mut report = Report::new(
        "latency",
        format!(
            "{PER_SECOND} events a second to {PARTITIONS} partitions, rows and windows, from the call of the producer (linger 5 ms) \
             until the row is committed; {} events after {WARM_UP} s",
            ages.rows
        ),
        events,
    );
    for (name, age) in [
        ("p50", ages.p50),
        ("p99", ages.p99),
        ("longest", ages.longest),
    ] {
        report.add(name, age, "ms");
    }
    let millions = events as f64 / 1e6;
    for (process, from, to) in [
        ("worker", before, own),
        ("Kafka", server.kafka, after.kafka),
        ("PostgreSQL", server.postgres, after.postgres),
    ] {
        let cpu = to.cpu.saturating_sub(from.cpu).as_secs_f64() / millions;
        report.add(format!("{process} at this rate"), cpu, "CPU s per million");
    }
    report.add(
        "Kafka for the producer alone",
        alone.as_secs_f64() / ((ALONE * PER_SECOND) as f64 / 1e6),
        "CPU s per million",
    );
    Ok(report)
}

/// # Errors
/// When they are not there half a minute later.
pub(crate) async fn await_rows(database: &PgPool, rows: i64) -> Result<(), Failure> {
    let mut seen: i64 = 0;
    for _ in 0..600 {
        seen = sqlx::query_scalar("SELECT count(*) FROM events")
            .fetch_one(database)
            .await?;
        if seen == rows {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err(format!("{seen} rows of {rows} events").into())
}

/// Sends events of now, in time.
pub(crate) fn produce(stack: &Stack, numbers: Range<usize>) -> Result<(), Failure> {
    let events = numbers.len();
    let topic = Topic {
        partitions: PARTITIONS,
        events,
    };
    let (sender, name) = (topic.sender(stack)?, stack.topic());
    let begin = Instant::now();
    let mut sent = 0;
    while sent < events {
        let due = (begin.elapsed().as_secs_f64() * PER_SECOND as f64) as usize;
        while sent < due.min(events) {
            send(
                &sender,
                &name,
                (sent % PARTITIONS as usize) as i32,
                event(numbers.start + sent).as_bytes(),
            )?;
            sent += 1;
        }
        std::thread::sleep(TICK);
    }
    sender.flush(Duration::from_secs(60))?;
    Ok(())
}

fn event(number: usize) -> String {
    let now = Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true);
    let (user, code) = (
        number % 10_000,
        if number.is_multiple_of(20) { 404 } else { 200 },
    );
    format!(
        r#"{{"event_id":"00000000-0000-4000-8000-{number:012x}","source":"web","timestamp":"{now}","attributes":{{"user_id":"user-{user}","metric":{number}.25,"method":"GET","code":{code}}}}}"#
    )
}
