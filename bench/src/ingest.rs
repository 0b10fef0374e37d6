//! Ingestion over HTTP, against appending to the log.
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures::future::try_join_all;
use prometheus::Registry;
use tidewheel_ingest::{Checker, Ingest, IngestSettings, Source, listen};
use tidewheel_log::{Log, NewRecord};
use tidewheel_planner::plan::Plan;
use tokio::sync::oneshot;

use crate::Failure;
use crate::deployment::open_log;
use crate::events::Events;
use crate::figures::Report;
use crate::pipeline::{BY_METHOD, WINDOWS, plan};

const EVENTS: usize = 200_000;
const BATCH: usize = 100;
const CLIENTS: usize = 8;
const ROUNDS: usize = 3;

/// The same events as bodies of requests and as records.
struct Batches {
    bodies: Vec<Bytes>,
    records: Vec<Vec<NewRecord>>,
}

pub(crate) fn measure(events: Option<usize>) -> Result<Report, Failure> {
    let events = events.unwrap_or(EVENTS).div_ceil(BATCH) * BATCH;
    let plan = plan("Keep", 6, BY_METHOD, &[WINDOWS])?;
    let batches = batches(&plan, events)?;
    let runtime = crate::runtime()?;
    let (mut bare, mut http) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        runtime.block_on(async {
            bare.push(append(&plan, &batches).await?);
            http.push(post(&plan, &batches).await?);
            Ok::<(), Failure>(())
        })?;
        eprintln!("ingest: round {round} of {ROUNDS}");
    }
    let mut report = Report::new(
        "ingest",
        format!(
            "{events} events in requests of {BATCH} (NDJSON), {CLIENTS} clients on the same machine, log in a folder; \
             medians of {ROUNDS} rounds"
        ),
        events,
    );
    report.add_ratio("HTTP / Log::append", &bare, &http);
    report.add_rate("Log::append, batches of 100", events, &bare);
    report.add_rate("HTTP, checked and acknowledged", events, &http);
    Ok(report)
}

fn source(plan: &Plan) -> Source {
    let source = &plan.sources[0];
    Source {
        namespace: plan.namespace.clone(),
        name: source.name.clone(),
        topic: source.topic.clone(),
        schema: source.events.clone(),
        generated: vec![0],
        key: source.key.clone(),
        api_keys: None,
        cors_origins: Vec::new(),
        events_per_second_per_key: None,
    }
}

fn batches(plan: &Plan, events: usize) -> Result<Batches, Failure> {
    let mut made = Events::new(4, 10_000, 5_000);
    let mut checker = Checker::new(&source(plan));
    let mut batches = Batches {
        bodies: Vec::new(),
        records: Vec::new(),
    };
    for _ in 0..events / BATCH {
        let (body, parts) = made.lines(BATCH);
        let checked = checker.check(&parts);
        if let Some(refused) = checked.refused.first() {
            return Err(format!("a made event is refused: {}", refused.reason).into());
        }
        batches.bodies.push(body);
        batches.records.push(checked.records);
    }
    Ok(batches)
}

async fn append(plan: &Plan, batches: &Batches) -> Result<f64, Failure> {
    let folder = tempfile::tempdir()?;
    let log = open_log(folder.path(), plan)?;
    let begin = Instant::now();
    for records in &batches.records {
        log.append(records.clone()).await?;
    }
    Ok(begin.elapsed().as_secs_f64())
}

async fn post(plan: &Plan, batches: &Batches) -> Result<f64, Failure> {
    let folder = tempfile::tempdir()?;
    let log = open_log(folder.path(), plan)?;
    let ingest = Ingest::new(IngestSettings::default(), Arc::new(log), &Registry::new())?;
    ingest.replace(vec![source(plan)])?;
    let listener = listen(([127, 0, 0, 1], 0).into())?;
    let url = format!("http://{}/v1/events", listener.local_addr()?);
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(async move {
        let until = async {
            // Stopped, or whoever could stop it is gone: the same.
            let _ = stopped.await;
        };
        ingest.serve(listener, until).await
    });
    let client = reqwest::Client::new();
    let begin = Instant::now();
    let senders = (0..CLIENTS).map(|first| {
        let bodies = batches.bodies.iter().skip(first).step_by(CLIENTS);
        post_all(client.clone(), url.clone(), bodies.cloned().collect())
    });
    try_join_all(senders).await?;
    let seconds = begin.elapsed().as_secs_f64();
    drop(stop);
    serving.await?;
    Ok(seconds)
}

/// Sends one body after the other, each when the one before it was answered.
pub(crate) async fn post_all(
    client: reqwest::Client,
    url: String,
    bodies: Vec<Bytes>,
) -> Result<(), Failure> {
    for body in bodies {
        let request = client
            .post(&url)
            .header("content-type", "application/x-ndjson")
            .body(body);
        let status = request.send().await?.status();
        if status != reqwest::StatusCode::ACCEPTED {
            return Err(format!("a batch was answered {status}").into());
        }
    }
    Ok(())
}
