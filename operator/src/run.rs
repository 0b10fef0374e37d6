//! The operator as a whole: it waits until it leads, and then acts until it is told to stop or no longer leads.
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use futures::future::join_all;
use kube::Client;
use kube::runtime::events::{Recorder, Reporter};

use crate::context::Context;
use crate::controllers;
use crate::lease::{Lease, LeaseError};
use crate::metrics::Metrics;
use crate::own;
use crate::scaling;
use crate::settings::Settings;
use crate::watches::{Scope, watch};

/// Why an operator ended.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// Nothing says how the API server is reached.
    #[error("the API server cannot be reached: {0}")]
    Unreachable(String),
    /// Somebody else leads now, or may.
    #[error(transparent)]
    Lease(#[from] LeaseError),
}

/// An operator.
pub struct Operator {
    client: Client,
    settings: Settings,
    metrics: Metrics,
    is_up: Arc<AtomicBool>,
}

impl Operator {
    /// An operator of the cluster that the environment or `~/.kube/config` names.
    ///
    /// # Errors
    /// Neither names one.
    pub async fn new(settings: Settings, metrics: Metrics) -> Result<Self, OperatorError> {
        let client = Client::try_default().await;
        Ok(Self {
            client: client.map_err(|error| OperatorError::Unreachable(error.to_string()))?,
            settings,
            metrics,
            is_up: Arc::default(),
        })
    }

    /// Whether it has had an answer of the API server: it waits to lead, or leads.
    #[must_use]
    pub fn is_up(&self) -> Arc<AtomicBool> {
        self.is_up.clone()
    }

    /// Leads, once it may, and acts, until `stop`.
    ///
    /// # Errors
    /// It no longer leads. The process is to end then, at once: another acts already, or will.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), OperatorError> {
        let lease = Lease::new(
            &self.client,
            &self.settings.namespace,
            &self.settings.identity,
        );
        let mut stop = std::pin::pin!(stop);
        let held = tokio::select! {
            held = lease.acquire(&self.is_up) => held?,
            () = &mut stop => return Ok(()),
        };
        tracing::info!(identity = self.settings.identity, "this process leads");
        self.metrics.leads(true);
        let outcome: Result<(), OperatorError> = tokio::select! {
            lost = held.keep() => Err(lost.into()),
            () = self.act() => Ok(()),
            () = &mut stop => Ok(()),
        };
        self.metrics.leads(false);
        if outcome.is_ok() {
            held.release().await;
        }
        outcome
    }

    /// Looks after all namespaces, each by itself where some are named.
    async fn act(&self) {
        let namespaces = self
            .settings
            .namespaces
            .iter()
            .cloned()
            .map(Scope::Namespace);
        let scopes: Vec<Scope> = match self.settings.namespaces.is_empty() {
            true => vec![Scope::All],
            false => namespaces.collect(),
        };
        let monitoring = self.settings.workloads.monitoring.as_ref();
        tokio::join!(
            join_all(scopes.iter().map(|scope| self.look_after(scope))),
            own::keep(&self.client, &self.settings.namespace, monitoring),
        );
    }

    async fn look_after(&self, scope: &Scope) {
        let (world, queues, watching) = watch(&self.client, scope, &self.settings, &self.metrics);
        let reporter = Reporter {
            controller: "tidewheel-operator".to_owned(),
            instance: Some(self.settings.identity.clone()),
        };
        let context = Arc::new(Context {
            client: self.client.clone(),
            settings: self.settings.clone(),
            world,
            kafka: Default::default(),
            rhythm: Default::default(),
            scalings: Default::default(),
            bell: queues.bell.clone(),
            recorder: Recorder::new(self.client.clone(), reporter),
            metrics: self.metrics.clone(),
        });
        let scaling = scaling::run(context.clone());
        tokio::join!(watching, controllers::run(context, queues), scaling);
    }
}
