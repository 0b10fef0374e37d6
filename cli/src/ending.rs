//! The end of a command that talked to Kafka.
use std::time::Duration;

use tidewheel_log_kafka::wait_until_closed;
use tokio::runtime::Runtime;

/// How long calls that block, and then clients that are being closed, are waited for.
const LEAVE_WITHIN: Duration = Duration::from_secs(3);

/// Ends a runtime. What still blocks in a client after a while is left to the end of the process.
pub(crate) fn end(runtime: Runtime) {
    runtime.shutdown_timeout(LEAVE_WITHIN);
    leave();
}

/// The same without waiting for calls that block: somebody may read from a terminal.
pub(crate) fn end_at_once(runtime: Runtime) {
    runtime.shutdown_background();
    leave();
}

fn leave() {
    if !wait_until_closed(LEAVE_WITHIN) {
        tracing::debug!("clients of Kafka did not close in time");
    }
}
