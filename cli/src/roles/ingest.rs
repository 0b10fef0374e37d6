//! `tidewheel ingest`: the HTTP endpoint of EventSources.
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use prometheus::Registry;
use tidewheel_ingest::{Ingest, IngestSettings};
use tidewheel_log::Log;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;
use crate::roles::operations::Operations;

/// Where a role listens.
pub(crate) struct Addresses {
    /// For events.
    pub(crate) events: SocketAddr,
    /// For probes and metrics.
    pub(crate) operations: SocketAddr,
}

/// Takes events of `sources` until `stop`, then answers what was begun, for at most `grace`.
pub(crate) async fn serve(
    log: Arc<dyn Log>,
    sources: Vec<tidewheel_ingest::Source>,
    addresses: Addresses,
    grace: Duration,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let settings = IngestSettings {
        shutdown_grace: grace,
        ..IngestSettings::default()
    };
    let registry = Registry::new();
    let failed = |error: &dyn std::error::Error| Failure::Run(error.to_string());
    let ingest = Ingest::new(settings, log, &registry).map_err(|error| failed(&error))?;
    ingest.replace(sources).map_err(|error| failed(&error))?;
    let listener = TcpListener::bind(addresses.events).await.map_err(|error| {
        Failure::usage(
            format!("cannot listen on {}: {error}", addresses.events),
            "give another address with --listen",
        )
    })?;
    let address = listener.local_addr()?;
    let readiness = Arc::new(ingest.clone());
    let operations = Operations::start(addresses.operations, registry, vec![readiness]).await?;
    tracing::info!(%address, "taking events");
    // Probes are answered to the end: they say that it is shutting down.
    let drained = ingest
        .serve_router(listener, ingest.router(), stop.cancelled_owned())
        .await;
    operations.stop().await;
    match drained.cut_off {
        0 => Ok(()),
        count => Err(Failure::Run(format!(
            "{count} connections were cut off: their requests were not answered within the grace"
        ))),
    }
}
