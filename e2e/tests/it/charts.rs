//! The charts, with the Helm and the API server that people have.
mod installed;
mod kinds;
mod refused;
mod rendered;
mod routes;
mod verdicts;

use std::{path::PathBuf, sync::Once};

use tidewheel_e2e::cluster::Cluster;

use crate::cluster::shared;

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
