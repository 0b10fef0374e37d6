//! The runtime of a command, and how it ends.
use std::time::{Duration, Instant};

use tidewheel_log_kafka::await_closed;

use crate::failure::Failure;

/// How long what still blocks in clients of Kafka is waited for at the end.
const CLOSES_WITHIN: Duration = Duration::from_secs(3);

/// Runs a command on a runtime of its own.
///
/// Clients of Kafka are given some seconds to end: librdkafka's threads do not stand what C libraries clean up when a process ends. Those of a
/// broker that does not answer may take longer, and are not waited for.
pub(crate) fn run<T>(command: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(command);
    let began = Instant::now();
    runtime.shutdown_timeout(CLOSES_WITHIN);
    if !await_closed(CLOSES_WITHIN.saturating_sub(began.elapsed())) {
        tracing::debug!("a client of Kafka could not be closed in time");
    }
    outcome
}
