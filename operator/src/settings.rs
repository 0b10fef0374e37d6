//! What the installation decides.
use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// What the operator is told by its installation.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The namespaces that it looks after; all where none is named.
    pub namespaces: Vec<String>,
    /// `bootstrap.servers` of the Kafka of namespaces that have no Secret of their own.
    pub kafka_servers: Option<String>,
    /// Name of the Secret that says, in its namespace, how Kafka is reached. Its keys are properties of librdkafka.
    pub kafka_secret: String,
    /// Name of this process, which no other has.
    pub identity: String,
    /// The namespace that it runs in.
    pub namespace: String,
    /// How the workloads look.
    pub workloads: Workloads,
}

/// How the workloads look, beyond what resources say.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Workloads {
    /// The image of every role.
    pub image: String,
    /// When it is pulled; the cluster's default unless said.
    #[serde(default)]
    pub image_pull_policy: Option<String>,
    /// `imagePullSecrets` of pods.
    #[serde(default)]
    pub image_pull_secrets: Vec<Value>,
    /// `nodeSelector` of pods.
    #[serde(default)]
    pub node_selector: BTreeMap<String, String>,
    /// `tolerations` of pods.
    #[serde(default)]
    pub tolerations: Vec<Value>,
    /// Further labels of pods.
    #[serde(default)]
    pub pod_labels: BTreeMap<String, String>,
    /// Further annotations of pods.
    #[serde(default)]
    pub pod_annotations: BTreeMap<String, String>,
    /// What processes may use that take events.
    #[serde(default)]
    pub ingest: RoleSettings,
    /// What workers may use.
    #[serde(default)]
    pub worker: RoleSettings,
    /// What processes may use that make events.
    #[serde(default)]
    pub generate: RoleSettings,
    /// How they are watched over; not by us where absent.
    #[serde(default)]
    pub monitoring: Option<Monitoring>,
}

/// How what runs is watched over, where the cluster has the kinds of the Prometheus Operator.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Monitoring {
    /// Further labels of monitors and rules, by which a Prometheus finds them.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// How often metrics are read, as Prometheus writes durations: `30s`.
    pub interval: String,
    /// Whether there are alerts.
    pub alerts: bool,
    /// Where `docs/alerts.md` can be read: what alerts link to.
    pub runbooks: String,
}

/// How the processes of one role look.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RoleSettings {
    /// `resources` of the container, where the resource says nothing.
    #[serde(default, deserialize_with = "texts")]
    pub resources: Value,
}

impl Workloads {
    /// Those that a YAML text describes.
    ///
    /// # Errors
    /// It is none, or says nothing of the image.
    pub fn read(text: &str) -> Result<Self, serde_yaml::Error> {
        serde_yaml::from_str(text)
    }
}

/// Reads amounts as Kubernetes writes them, which are texts: people write `cpu: 2` as well.
fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
    let mut resources = Value::deserialize(deserializer)?;
    let groups = resources.as_object_mut().into_iter().flatten();
    let amounts = groups.filter_map(|(_, amounts)| amounts.as_object_mut());
    for amount in amounts.flat_map(|amounts| amounts.values_mut()) {
        if amount.is_number() {
            *amount = amount.to_string().into();
        }
    }
    Ok(resources)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn amounts_may_be_numbers_and_what_is_not_known_is_refused() {
        let text = "image: a\nworker: {resources: {requests: {cpu: 2, memory: 1Gi}}}\n";
        let workloads = Workloads::read(text).unwrap();
        let requests = &workloads.worker.resources["requests"];
        assert_eq!(requests, &json!({"cpu": "2", "memory": "1Gi"}));
        let wrong = Workloads::read("image: a\nworkers: {}\n")
            .unwrap_err()
            .to_string();
        assert!(wrong.contains("workers"), "{wrong}");
    }
}
