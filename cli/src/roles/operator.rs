//! `tidewheel operator`: keeps EventSources, Pipelines and Sinks of a cluster as they are declared.
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use prometheus::Registry;
use tidewheel_ingest::{Check, Readiness};
use tidewheel_operator::{Metrics, Operator, Settings, Workloads};

use crate::failure::{Exit, Failure};
use crate::roles::args::OperatorArgs;
use crate::roles::operations::Operations;
use crate::roles::run_until_told;

/// Acts until SIGTERM, where no other operator does.
pub(crate) fn run(args: OperatorArgs) -> Result<Exit, Failure> {
    let settings = settings(&args)?;
    run_until_told(args.operations.grace, |stop| async move {
        let registry = Registry::new();
        let metrics = Metrics::new(&registry)?;
        let operator = Operator::new(settings, metrics).await.map_err(|error| {
            Failure::usage(error.to_string(), "run it in a pod, or set KUBECONFIG")
        })?;
        let readiness = Arc::new(OperatorReadiness(operator.is_up()));
        let operations =
            Operations::start(args.operations.operations, registry, None, vec![readiness])?;
        let outcome = operator.run(stop.cancelled_owned()).await;
        if outcome.is_ok() {
            operations.stop().await;
        }
        outcome.map_err(|error| Failure::Run(error.to_string()))
    })
}

fn settings(args: &OperatorArgs) -> Result<Settings, Failure> {
    Ok(Settings {
        namespaces: args
            .watch_namespaces
            .iter()
            .filter(|name| !name.is_empty())
            .cloned()
            .collect(),
        kafka_servers: args
            .kafka_bootstrap_servers
            .clone()
            .filter(|servers| !servers.is_empty()),
        kafka_secret: args.kafka_secret.clone(),
        identity: args.pod.clone(),
        namespace: args.namespace.clone(),
        workloads: workloads(&args.workloads)?,
    })
}

fn workloads(path: &Path) -> Result<Workloads, Failure> {
    let wrong = |error: &dyn std::fmt::Display| {
        Failure::usage(
            format!("--workloads {}: {error}", path.display()),
            "name a YAML file that says at least `image`; the chart writes one",
        )
    };
    let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
    Workloads::read(&text).map_err(|error| wrong(&error))
}

/// Whether the operator can work: it has heard of the API server. Who waits for another to end is as ready as who acts.
struct OperatorReadiness(Arc<AtomicBool>);

#[async_trait]
impl Readiness for OperatorReadiness {
    async fn check(&self) -> Vec<Check> {
        let ready = self.0.load(Ordering::Relaxed);
        let detail = if ready {
            "it answers"
        } else {
            "it has not answered yet"
        };
        vec![Check {
            name: "api-server",
            ready,
            required: true,
            detail: detail.to_owned(),
        }]
    }
}
