//! Reproducible measurements, each as a ratio within one run.
//!
//! A figure alone says as much about the machine as about the program; a ratio between two ways of doing the same work, measured
//! by turns in one process, can be compared anywhere.
mod acknowledged;
mod bounded;
mod client;
mod contest;
mod decode;
mod deployment;
mod docs;
mod engine;
mod events;
mod fastapi;
mod figures;
mod growth;
mod ingest;
mod latency;
mod log;
mod memory;
mod peers;
mod pipeline;
mod pipelines;
mod stack;
mod worker;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::figures::{Machine, Report};

/// How often contenders that stand beside each other take part, unless somebody says otherwise.
const ROUNDS: usize = 3;

/// Whatever a measurement fails with ends the program.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What clients of servers run on.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let mut threads = tokio::runtime::Builder::new_multi_thread();
    Ok(threads.enable_all().build()?)
}

/// Measures the engine, the log, ingestion, and whole roles on a real Kafka and a real PostgreSQL.
#[derive(Debug, Parser)]
#[command(
    name = "tidewheel-bench",
    after_help = "Example: make bench BENCH=\"decode --events 2000000 --json\""
)]
struct Arguments {
    /// What to measure.
    #[command(subcommand)]
    what: Option<What>,
    /// How many events; each measurement has its own number unless given.
    #[arg(long, global = true)]
    events: Option<usize>,
    /// Print one JSON document instead of tables.
    #[arg(long, global = true)]
    json: bool,
    /// Also put the tables into this file, between the lines that mark their places.
    #[arg(long, global = true, value_name = "FILE")]
    docs: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum What {
    #[command(flatten)]
    One(Measurement),
    /// All of these, one after the other.
    All,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum Measurement {
    /// Decoding and windows in the engine, as a ratio to bare arrow-json decoding of the same bytes on the same core.
    Decode,
    /// The embedded log end to end: events appended, worker, tables; as a ratio to appending alone.
    Log,
    /// Ingestion over HTTP in batches of 100, as a ratio to appending to the log alone.
    Ingest,
    /// Peak memory while 10 million events with 1 million keys pass through the engine.
    Memory,
    /// A worker that catches up, from a real Kafka to a real PostgreSQL, as a ratio to reading alone and to COPY alone.
    Worker,
    /// How old events are when their rows are committed, at 5,000 events a second, through a real Kafka and a real PostgreSQL.
    Latency,
    /// Memory and time where they could grow without end: a sink that hangs, a restart, 10 million ids, 64 partitions.
    Bounded,
    /// What ten times the events, the keys or the partitions cost a worker.
    Growth,
    /// Ingestion over HTTP in batches of 100 that a real Kafka acknowledges, as a ratio to librdkafka's own producer.
    Acknowledged,
    /// Ingestion over HTTP that a real Kafka acknowledges, one event a request and batches of 100, beside FastAPI with uvicorn.
    Fastapi {
        /// How often everybody takes part.
        #[arg(long, default_value_t = ROUNDS)]
        rounds: usize,
    },
    /// A worker beside Flink SQL, Kafka Streams and Python consumers: rates, costs, what a kill -9 does to the result, and how old
    /// events are when their rows are committed.
    Pipelines {
        /// How often everybody takes part.
        #[arg(long, default_value_t = ROUNDS)]
        rounds: usize,
    },
}

impl Measurement {
    /// In the order in which all are made.
    const EACH: [Self; 11] = [
        Self::Memory,
        Self::Decode,
        Self::Log,
        Self::Ingest,
        Self::Worker,
        Self::Latency,
        Self::Bounded,
        Self::Growth,
        Self::Acknowledged,
        Self::Fastapi { rounds: ROUNDS },
        Self::Pipelines { rounds: ROUNDS },
    ];

    /// The name of its report.
    fn name(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Log => "log",
            Self::Ingest => "ingest",
            Self::Memory => "memory",
            Self::Worker => "worker",
            Self::Latency => "latency",
            Self::Bounded => "bounded",
            Self::Growth => "growth",
            Self::Acknowledged => "acknowledged",
            Self::Fastapi { .. } => "fastapi",
            Self::Pipelines { .. } => "pipelines",
        }
    }

    fn make(self, events: Option<usize>) -> Result<Report, Failure> {
        match self {
            Self::Decode => decode::measure(events),
            Self::Log => log::measure(events),
            Self::Ingest => ingest::measure(events),
            Self::Memory => memory::measure(events),
            Self::Worker => worker::measure(events),
            Self::Latency => latency::measure(events),
            Self::Bounded => bounded::measure(events),
            Self::Growth => growth::measure(events),
            Self::Acknowledged => acknowledged::measure(events),
            Self::Fastapi { rounds } => fastapi::measure(events, rounds),
            Self::Pipelines { rounds } => pipelines::measure(events, rounds),
        }
    }

    /// As one of all.
    fn make_among_others(self, events: Option<usize>) -> Result<Report, Failure> {
        match self {
            // The peak is that of a whole process.
            Self::Memory => memory_in_its_own_process(events),
            other => other.make(events),
        }
    }
}

fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    let one = match arguments.what {
        Some(What::One(one)) => Some(one),
        Some(What::All) | None => None,
    };
    if let Some(file) = &arguments.docs {
        let all = || Measurement::EACH.map(Measurement::name).to_vec();
        docs::check(file, &one.map_or_else(all, |one| vec![one.name()]))?;
    }
    let (machine, events) = (Machine::read(), arguments.events);
    let reports = match one {
        Some(one) => vec![one.make(events)?],
        None => {
            let each = Measurement::EACH.into_iter();
            each.map(|one| one.make_among_others(events))
                .collect::<Result<_, _>>()?
        }
    };
    figures::print(&machine, &reports, arguments.json)?;
    if let Some(file) = &arguments.docs {
        docs::write(file, &machine, &reports)?;
    }
    Ok(())
}

fn memory_in_its_own_process(events: Option<usize>) -> Result<Report, Failure> {
    let mut command = std::process::Command::new(std::env::current_exe()?);
    command
        .args(["memory", "--json"])
        .stderr(std::process::Stdio::inherit());
    command.args(events.map(|events| format!("--events={events}")));
    let output = command.output()?;
    if !output.status.success() {
        return Err(format!("measuring memory ended with {}", output.status).into());
    }
    figures::first_of(&output.stdout)
}
