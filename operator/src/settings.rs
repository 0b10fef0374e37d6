//! What the installation decides.
use std::collections::BTreeMap;

use serde::Deserialize;
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
}

/// How the processes of one role look.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RoleSettings {
    /// `resources` of the container, where the resource says nothing.
    #[serde(default)]
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
