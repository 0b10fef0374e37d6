//! From produced to committed: how old an event is when its row can be seen.
use std::time::{Duration, Instant};

use chrono::{SecondsFormat, Utc};
use rdkafka::producer::Producer as _;
use sqlx::Row as _;

use crate::Failure;
use crate::figures::Report;
use crate::pipeline::{BY_METHOD, EVENTS as EVERY_EVENT, WINDOWS, resources};
use crate::stack::{Stack, Topic, send};

const PER_SECOND: usize = 5_000;
const EVENTS: usize = 150_000;
const PARTITIONS: u32 = 6;
/// What is sent first and not measured, seconds: connections are made, and the database's caches filled.
const WARM_UP: i32 = 5;
/// How often some events are sent.
const TICK: Duration = Duration::from_millis(2);

/// By the database's own record of when each transaction was committed.
const AGES: &str = "
    WITH aged AS (
        SELECT 1000 * extract(epoch FROM pg_xact_commit_timestamp(xmin) - ts)::float8 AS ms
        FROM events WHERE ts > (SELECT min(ts) FROM events) + make_interval(secs => $1))
    SELECT count(*), percentile_disc(0.5) WITHIN GROUP (ORDER BY ms), percentile_disc(0.99) WITHIN GROUP (ORDER BY ms), max(ms)
    FROM aged";

pub(crate) fn measure(events: Option<usize>) -> Result<Report, Failure> {
    let events = events.unwrap_or(EVENTS);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run(events))
}

async fn run(events: usize) -> Result<Report, Failure> {
    let stack = Stack::start(&resources(
        "Drop",
        PARTITIONS,
        BY_METHOD,
        &[WINDOWS, EVERY_EVENT],
    ))?;
    let worker = stack.role("worker", &[])?;
    worker.ready().await?;
    let (before, server) = (worker.usage(), stack.used());
    produce(&stack, events)?;
    let database = stack.database(1).await?;
    let mut seen: i64 = 0;
    for _ in 0..600 {
        seen = sqlx::query_scalar("SELECT count(*) FROM events")
            .fetch_one(&database)
            .await?;
        if seen == events as i64 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    if seen != events as i64 {
        return Err(format!("{seen} rows of {events} events").into());
    }
    let (own, after) = (worker.usage(), stack.used());
    let ages = sqlx::query(AGES)
        .bind(f64::from(WARM_UP))
        .fetch_one(&database)
        .await?;
    let mut report = Report::new(
        "latency",
        format!(
            "{PER_SECOND} events a second to {PARTITIONS} partitions, rows and windows, from the call of the producer (linger 5 ms) \
             until the row is committed; {} events after {WARM_UP} s",
            ages.get::<i64, _>(0)
        ),
        events,
    );
    for (column, name) in [(1, "p50"), (2, "p99"), (3, "longest")] {
        report.add(name, ages.get::<f64, _>(column), "ms");
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
    Ok(report)
}

/// Sends events of now, in time.
fn produce(stack: &Stack, events: usize) -> Result<(), Failure> {
    let topic = Topic {
        partitions: PARTITIONS,
        events,
    };
    let sender = topic.sender(stack)?;
    let begin = Instant::now();
    let mut sent = 0;
    while sent < events {
        let due = (begin.elapsed().as_secs_f64() * PER_SECOND as f64) as usize;
        while sent < due.min(events) {
            send(
                &sender,
                (sent % PARTITIONS as usize) as i32,
                event(sent).as_bytes(),
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
