//! What operators and probes ask of a process: is it alive, can it work, how does it fare.
use std::sync::Arc;

use async_trait::async_trait;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use prometheus::{Registry, TextEncoder};
use serde::Serialize;

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
    /// How it is, for people. Tells no names or secrets: everybody can read it.
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

/// `GET /healthz` (200 while the process runs), `GET /readyz` (200 or 503, with a JSON report over all roles) and
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

async fn readyz(State(operations): State<Operations>) -> Response {
    let checks = futures::future::join_all(operations.roles.iter().map(|role| role.check()))
        .await
        .concat();
    let ready = checks.iter().all(|check| check.ready);
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
