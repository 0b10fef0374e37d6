//! The operator, installed by its chart on a real cluster: what becomes of resources that people apply.
mod conditions;
mod deletion;
mod drift;
mod first;
mod forwarded;
mod leader;
mod quiet;
mod references;
mod shop;

use std::sync::Once;

use tidewheel_e2e::cluster::Cluster;

use crate::charts::{NAMESPACE, chart, with_kinds};

/// The cluster, with the operator at work.
fn with_operator() -> &'static Cluster {
    static INSTALLED: Once = Once::new();
    let cluster = with_kinds();
    INSTALLED.call_once(|| install(cluster));
    cluster
}

fn install(cluster: &Cluster) {
    let (repository, tag) = cluster.image().rsplit_once(':').unwrap();
    let (image, tag) = (format!("image.repository={repository}"), format!("image.tag={tag}"));
    let kafka = format!("kafka.bootstrapServers={}", cluster.kafka_in_pods());
    let install = [
        "upgrade",
        "--install",
        "tidewheel",
        &chart("tidewheel"),
        "--namespace",
        NAMESPACE,
        "--create-namespace",
        "--set",
        &image,
        "--set",
        &tag,
        "--set",
        &kafka,
        "--set=workloads.worker.resources.requests.cpu=20m,workloads.ingest.resources.requests.cpu=20m",
        "--wait",
        "--timeout=120s",
    ];
    if let Err(error) = cluster.run_helm(&install) {
        let look = ["get", "pods,events", "--namespace", NAMESPACE];
        let pods = cluster.run_kubectl(&look).unwrap_or_default();
        let logs = ["logs", "--namespace", NAMESPACE, "--selector=app.kubernetes.io/name=tidewheel", "--tail=20"];
        panic!("{error}\n{pods}\n{}", cluster.run_kubectl(&logs).unwrap_or_default());
    }
}
