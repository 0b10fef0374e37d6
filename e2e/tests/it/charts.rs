//! The charts, with the Helm and the API server that people have.
mod installed;
mod kinds;
mod refused;
mod rendered;
mod verdicts;

use std::{path::PathBuf, sync::Once};

use tidewheel_e2e::cluster::Cluster;

use crate::cluster::shared;

/// The namespace in which `make cluster` has installed both charts, where the cluster is one of its.
pub(crate) const NAMESPACE: &str = "tidewheel";

/// Something of the repository, such as `charts/tidewheel`.
pub(crate) fn path(of: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "..", of].iter().collect()
}

pub(crate) fn chart(name: &str) -> String {
    path("charts").join(name).display().to_string()
}

/// The cluster, which knows the three kinds.
pub(crate) fn with_kinds() -> &'static Cluster {
    static INSTALLED: Once = Once::new();
    let cluster = shared();
    INSTALLED.call_once(|| install_kinds(cluster));
    cluster
}

fn install_kinds(cluster: &Cluster) {
    let chart = chart("tidewheel-crds");
    cluster
        .run_helm(&[
            "upgrade",
            "--install",
            "tidewheel-crds",
            &chart,
            "--namespace",
            NAMESPACE,
            "--create-namespace",
            "--wait",
        ])
        .unwrap();
    for kind in ["eventsources", "pipelines", "sinks"] {
        let crd = format!("crd/{kind}.tidewheel.dev");
        cluster
            .run_kubectl(&["wait", &crd, "--for=condition=Established", "--timeout=60s"])
            .unwrap();
    }
}
