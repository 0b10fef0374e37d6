//! The charts, with the Helm and the API server that people have.
mod installed;
mod kinds;
mod refused;
mod rendered;
mod routes;
mod verdicts;

use std::{
    path::{Path, PathBuf},
    sync::Once,
    thread::sleep,
    time::{Duration, Instant},
};

use tidewheel_e2e::cluster::Cluster;

use crate::cluster::shared;

/// How long the API server may take to learn a kind.
const KNOWN_WITHIN: Duration = Duration::from_secs(120);

/// Something of the repository, such as `examples`.
pub(crate) fn path(of: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "..", of].iter().collect()
}

pub(crate) fn chart(name: &str) -> String {
    tidewheel_e2e::cluster::chart(name).display().to_string()
}

/// The cluster, which knows the three kinds.
pub(crate) fn with_kinds() -> &'static Cluster {
    static INSTALLED: Once = Once::new();
    let cluster = shared();
    INSTALLED.call_once(|| cluster.install_kinds().unwrap());
    cluster
}

/// Teaches a cluster kinds of others, whose definitions are in a folder, unless it knows them, and waits until it does.
pub(crate) fn teach(cluster: &Cluster, folder: &Path, kinds: &str) {
    let get = ["get", kinds, "--all-namespaces"];
    if cluster.run_kubectl(&get).is_ok() {
        return;
    }
    let folder = folder.display().to_string();
    // They are too large for the annotation of an ordinary `apply`.
    let apply = ["apply", "--server-side", "--filename", &folder];
    cluster.run_kubectl(&apply).unwrap();
    // `kubectl wait` fails where there are no conditions yet.
    let began = Instant::now();
    while let Err(error) = cluster.run_kubectl(&get) {
        assert!(began.elapsed() < KNOWN_WITHIN, "{error}");
        sleep(Duration::from_millis(250));
    }
}
