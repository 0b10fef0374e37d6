//! HTTP ingestion of all sources on one address.
use std::net::SocketAddr;
use std::sync::Arc;

use prometheus::Registry;
use tidewheel_ingest::{Drained, Ingest, IngestSettings, listen};
use tidewheel_log::Log;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;

/// The address unless another is given.
pub(crate) const DEFAULT_ADDRESS: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080);

/// Ingestion at work.
pub(crate) struct Listening {
    pub(crate) address: SocketAddr,
    ingest: Ingest,
    registry: Registry,
    stop: CancellationToken,
    serving: JoinHandle<Drained>,
}

impl Listening {
    /// Takes the address, and serves these sources, with the metrics of `registry`.
    pub(crate) async fn start(
        address: SocketAddr,
        log: Arc<dyn Log>,
        sources: Vec<tidewheel_ingest::Source>,
        registry: Registry,
    ) -> Result<Self, Failure> {
        let listener = listen(address).map_err(|error| cannot_listen(address, &error))?;
        let address = listener.local_addr()?;
        let ingest = Ingest::new(IngestSettings::default(), log, &registry)
            .map_err(|error| Failure::Run(error.to_string()))?;
        ingest
            .replace(sources)
            .map_err(|error| Failure::Run(error.to_string()))?;
        let stop = CancellationToken::new();
        let serving = {
            let (ingest, stop) = (ingest.clone(), stop.clone());
            tokio::spawn(async move { ingest.serve(listener, stop.cancelled_owned()).await })
        };
        Ok(Self {
            address,
            ingest,
            registry,
            stop,
            serving,
        })
    }

    /// What it counts.
    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Serves these sources instead; the port stays open.
    pub(crate) fn replace(&self, sources: Vec<tidewheel_ingest::Source>) -> Result<(), Failure> {
        self.ingest
            .replace(sources)
            .map_err(|error| Failure::Run(error.to_string()))
    }

    /// Answers what was begun, and takes no more.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.serving.await {
            tracing::error!(%error, "ingestion ended badly");
        }
    }
}

fn cannot_listen(address: SocketAddr, error: &std::io::Error) -> Failure {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => Failure::usage(
            format!("{address} is in use by another program"),
            "stop that one, or give another address: --listen 127.0.0.1:0 takes a port that is free",
        ),
        _ => Failure::usage(
            format!("cannot listen on {address}: {error}"),
            "give another address with --listen",
        ),
    }
}
