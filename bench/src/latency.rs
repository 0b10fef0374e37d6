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
use crate::stack::{Meter, Stack, Topic, send};

pub(crate) const PER_SECOND: usize = 5_000;
const EVENTS: usize = 150_000;
const PARTITIONS: u32 = 6;
/// What is sent first and not measured, seconds: Kafka's Java compiles what it runs, and the database's caches are filled.
const WARM_UP: usize = 90;
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

/// What became of events that were sent in time.
pub(crate) struct Passed {
    rows: i64,
    /// How old events were when their rows were committed, ms.
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) longest_ms: f64,
    /// Processor time of the reader, Kafka and PostgreSQL, seconds per million events.
    pub(crate) cpu: [f64; 3],
}

impl Passed {
    /// Sends so many events after the warm-up, while the process `reader` makes rows of them in `database`.
    ///
    /// # Errors
    /// When not all are rows half a minute later.
    pub(crate) async fn measure(
        stack: &Stack,
        reader: u32,
        database: &PgPool,
        events: usize,
    ) -> Result<Self, Failure> {
        let warm_up = WARM_UP * PER_SECOND;
        produce(stack, 0..warm_up)?;
        let begin = Meter::read(stack, reader);
        produce(stack, warm_up..warm_up + events)?;
        let spent = begin.until(&Meter::read(stack, reader));
        await_rows(database, (warm_up + events) as i64).await?;
        let row = sqlx::query(AGES)
            .bind(WARM_UP as f64)
            .fetch_one(database)
            .await?;
        let cpu = [spent.contender, spent.kafka, spent.postgres];
        Ok(Self {
            rows: row.get(0),
            p50_ms: row.get(1),
            p99_ms: row.get(2),
            longest_ms: row.get(3),
            cpu: cpu.map(|cpu| cpu.as_secs_f64() / (events as f64 / 1e6)),
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
    let database = stack.database(1).await?;
    let passed = Passed::measure(&stack, worker.id(), &database, events).await?;
    drop(worker);
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
            passed.rows
        ),
        events,
    );
    for (name, age_ms) in [
        ("p50", passed.p50_ms),
        ("p99", passed.p99_ms),
        ("longest", passed.longest_ms),
    ] {
        report.add(name, age_ms, "ms");
    }
    for (process, cpu) in ["worker", "Kafka", "PostgreSQL"]
        .into_iter()
        .zip(passed.cpu)
    {
        report.add(format!("{process} at this rate"), cpu, "CPU s per million");
    }
    report.add(
        "Kafka for the producer alone",
        alone.as_secs_f64() / ((ALONE * PER_SECOND) as f64 / 1e6),
        "CPU s per million",
    );
    Ok(report)
}

async fn await_rows(database: &PgPool, rows: i64) -> Result<(), Failure> {
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
fn produce(stack: &Stack, numbers: Range<usize>) -> Result<(), Failure> {
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
