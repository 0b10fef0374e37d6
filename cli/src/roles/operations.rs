//! Probes and metrics of a role, on an address of their own: who may send events need not see them.
use std::net::SocketAddr;
use std::sync::Arc;

use prometheus::Registry;
use tidewheel_ingest::{Readiness, serve_operations};
use tidewheel_log_kafka::KafkaLog;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;
use crate::metrics::{KafkaMetrics, ProcessMetrics};

/// `/healthz`, `/readyz` and `/metrics` at work.
pub(crate) struct Operations {
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl Operations {
    /// Takes the address. What the process and the clients of its log use is among the metrics.
    pub(crate) async fn start(
        address: SocketAddr,
        registry: Registry,
        log: Option<&KafkaLog>,
        roles: Vec<Arc<dyn Readiness>>,
    ) -> Result<Self, Failure> {
        registry.register(Box::new(ProcessMetrics::new()?))?;
        if let Some(log) = log {
            registry.register(Box::new(KafkaMetrics::new(log.clone())?))?;
        }
        let listener = TcpListener::bind(address).await.map_err(|error| {
            Failure::usage(
                format!("cannot listen on {address}: {error}"),
                "give another address with --operations",
            )
        })?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let told = stop.clone().cancelled_owned();
        let serving = tokio::spawn(async move {
            if let Err(error) = serve_operations(listener, registry, roles, told).await {
                tracing::error!(%error, "probes and metrics are not served");
            }
        });
        tracing::info!(%address, "probes and metrics are served");
        Ok(Self { stop, serving })
    }

    /// Answers what was asked, and no more.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.serving.await {
            tracing::error!(%error, "probes and metrics ended badly");
        }
    }
}
