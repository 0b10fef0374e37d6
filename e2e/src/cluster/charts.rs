//! The charts of this repository, installed in a cluster as people install them.
use std::path::{Path, PathBuf};

use crate::cluster::{Cluster, error::ClusterError, images::REPOSITORY};

/// Where `make cluster` installs both charts, as the documentation does.
pub const NAMESPACE: &str = "tidewheel";

/// The folder of a chart: `tidewheel`, or `tidewheel-crds`.
#[must_use]
pub fn chart(name: &str) -> PathBuf {
    Path::new(REPOSITORY).join("charts").join(name)
}

impl Cluster {
    /// Installs the three kinds, or what has changed about them, and waits until they are known.
    ///
    /// # Errors
    /// [`ClusterError::Failed`] with what Helm or the API server says.
    pub fn install_kinds(&self) -> Result<(), ClusterError> {
        self.install("tidewheel-crds", NAMESPACE, "tidewheel-crds", &[])?;
        let wait = "wait --for=condition=Established --timeout=60s \
            crd/eventsources.tidewheel.dev crd/pipelines.tidewheel.dev crd/sinks.tidewheel.dev";
        let wait: Vec<&str> = wait.split_whitespace().collect();
        self.run_kubectl(&wait).map(drop)
    }

    /// Installs the operator with the image and the Kafka of this cluster and further values, or changes an installation; waits
    /// until its pods are ready. Returns what Helm says.
    ///
    /// # Errors
    /// [`ClusterError::Failed`] with what Helm says.
    pub fn install_operator(
        &self,
        release: &str,
        namespace: &str,
        values: &[&str],
    ) -> Result<String, ClusterError> {
        let image = self.image();
        let (repository, tag) = image.rsplit_once(':').unwrap_or((image, "latest"));
        let repository = format!("image.repository={repository}");
        let tag = format!("image.tag={tag}");
        let kafka = format!(
            "kafka.bootstrapServers={}",
            self.kafka_in_pods().replace(',', "\\,")
        );
        let mut all = vec![repository.as_str(), tag.as_str(), kafka.as_str()];
        all.extend(values);
        self.install(release, namespace, "tidewheel", &all)
    }

    fn install(
        &self,
        release: &str,
        namespace: &str,
        name: &str,
        values: &[&str],
    ) -> Result<String, ClusterError> {
        let chart = chart(name).display().to_string();
        let mut arguments = vec!["upgrade", "--install", release, &chart];
        arguments.extend(["--namespace", namespace, "--create-namespace"]);
        arguments.extend(["--wait", "--timeout=180s"]);
        for value in values {
            arguments.extend(["--set", value]);
        }
        self.run_helm(&arguments)
    }
}
