//! The embedded log end to end: events appended, a worker, tables.
use std::sync::Arc;
use std::time::Instant;

use tidewheel_log::{EmbeddedLog, Log, NewRecord};
use tidewheel_planner::plan::Plan;

use crate::Failure;
use crate::deployment::{Deployment, open_log};
use crate::events::Events;
use crate::figures::Report;
use crate::pipeline::{BY_METHOD, EVENTS as EVERY_EVENT, WINDOWS, plan};

const EVENTS: usize = 300_000;
const BATCH: usize = 1_000;
const PARTITIONS: u32 = 2;
const ROUNDS: usize = 3;

pub(crate) fn measure(events: Option<usize>) -> Result<Report, Failure> {
    let events = events.unwrap_or(EVENTS);
    let windows = plan("Drop", PARTITIONS, BY_METHOD, &[WINDOWS])?;
    let both = plan("Drop", PARTITIONS, BY_METHOD, &[WINDOWS, EVERY_EVENT])?;
    let batches = batches(&windows, events);
    let runtime = crate::runtime()?;
    let (mut alone, mut to_windows, mut to_both) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        runtime.block_on(async {
            alone.push(append_alone(&windows, &batches).await?);
            to_windows.push(end_to_end(&windows, &batches, events).await?);
            to_both.push(end_to_end(&both, &batches, events).await?);
            Ok::<(), Failure>(())
        })?;
        eprintln!("log: round {round} of {ROUNDS}");
    }
    let mut report = Report::new(
        "log",
        format!(
            "{events} events appended in batches of {BATCH} to a folder, {PARTITIONS} partitions, until every row is in SQLite; \
             medians of {ROUNDS} rounds"
        ),
        events,
    );
    report.add_rate("appending alone", events, &alone);
    for (name, seconds) in [
        ("to window tables", &to_windows),
        ("to window tables and a table of every event", &to_both),
    ] {
        report.add_ratio(&format!("{name} / appending alone"), &alone, seconds);
        report.add_rate(name, events, seconds);
    }
    Ok(report)
}

fn batches(plan: &Plan, events: usize) -> Vec<Vec<NewRecord>> {
    let mut source = Events::new(3, 10_000, 5_000);
    let mut batches = Vec::new();
    for first in (0..events).step_by(BATCH) {
        let (_, parts) = source.lines(BATCH.min(events - first));
        let record = |(index, value): (usize, bytes::Bytes)| NewRecord {
            topic: plan.sources[0].topic.clone(),
            key: Some((first + index).to_string().into()),
            value: Some(value),
            ..NewRecord::default()
        };
        batches.push(parts.into_iter().enumerate().map(record).collect());
    }
    batches
}

async fn append(log: &EmbeddedLog, batches: &[Vec<NewRecord>]) -> Result<(), Failure> {
    for batch in batches {
        log.append(batch.clone()).await?;
        tokio::task::yield_now().await;
    }
    Ok(())
}

async fn append_alone(plan: &Plan, batches: &[Vec<NewRecord>]) -> Result<f64, Failure> {
    let folder = tempfile::tempdir()?;
    let log = open_log(&folder.path().join("log"), plan)?;
    let begin = Instant::now();
    append(&log, batches).await?;
    Ok(begin.elapsed().as_secs_f64())
}

async fn end_to_end(
    plan: &Arc<Plan>,
    batches: &[Vec<NewRecord>],
    events: usize,
) -> Result<f64, Failure> {
    let folder = tempfile::tempdir()?;
    let log = open_log(&folder.path().join("log"), plan)?;
    let deployment = Deployment::start(plan, &log, folder.path()).await?;
    let begin = Instant::now();
    append(&log, batches).await?;
    let counts = deployment.finish().await?;
    let seconds = begin.elapsed().as_secs_f64();
    let complete = counts[0] > 0 && counts.get(1).is_none_or(|&rows| rows == events as u64);
    if complete {
        Ok(seconds)
    } else {
        Err(format!("{counts:?} rows of {events} events").into())
    }
}
