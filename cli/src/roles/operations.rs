//! Probes and metrics of a role, on an address of their own: who may send events need not see them.
use std::net::SocketAddr;
use std::sync::Arc;

use prometheus::Registry;
use tidewheel_ingest::{Readiness, serve_operations};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;
use crate::metrics::ProcessMetrics;

/// `/healthz`, `/readyz` and `/metrics` at work.
pub(crate) struct Operations {
    pub(crate) address: SocketAddr,
    stop: CancellationToken,
    serving: JoinHandle<std::io::Result<()>>,
}

impl Operations {
    /// Takes the address. What the process uses is among the metrics.
    pub(crate) async fn start(
        address: SocketAddr,
        registry: Registry,
        roles: Vec<Arc<dyn Readiness>>,
    ) -> Result<Self, Failure> {
        registry.register(Box::new(ProcessMetrics::new()?))?;
        let listener = TcpListener::bind(address).await.map_err(|error| {
            Failure::usage(
                format!("cannot listen on {address}: {error}"),
                "give another address with --operations",
            )
        })?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let told = stop.clone().cancelled_owned();
        let serving = tokio::spawn(serve_operations(listener, registry, roles, told));
        tracing::info!(%address, "probes and metrics are served");
        Ok(Self {
            address,
            stop,
            serving,
        })
    }

    /// Answers what was asked, and no more.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        match self.serving.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "probes and metrics were not served any more"),
            Err(error) => tracing::error!(%error, "probes and metrics ended badly"),
        }
    }
}
