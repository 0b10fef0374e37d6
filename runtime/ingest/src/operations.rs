//! What operators and probes ask of a process: is it alive, can it work, how does it fare.
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use prometheus::{IntGauge, Registry, TextEncoder};
use serde::Serialize;
use tokio::net::TcpListener;

use crate::serve::{self, Drained};
use crate::settings::IngestSettings;

/// Most connections of those who probe and measure.
const MAX_CONNECTIONS: usize = 64;
/// How long the last answers may take.
const LAST_ANSWERS_WITHIN: Duration = Duration::from_secs(1);

/// A part of the process that can say whether it is able to work.
#[async_trait]
pub trait Readiness: Send + Sync + 'static {
    /// What it depends on, each with whether it is there now.
    async fn check(&self) -> Vec<Check>;
}

/// Something a role depends on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What is checked, such as `log`.
    pub name: &'static str,
    /// Whether it is there.
    pub ready: bool,
    /// Whether the process is not ready without it.
    pub required: bool,
    /// How it is, for people. Tells no secrets: everybody can read it who reaches the probes.
    pub detail: String,
}

#[derive(Serialize)]
struct Report {
    ready: bool,
    checks: Vec<Check>,
}

#[derive(Clone)]
struct Operations {
    registry: Registry,
    roles: Arc<[Arc<dyn Readiness>]>,
}

/// `GET /healthz` (200 while the process runs), `GET /readyz` (200 where all that is required is there, otherwise 503, with a JSON
/// report over all roles) and
/// `GET /metrics` (Prometheus text of the registry, which several roles may share).
pub fn operations_router(registry: Registry, roles: Vec<Arc<dyn Readiness>>) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(Operations {
            registry,
            roles: roles.into(),
        })
}

/// Serves [`operations_router`] on an address of its own until `shutdown` is ready.
///
/// # Errors
/// The metric that counts connections cannot be made.
pub async fn serve_operations(
    listener: TcpListener,
    registry: Registry,
    roles: Vec<Arc<dyn Readiness>>,
    shutdown: impl Future<Output = ()>,
) -> Result<Drained, prometheus::Error> {
    let settings = IngestSettings {
        max_connections: MAX_CONNECTIONS,
        shutdown_grace: LAST_ANSWERS_WITHIN,
        ..IngestSettings::default()
    };
    // Of no interest to anybody, and in no registry.
    let connections = IntGauge::new("operations_connections", "Open connections.")?;
    let router = operations_router(registry, roles);
    Ok(serve::serve(listener, router, &settings, &connections, shutdown).await)
}

async fn readyz(State(operations): State<Operations>) -> Response {
    let checks = futures::future::join_all(operations.roles.iter().map(|role| role.check()))
        .await
        .concat();
    let ready = checks.iter().all(|check| check.ready || !check.required);
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(Report { ready, checks })).into_response()
}

async fn metrics(State(operations): State<Operations>) -> Response {
    match TextEncoder::new().encode_to_string(&operations.registry.gather()) {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("metrics cannot be written: {error}\n"),
        )
            .into_response(),
    }
}
