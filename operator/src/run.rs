//! The operator as a whole: it waits until it leads, and then acts until it is told to stop or no longer leads.
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use futures::future::join_all;
use kube::runtime::events::{Recorder, Reporter};
use kube::{Client, Config};
use tokio::sync::watch as cell;

use crate::claims::Claims;
use crate::context::{Context, forget_what_is_gone};
use crate::controllers;
use crate::lease::{Lease, LeaseError};
use crate::metrics::Metrics;
use crate::own;
use crate::scaling;
use crate::settings::Settings;
use crate::watches::{Scope, watch};

/// How long the API server may take to answer anything but a watch: longer than it waits for webhooks itself.
const ANSWERS_WITHIN: Duration = Duration::from_secs(35);
/// How long those that know their namespaces wait for the others: one that cannot be read holds up no other for longer.
const OTHERS_KNOW_WITHIN: Duration = Duration::from_secs(15);

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
    /// For watches, which may be silent for as long as nothing happens and have a limit of their own.
    patient: Client,
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
        let unreachable =
            |error: &dyn std::error::Error| OperatorError::Unreachable(error.to_string());
        let config = Config::infer().await;
        let config = config.map_err(|error| unreachable(&error))?;
        let client = |config| Client::try_from(config).map_err(|error| unreachable(&error));
        Ok(Self {
            client: client(impatient(config.clone(), ANSWERS_WITHIN))?,
            patient: client(config)?,
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
        let all = All {
            claims: Claims::default(),
            scopes: scopes.len(),
            known: cell::Sender::new(0),
        };
        tokio::join!(
            join_all(scopes.iter().map(|scope| self.look_after(scope, &all))),
            own::keep(&self.client, &self.settings.namespace, monitoring),
        );
    }

    async fn look_after(&self, scope: &Scope, all: &All) {
        let (world, queues, watching) = watch(
            &self.patient,
            scope,
            &self.settings,
            &self.metrics,
            &all.claims,
        );
        let reporter = Reporter {
            controller: "tidewheel-operator".to_owned(),
            instance: Some(self.settings.identity.clone()),
        };
        let context = Arc::new(Context {
            client: self.client.clone(),
            settings: self.settings.clone(),
            world,
            claims: all.claims.clone(),
            kafka: Default::default(),
            rhythm: Default::default(),
            reached: Default::default(),
            deletions: Default::default(),
            scalings: Default::default(),
            bell: queues.bell.clone(),
            recorder: Recorder::new(self.client.clone(), reporter),
            metrics: self.metrics.clone(),
        });
        let acting = async {
            context.world.wait_until_known().await;
            all.wait_until_known().await;
            tokio::join!(
                controllers::run(context.clone(), queues),
                scaling::run(context.clone()),
                forget_what_is_gone(&context),
            );
        };
        tokio::join!(watching, acting);
    }
}

/// What those share that look after a namespace each.
struct All {
    claims: Claims,
    scopes: usize,
    /// How many of them know their namespaces.
    known: cell::Sender<usize>,
}

impl All {
    /// Waits until the others know their namespaces as well: whose a table or topic is depends on all of them.
    async fn wait_until_known(&self) {
        self.known.send_modify(|known| *known += 1);
        let mut known = self.known.subscribe();
        let all = known.wait_for(|known| *known == self.scopes);
        if tokio::time::timeout(OTHERS_KNOW_WITHIN, all).await.is_err() {
            tracing::warn!(
                "not all namespaces can be read: it goes on without knowing what outputs write to in the others"
            );
        }
    }
}

/// With a limit for every answer, counted from the request: one that never comes must hold up no resource for ever.
fn impatient(mut config: Config, answers_within: Duration) -> Config {
    config.read_timeout = Some(answers_within);
    config.reset_reader_on_write = true;
    config
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use k8s_openapi::api::core::v1::Service;
    use kube::Api;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_request_that_is_never_answered_fails_in_the_end() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", server.local_addr().unwrap());
        let config = Config::new(address.parse().unwrap());
        let client = Client::try_from(impatient(config, Duration::from_millis(100))).unwrap();
        let silent = tokio::spawn(async move {
            let mut accepted = Vec::new();
            loop {
                accepted.push(server.accept().await.unwrap());
            }
        });
        let services: Api<Service> = Api::namespaced(client, "shop");
        assert!(services.get("a").await.is_err());
        silent.abort();
    }

    #[tokio::test]
    async fn those_that_know_their_namespaces_wait_for_the_others() {
        let all = All {
            claims: Claims::default(),
            scopes: 2,
            known: cell::Sender::new(0),
        };
        let mut one = std::pin::pin!(all.wait_until_known());
        assert!(futures::poll!(&mut one).is_pending());
        all.wait_until_known().await;
        one.await;
    }
}
