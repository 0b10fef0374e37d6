//! The runtime of a command, and how it ends.
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use tidewheel_log_kafka::await_closed;
use tokio::runtime::{Builder, Runtime};

use crate::failure::Failure;

/// How long what still blocks in clients of Kafka is waited for at the end.
const CLOSES_WITHIN: Duration = Duration::from_secs(3);

/// How many threads there are at least. A process that may use a part of a core would have one, on which a task that computes for seconds keeps
/// all others from their connections until databases close them.
const THREADS: usize = 8;

/// Runs a command on a runtime of its own.
///
/// Clients of Kafka are given some seconds to end: librdkafka's threads do not stand what C libraries clean up when a process ends. Those of a
/// broker that does not answer may take longer, and are not waited for.
pub(crate) fn run<T>(command: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    run_and_end(command, |runtime| runtime.shutdown_timeout(CLOSES_WITHIN))
}

/// The same for a command that may be reading a file: calls that block keep nobody waiting.
pub(crate) fn run_reading<T>(
    command: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    run_and_end(command, Runtime::shutdown_background)
}

fn run_and_end<T>(
    command: impl Future<Output = Result<T, Failure>>,
    end: fn(Runtime),
) -> Result<T, Failure> {
    let threads = available_parallelism().map_or(THREADS, |cores| cores.get().max(THREADS));
    let runtime = Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(command);
    let began = Instant::now();
    end(runtime);
    if !await_closed(CLOSES_WITHIN.saturating_sub(began.elapsed())) {
        tracing::debug!("a client of Kafka could not be closed in time");
    }
    outcome
}
