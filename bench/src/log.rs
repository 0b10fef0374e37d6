//! The embedded log end to end: events appended, a worker, tables.
use std::sync::Arc;
use std::time::Instant;

use tidewheel_log::{EmbeddedLog, Log, NewRecord};
use tidewheel_planner::plan::Plan;

use crate::Failure;
use crate::deployment::{Deployment, open_log};
use crate::events::Events;
use crate::figures::{Report, median};
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
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
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
        format!("cargo run --release -p tidewheel-bench -- log --events {events}"),
    );
    let ratio = |whole: &[f64]| {
        median(
            alone
                .iter()
                .zip(whole)
                .map(|(alone, whole)| alone / whole)
                .collect(),
        )
    };
    report.add("to window tables / appending alone", ratio(&to_windows), "");
    report.add(
        "to window tables and a table of every event / appending alone",
        ratio(&to_both),
        "",
    );
    let rate = |seconds: Vec<f64>| events as f64 / median(seconds);
    report.add("appending alone", rate(alone), "events/s");
    report.add("to window tables", rate(to_windows), "events/s");
    report.add(
        "to window tables and a table of every event",
        rate(to_both),
        "events/s",
    );
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
