//! The ingestion API as a value: made once, given sources, served.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use async_trait::async_trait;
use axum::Router;
use axum::extract::{Path, Request, State};
use axum::routing::any;
use parking_lot::{Mutex, RwLock};
use prometheus::Registry;
use tidewheel_log::Log;
use tokio::net::TcpListener;
use tracing::info;

use crate::events;
use crate::log_probe::LogProbe;
use crate::memory::Memory;
use crate::metrics::Metrics;
use crate::operations::{Check, Readiness, operations_router};
use crate::serve::{self, Drained};
use crate::settings::IngestSettings;
use crate::source::{Source, SourceError, Sources, Target};

/// The HTTP ingestion API. Clones share everything.
#[derive(Clone)]
pub struct Ingest {
    shared: Arc<Shared>,
    registry: Registry,
}

/// The ingestion API cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The registry holds metrics of these names already.
    #[error("the metrics of the ingestion API cannot be registered: {0}")]
    Metrics(#[from] prometheus::Error),
    /// One allowed request would not fit.
    #[error(
        "max_in_flight_bytes is {given_bytes}, but one request within the other limits can need {needed_bytes}: raise it, or lower them"
    )]
    InFlightTooSmall {
        /// What was given.
        given_bytes: usize,
        /// What one request can need.
        needed_bytes: usize,
    },
}

pub(crate) struct Shared {
    pub(crate) settings: IngestSettings,
    pub(crate) log: Arc<dyn Log>,
    probe: LogProbe,
    pub(crate) memory: Arc<Memory>,
    pub(crate) metrics: Metrics,
    sources: RwLock<Arc<Sources>>,
    /// Held while the sources are replaced, so that replacements do not lose each other's limits.
    replacing: Mutex<()>,
    shutting_down: AtomicBool,
    /// When and why the log did not take what it was given, unless it has taken something since.
    refused: Mutex<Option<(Instant, String)>>,
}

impl Shared {
    /// The log took what it was given.
    pub(crate) fn stored(&self) {
        let mut refused = self.refused.lock();
        if refused.take().is_some() {
            info!("the log takes events again");
        }
    }

    /// The log did not take what it was given.
    pub(crate) fn not_stored(&self, reason: String) {
        *self.refused.lock() = Some((Instant::now(), reason));
    }

    pub(crate) fn sources(&self) -> Arc<Sources> {
        self.sources.read().clone()
    }
}

impl Ingest {
    /// An ingestion API without sources, which writes to `log` and keeps its metrics in `registry`.
    ///
    /// # Errors
    /// When the registry has an ingestion API already, or the limits contradict each other.
    pub fn new(
        settings: IngestSettings,
        log: Arc<dyn Log>,
        registry: &Registry,
    ) -> Result<Self, IngestError> {
        let needed_bytes = events::largest_request_bytes(&settings);
        if settings.max_in_flight_bytes < needed_bytes {
            return Err(IngestError::InFlightTooSmall {
                given_bytes: settings.max_in_flight_bytes,
                needed_bytes,
            });
        }
        let memory = Memory::new(settings.max_in_flight_bytes);
        let metrics = Metrics::register(registry, &memory)?;
        let shared = Shared {
            settings,
            probe: LogProbe::new(log.clone()),
            log,
            memory,
            metrics,
            sources: RwLock::default(),
            replacing: Mutex::new(()),
            shutting_down: AtomicBool::new(false),
            refused: Mutex::default(),
        };
        Ok(Self {
            shared: Arc::new(shared),
            registry: registry.clone(),
        })
    }

    /// Serves these sources from now on, instead of those before. Requests under way end as they began, and what a key has
    /// spent of its rate stays spent.
    ///
    /// # Errors
    /// The first source that cannot be served; then nothing has changed.
    pub fn replace(&self, sources: Vec<Source>) -> Result<(), SourceError> {
        let _replacing = self.shared.replacing.lock();
        let sources = Sources::new(sources, &self.shared.metrics, &self.shared.sources())?;
        *self.shared.sources.write() = Arc::new(sources);
        Ok(())
    }

    /// `POST /v1/events` and `POST /v1/sources/{namespace}/{name}/events`; every other path is answered 404.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/v1/events", any(only_source))
            .route("/v1/sources/{namespace}/{name}/events", any(named_source))
            .fallback(no_path)
            .with_state(self.shared.clone())
    }

    /// Serves [`Self::router`] together with `/healthz`, `/readyz` and `/metrics` until `shutdown` is ready, and then until
    /// the requests that were begun are answered.
    ///
    /// Never fails on account of clients; when the system cannot accept connections it logs that and tries again.
    pub async fn serve(
        &self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()>,
    ) -> Drained {
        let operations = operations_router(self.registry.clone(), vec![Arc::new(self.clone())]);
        self.serve_router(listener, self.router().merge(operations), shutdown)
            .await
    }

    /// Serves a router of the caller's making with the limits and deadlines of this API.
    pub async fn serve_router(
        &self,
        listener: TcpListener,
        router: Router,
        shutdown: impl Future<Output = ()>,
    ) -> Drained {
        let announced = async {
            shutdown.await;
            self.shared.shutting_down.store(true, Ordering::Relaxed);
        };
        serve::serve(
            listener,
            router,
            &self.shared.settings,
            &self.shared.metrics.connections,
            announced,
        )
        .await
    }
}

#[async_trait]
impl Readiness for Ingest {
    /// Whether the log can be reached and has the topics of all sources, and whether it takes what it is given.
    async fn check(&self) -> Vec<Check> {
        let accepting = !self.shared.shutting_down.load(Ordering::Relaxed);
        let detail = if accepting {
            "accepting events"
        } else {
            "shutting down"
        }
        .to_owned();
        vec![
            Check {
                name: "ingest",
                ready: accepting,
                required: true,
                detail,
            },
            self.check_log().await,
            self.check_appends(),
        ]
    }
}

impl Ingest {
    /// Not required: who is sent no events any more would never find out that the log takes them again.
    fn check_appends(&self) -> Check {
        let refused = self.shared.refused.lock();
        let detail = match refused.as_ref() {
            None => "the log takes events".to_owned(),
            Some((at, reason)) => {
                format!(
                    "events were not stored {} s ago, and none were since: {reason}",
                    at.elapsed().as_secs()
                )
            }
        };
        Check {
            name: "appends",
            ready: refused.is_none(),
            required: false,
            detail,
        }
    }

    async fn check_log(&self) -> Check {
        let topics = self.shared.sources().topics();
        let (ready, detail) = match self.shared.probe.topics(topics).await {
            Err(reason) => (false, reason),
            Ok(found) => {
                let there = found.iter().flatten().count();
                (
                    there == found.len(),
                    format!("{there} of {} topics are there", found.len()),
                )
            }
        };
        Check {
            name: "log",
            ready,
            required: true,
            detail,
        }
    }
}

async fn only_source(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> axum::response::Response {
    events::answer(shared, Some(Target::Only), request).await
}

async fn named_source(
    State(shared): State<Arc<Shared>>,
    Path((namespace, name)): Path<(String, String)>,
    request: Request,
) -> axum::response::Response {
    events::answer(
        shared,
        Some(Target::Named(format!("{namespace}/{name}"))),
        request,
    )
    .await
}

async fn no_path(State(shared): State<Arc<Shared>>, request: Request) -> axum::response::Response {
    events::answer(shared, None, request).await
}
