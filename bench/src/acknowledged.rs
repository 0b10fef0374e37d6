//! Ingestion over HTTP acknowledged by Kafka, against librdkafka's own producer.
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use futures::future::try_join_all;

use crate::Failure;
use crate::events::Events;
use crate::figures::{Report, mib};
use crate::pipeline::{BY_METHOD, WINDOWS, resources};
use crate::stack::{Role, Stack, Topic};

const EVENTS: usize = 1_000_000;
const BATCH: usize = 100;
const CLIENTS: usize = 64;
const PARTITIONS: u32 = 6;
const ROUNDS: usize = 3;

pub(crate) fn measure(events: Option<usize>) -> Result<Report, Failure> {
    let events = events.unwrap_or(EVENTS).div_ceil(BATCH) * BATCH;
    let (_, lines) = Events::new(6, 10_000, 5_000).lines(events);
    let bodies: Vec<Bytes> = lines.chunks(BATCH).map(body).collect();
    let runtime = crate::runtime()?;
    let mut stack = Stack::start()?;
    stack.deploy(|namespace| resources(namespace, "Drop", PARTITIONS, BY_METHOD, &[WINDOWS]))?;
    let topic = Topic {
        partitions: PARTITIONS,
        events,
    };
    let ingest = stack.role("ingest", &["--listen", "127.0.0.1:0"])?;
    runtime.block_on(ingest.ready())?;
    let (mut bare, mut http, mut cpu) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        bare.push(topic.fill(&stack, &lines)?);
        let before = ingest.usage().cpu;
        http.push(runtime.block_on(post(&ingest, &bodies))?);
        let used = ingest.usage().cpu.saturating_sub(before);
        cpu.push(used.as_secs_f64() / (events as f64 / 1e6));
        eprintln!("acknowledged: round {round} of {ROUNDS}");
    }
    let mut report = Report::new(
        "acknowledged",
        format!(
            "{events} events in requests of {BATCH} (NDJSON) from {CLIENTS} clients to the ingest role, acknowledged by Kafka, all on this \
             machine; librdkafka's producer sends the same events from memory, as fast as it can; medians of {ROUNDS} rounds"
        ),
        events,
    );
    report.add_ratio("HTTP / librdkafka's producer alone", &bare, &http);
    report.add_rate("librdkafka's producer alone", events, &bare);
    report.add_rate("HTTP, checked and acknowledged", events, &http);
    report.add_median("ingest".to_owned(), cpu, "CPU s per million");
    let peak = mib(ingest.usage().peak_bytes);
    report.add("ingest's peak of memory", peak, "MiB");
    Ok(report)
}

fn body(lines: &[Bytes]) -> Bytes {
    let mut body = BytesMut::new();
    for line in lines {
        body.extend_from_slice(line);
        body.extend_from_slice(b"\n");
    }
    body.freeze()
}

async fn post(ingest: &Role, bodies: &[Bytes]) -> Result<f64, Failure> {
    let address = ingest.events.as_deref().ok_or("the role takes no events")?;
    let url = format!("http://{address}/v1/events");
    let client = reqwest::Client::new();
    let begin = Instant::now();
    let senders = (0..CLIENTS).map(|first| {
        let bodies = bodies.iter().skip(first).step_by(CLIENTS);
        crate::ingest::post_all(client.clone(), url.clone(), bodies.cloned().collect())
    });
    try_join_all(senders).await?;
    Ok(begin.elapsed().as_secs_f64())
}
