//! Probes and metrics of a role, on an address of their own: who may send events need not see them.
//!
//! They have a thread of their own as well. A process that may use little of a processor computes for seconds at a time, and would seem to be dead.
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;

use prometheus::Registry;
use tidewheel_ingest::{Readiness, serve_operations};
use tidewheel_log_kafka::KafkaLog;
use tokio::runtime::Builder;
use tokio::task::spawn_blocking;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::failure::Failure;
use crate::metrics::{KafkaMetrics, ProcessMetrics};

/// `/healthz`, `/readyz` and `/metrics` at work.
pub(crate) struct Operations {
    stop: DropGuard,
    serving: thread::JoinHandle<()>,
}

impl Operations {
    /// Takes the address. What the process and the clients of its log use is among the metrics.
    pub(crate) fn start(
        address: SocketAddr,
        registry: Registry,
        log: Option<&KafkaLog>,
        roles: Vec<Arc<dyn Readiness>>,
    ) -> Result<Self, Failure> {
        registry.register(Box::new(ProcessMetrics::new()?))?;
        if let Some(log) = log {
            registry.register(Box::new(KafkaMetrics::new(log.clone())?))?;
        }
        let listener = TcpListener::bind(address).map_err(|error| {
            Failure::usage(
                format!("cannot listen on {address}: {error}"),
                "give another address with --operations",
            )
        })?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let told = stop.clone().cancelled_owned();
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let serve = async move {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            serve_operations(listener, registry, roles, told).await
        };
        let serving = thread::Builder::new().name("operations".to_owned());
        let serving = serving.spawn(move || {
            if let Err(error) = runtime.block_on(serve) {
                tracing::error!(%error, "probes and metrics are not served");
            }
        })?;
        tracing::info!(%address, "probes and metrics are served");
        Ok(Self {
            stop: stop.drop_guard(),
            serving,
        })
    }

    /// Answers what was asked, and no more.
    pub(crate) async fn stop(self) {
        drop(self.stop);
        let ended = spawn_blocking(move || self.serving.join()).await;
        if !matches!(ended, Ok(Ok(()))) {
            tracing::error!("probes and metrics ended badly");
        }
    }
}
