//! The objects that run a resource's roles. Pure: built from what is known, and compared by nobody here.
mod deployment;
mod generate;
mod ingest;
mod monitor;
mod name;
mod specs;
#[cfg(test)]
mod tests;
mod worker;

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{ApiResource, GroupVersionKind};
use serde_json::{Map, Value, json};
use tidewheel_crds::{GROUP, Kind, Resources, VERSION};

pub(crate) use self::generate::generate;
pub(crate) use self::ingest::ingest;
pub(crate) use self::monitor::{Monitored, OPERATOR, monitor, of_operator};
pub(crate) use self::specs::documents;
pub(crate) use self::worker::worker;
use crate::settings::{RoleSettings, Workloads};

/// The label that all of them have.
pub(crate) const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Its value.
pub(crate) const MANAGER: &str = "tidewheel-operator";
/// The label with the role of a pod.
pub(crate) const COMPONENT: &str = "app.kubernetes.io/component";
/// Where every role shows its metrics.
pub(crate) const OPERATIONS_PORT: u16 = 9090;
/// The annotation of pods with a digest of the Secrets that they use, and of how they reach Kafka.
pub(crate) const SECRETS_DIGEST: &str = "tidewheel.dev/secrets";

/// The kinds of objects that are made, in the order in which they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum ChildKind {
    ServiceAccount,
    ConfigMap,
    Service,
    PodDisruptionBudget,
    Deployment,
    ServiceMonitor,
    PrometheusRule,
}

impl ChildKind {
    /// Those that every cluster knows.
    pub(crate) const ALWAYS: [Self; 5] = [
        Self::ServiceAccount,
        Self::ConfigMap,
        Self::Service,
        Self::PodDisruptionBudget,
        Self::Deployment,
    ];

    /// Those of the Prometheus Operator, which a cluster may have, or get, or lose.
    pub(crate) const MONITORS: [Self; 2] = [Self::ServiceMonitor, Self::PrometheusRule];

    /// How the API server calls it.
    pub(crate) fn resource(self) -> ApiResource {
        match self {
            Self::ServiceAccount => ApiResource::erase::<ServiceAccount>(&()),
            Self::ConfigMap => ApiResource::erase::<ConfigMap>(&()),
            Self::Service => ApiResource::erase::<Service>(&()),
            Self::PodDisruptionBudget => ApiResource::erase::<PodDisruptionBudget>(&()),
            Self::Deployment => ApiResource::erase::<Deployment>(&()),
            Self::ServiceMonitor => of_prometheus("ServiceMonitor", "servicemonitors"),
            Self::PrometheusRule => of_prometheus("PrometheusRule", "prometheusrules"),
        }
    }
}

fn of_prometheus(kind: &str, plural: &str) -> ApiResource {
    let kind = GroupVersionKind::gvk("monitoring.coreos.com", "v1", kind);
    ApiResource::from_gvk_with_plural(&kind, plural)
}

/// An object as it should be.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Child {
    pub(crate) kind: ChildKind,
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// All of it that is ours to say.
    pub(crate) object: Value,
    /// How many pods a Deployment has whose number another manager keeps: see [`crate::apply`].
    pub(crate) replicas: Option<u32>,
}

/// The resource that objects are made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) kind: Kind,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
}

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Ingest,
    Worker,
    Generate,
}

/// How processes reach Kafka.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KafkaAccess {
    /// At these `bootstrap.servers`.
    Servers(String),
    /// As the Secret of this name says.
    Secret(String),
}

/// What a role runs with.
#[derive(Debug, Clone)]
pub(crate) struct Workload<'a> {
    pub(crate) owner: &'a Owner,
    pub(crate) settings: &'a Workloads,
    /// What it reads.
    pub(crate) documents: String,
    pub(crate) kafka: &'a KafkaAccess,
    /// The Secrets that it reads, by name, with the keys that it needs: all where there is none.
    pub(crate) secrets: BTreeMap<String, BTreeSet<String>>,
    /// A digest of what those Secrets hold.
    pub(crate) secrets_digest: String,
    pub(crate) resources: Option<&'a Resources>,
}

impl Owner {
    fn label(&self) -> &'static str {
        match self.kind {
            Kind::EventSource => "tidewheel.dev/source",
            Kind::Pipeline => "tidewheel.dev/pipeline",
            Kind::Sink => "tidewheel.dev/sink",
        }
    }

    fn reference(&self) -> Value {
        json!({
            "apiVersion": format!("{GROUP}/{VERSION}"),
            "kind": self.kind.as_str(),
            "name": self.name,
            "uid": self.uid,
            "controller": true,
        })
    }
}

impl Role {
    /// Its name, which is also that of its command.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Worker => "worker",
            Self::Generate => "generate",
        }
    }

    fn settings(self, workloads: &Workloads) -> &RoleSettings {
        match self {
            Self::Ingest => &workloads.ingest,
            Self::Worker => &workloads.worker,
            Self::Generate => &workloads.generate,
        }
    }

    /// The name of the workload of a resource.
    pub(crate) fn workload(self, resource: &str) -> String {
        name::workload(resource, self.as_str())
    }

    /// The labels by which the pods of a resource are found.
    fn selector(self, owner: &Owner) -> Value {
        let labels = self.labels_of_pods(owner);
        labels.into_iter().collect()
    }

    /// The same, as pairs.
    pub(crate) fn labels_of_pods(self, owner: &Owner) -> [(&'static str, &str); 3] {
        [
            ("app.kubernetes.io/name", "tidewheel"),
            (COMPONENT, self.as_str()),
            (owner.label(), &owner.name),
        ]
    }

    fn labels(self, owner: &Owner) -> Value {
        let mut labels = self.selector(owner);
        labels[MANAGED_BY] = MANAGER.into();
        labels
    }
}

/// An object of a resource, with everything beside `body` that all have.
fn child(kind: ChildKind, owner: &Owner, role: Role, name: String, body: Value) -> Child {
    let resource = kind.resource();
    let mut object = json!({
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {
            "name": name,
            "namespace": owner.namespace,
            "labels": role.labels(owner),
            "ownerReferences": [owner.reference()],
        },
    });
    extend(&mut object, body);
    Child {
        kind,
        namespace: owner.namespace.clone(),
        name,
        object,
        replicas: None,
    }
}

/// Adds members to an object; what it has under the same names is replaced.
fn extend(object: &mut Value, more: Value) {
    if let (Some(object), Value::Object(more)) = (object.as_object_mut(), more) {
        object.extend::<Map<String, Value>>(more);
    }
}

/// An account without any right, whose token nobody gets.
fn service_account(owner: &Owner, role: Role) -> Child {
    let name = role.workload(&owner.name);
    let body = json!({"automountServiceAccountToken": false});
    child(ChildKind::ServiceAccount, owner, role, name, body)
}
