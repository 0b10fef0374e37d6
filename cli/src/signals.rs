//! Being told to stop.
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::failure::{Exit, Failure};

/// Cancelled by the first SIGINT or SIGTERM; the second ends the process at once.
pub(crate) fn stop() -> Result<CancellationToken, Failure> {
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    let stop = CancellationToken::new();
    let told = stop.clone();
    tokio::spawn(async move {
        for first in [true, false] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if first {
                told.cancel();
            } else {
                std::process::exit(Exit::Stopped as i32);
            }
        }
    });
    Ok(stop)
}
