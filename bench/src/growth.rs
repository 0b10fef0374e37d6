//! What a worker takes for ten times the events, keys and partitions: costs are to grow in line with the events, and with little else.
use crate::Failure;
use crate::events::Events;
use crate::figures::{Column, Comparison, Report, Row, mib};
use crate::pipeline::{EVENTS as EVERY_EVENT, WINDOWS, resources};
use crate::stack::{Stack, Topic};
use crate::worker::catch_up;

const EVENTS: usize = 20_000_000;
/// So many times more of one thing, where all the others are the same.
const GROWTH: usize = 10;
const KEYS: u64 = 1_000;
const PARTITIONS: u32 = 6;
const PER_SECOND: u64 = 5_000;
/// How many events are made and sent at a time.
const PART: usize = 250_000;

/// Windows of a minute by user.
const BY_USER: &str = "
    - name: per_minute
      aggregate:
        window: {tumbling: 1m}
        sql: SELECT user_id, count(*) AS count, sum(metric) AS sum_metric, max(metric) AS max_metric FROM clicks GROUP BY user_id";

/// One worker that catches up: rows, and windows of a minute.
pub(crate) struct Size<'a> {
    pub(crate) events: usize,
    pub(crate) keys: u64,
    pub(crate) partitions: u32,
    pub(crate) steps: &'a str,
}

/// What it took.
pub(crate) struct Cost {
    /// Events a second.
    pub(crate) rate: f64,
    /// Processor time of worker, Kafka and PostgreSQL, seconds per million events.
    pub(crate) cpu: [f64; 3],
    pub(crate) peak_mib: f64,
}

impl Size<'_> {
    pub(crate) async fn measure(&self, stack: &mut Stack) -> Result<Cost, Failure> {
        let outputs = [WINDOWS, EVERY_EVENT];
        stack.deploy(|namespace| {
            resources(namespace, "Drop", self.partitions, self.steps, &outputs)
        })?;
        let mut source = Events::new(13, self.keys, PER_SECOND);
        fill(stack, self.partitions, &mut source, self.events)?;
        let database = stack.database(1).await?;
        let worker = stack.role("worker", &[])?;
        let [from, to] = catch_up(stack, &worker, &database, self.events).await?;
        let events = to.covered - from.covered;
        let cpu = [0, 1, 2].map(|of| {
            let cpu = to.cpu[of].saturating_sub(from.cpu[of]);
            cpu.as_secs_f64() * 1e6 / events
        });
        database.close().await;
        Ok(Cost {
            rate: events / (to.at - from.at).as_secs_f64(),
            cpu,
            peak_mib: mib(worker.usage().peak_bytes),
        })
    }
}

/// Makes so many events and sends them to the pipeline's topic, a part at a time.
pub(crate) fn fill(
    stack: &Stack,
    partitions: u32,
    source: &mut Events,
    events: usize,
) -> Result<(), Failure> {
    let mut sent = 0;
    while sent < events {
        let count = PART.min(events - sent);
        let (_, lines) = source.lines(count);
        let topic = Topic {
            partitions,
            events: count,
        };
        topic.fill(stack, &lines)?;
        sent += count;
        eprintln!("{sent} of {events} events are there");
    }
    Ok(())
}

pub(crate) fn measure(events: Option<usize>) -> Result<Report, Failure> {
    let events = events.unwrap_or(EVENTS);
    let runtime = crate::runtime()?;
    runtime.block_on(run(events))
}

async fn run(events: usize) -> Result<Report, Failure> {
    let once = || Size {
        events,
        keys: KEYS,
        partitions: PARTITIONS,
        steps: BY_USER,
    };
    let sizes = [
        (
            format!(
                "{} events, {KEYS} keys, {PARTITIONS} partitions",
                events / GROWTH
            ),
            Size {
                events: events / GROWTH,
                ..once()
            },
        ),
        (format!("{GROWTH} times the events"), once()),
        (
            format!("{GROWTH} times the events and keys"),
            Size {
                keys: KEYS * GROWTH as u64,
                ..once()
            },
        ),
        (
            format!("{GROWTH} times the events and partitions"),
            Size {
                partitions: PARTITIONS * GROWTH as u32,
                ..once()
            },
        ),
    ];
    let mut stack = Stack::start()?;
    let mut rows = Vec::new();
    for (name, size) in sizes {
        let cost = size.measure(&mut stack).await?;
        let [worker, kafka, postgres] = cost.cpu;
        let values = [cost.rate, worker, kafka, postgres, cost.peak_mib].map(Some);
        eprintln!("growth: {name}: {:.0} events/s", cost.rate);
        rows.push(Row {
            name,
            values: values.to_vec(),
        });
    }
    let mut report = Report::new(
        "growth",
        "one worker that catches up, with Kafka and PostgreSQL on the same machine: every event as a row, and windows of a minute by key; from a quarter of the events to their end".to_owned(),
        events,
    );
    let cpu = "CPU s per million";
    report.comparisons.push(Comparison {
        name: "rows and windows".to_owned(),
        columns: vec![
            Column::new("rate", "events/s"),
            Column::new("worker", cpu),
            Column::new("Kafka", cpu),
            Column::new("PostgreSQL", cpu),
            Column::new("peak of memory", "MiB"),
        ],
        rows,
    });
    Ok(report)
}
