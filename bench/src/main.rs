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
    /// All of these, one after the other.
    All,
}

impl What {
    /// The reports that it makes, by name.
    fn reports(self) -> &'static [&'static str] {
        match self {
            Self::Decode => &["decode"],
            Self::Log => &["log"],
            Self::Ingest => &["ingest"],
            Self::Memory => &["memory"],
            Self::Worker => &["worker"],
            Self::Latency => &["latency"],
            Self::Bounded => &["bounded"],
            Self::Growth => &["growth"],
            Self::Acknowledged => &["acknowledged"],
            Self::Fastapi { .. } => &["fastapi"],
            Self::Pipelines { .. } => &["pipelines"],
            Self::All => &[
                "memory",
                "decode",
                "log",
                "ingest",
                "worker",
                "latency",
                "bounded",
                "growth",
                "acknowledged",
                "fastapi",
                "pipelines",
            ],
        }
    }
}

fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    let what = arguments.what.unwrap_or(What::All);
    if let Some(file) = &arguments.docs {
        docs::check(file, what.reports())?;
    }
    let machine = Machine::read();
    let mut reports = Vec::new();
    match what {
        What::Decode => reports.push(decode::measure(arguments.events)?),
        What::Log => reports.push(log::measure(arguments.events)?),
        What::Ingest => reports.push(ingest::measure(arguments.events)?),
        What::Memory => reports.push(memory::measure(arguments.events)?),
        What::Worker => reports.push(worker::measure(arguments.events)?),
        What::Latency => reports.push(latency::measure(arguments.events)?),
        What::Bounded => reports.push(bounded::measure(arguments.events)?),
        What::Growth => reports.push(growth::measure(arguments.events)?),
        What::Acknowledged => reports.push(acknowledged::measure(arguments.events)?),
        What::Fastapi { rounds } => reports.push(fastapi::measure(arguments.events, rounds)?),
        What::Pipelines { rounds } => {
            reports.push(pipelines::measure(arguments.events, rounds)?);
        }
        What::All => {
            // First, and alone in its process: the peak is that of the whole process.
            reports.push(memory_in_its_own_process(arguments.events)?);
            reports.push(decode::measure(arguments.events)?);
            reports.push(log::measure(arguments.events)?);
            reports.push(ingest::measure(arguments.events)?);
            reports.push(worker::measure(arguments.events)?);
            reports.push(latency::measure(arguments.events)?);
            reports.push(bounded::measure(arguments.events)?);
            reports.push(growth::measure(arguments.events)?);
            reports.push(acknowledged::measure(arguments.events)?);
            reports.push(fastapi::measure(arguments.events, ROUNDS)?);
            reports.push(pipelines::measure(arguments.events, ROUNDS)?);
        }
    }
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
