//! The operator, installed by its chart on a real cluster: what becomes of resources that people apply.
mod conditions;
mod deletion;
mod drift;
mod first;
mod flow;
mod forwarded;
mod killed;
mod leader;
mod many;
mod monitors;
mod quiet;
mod references;
mod rights;
mod rolling;
mod scaling;
mod shop;
mod topics;
mod upgrade;

use std::sync::Once;

use tidewheel_e2e::cluster::{Cluster, NAMESPACE};

use crate::charts::with_kinds;

/// The cluster, with the operator at work.
fn with_operator() -> &'static Cluster {
    static INSTALLED: Once = Once::new();
    let cluster = with_kinds();
    INSTALLED.call_once(|| install(cluster));
    cluster
}

fn install(cluster: &Cluster) {
    // Many workloads share the node.
    let values = [
        "workloads.worker.resources.requests.cpu=20m",
        "workloads.ingest.resources.requests.cpu=20m",
    ];
    if let Err(error) = cluster.install_operator("tidewheel", NAMESPACE, &values) {
        panic!("{error}\n{}", about(cluster, NAMESPACE));
    }
}

/// What can be seen of the operator in a namespace.
fn about(cluster: &Cluster, namespace: &str) -> String {
    let pods = ["get", "pods,events", "--namespace", namespace];
    let logs = [
        "logs",
        "--namespace",
        namespace,
        "--selector=app.kubernetes.io/name=tidewheel",
        "--tail=25",
    ];
    let [pods, logs] =
        [&pods[..], &logs].map(|command| cluster.run_kubectl(command).unwrap_or_default());
    format!("{pods}\n{logs}")
}
