//! What is known of the cluster: a copy of all that resources are made of, kept by watches.
use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::DynamicObject;
use kube::runtime::reflector::{ObjectRef, Store};

use crate::children::ChildKind;
use crate::presence::Presence;
use crate::resource::{EventSource, Pipeline, Sink};

/// What is known of the namespaces that are looked after. Clones share everything.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) sources: Store<EventSource>,
    pub(crate) sinks: Store<Sink>,
    pub(crate) pipelines: Store<Pipeline>,
    pub(crate) secrets: Store<Secret>,
    /// Those of workers.
    pub(crate) pods: Store<Pod>,
    /// Those that this operator has made.
    pub(crate) children: BTreeMap<ChildKind, Store<DynamicObject>>,
    /// Which of the kinds are there that monitors are of; none is where they are not looked for.
    pub(crate) monitors: BTreeMap<ChildKind, Presence>,
}

impl World {
    pub(crate) fn source(&self, namespace: &str, name: &str) -> Option<Arc<EventSource>> {
        self.sources.get(&ObjectRef::new(name).within(namespace))
    }

    pub(crate) fn sink(&self, namespace: &str, name: &str) -> Option<Arc<Sink>> {
        self.sinks.get(&ObjectRef::new(name).within(namespace))
    }

    pub(crate) fn secret(&self, namespace: &str, name: &str) -> Option<Arc<Secret>> {
        self.secrets.get(&ObjectRef::new(name).within(namespace))
    }

    pub(crate) fn child(
        &self,
        kind: ChildKind,
        namespace: &str,
        name: &str,
    ) -> Option<Arc<DynamicObject>> {
        let key = ObjectRef::new_with(name, kind.resource()).within(namespace);
        self.children.get(&kind)?.get(&key)
    }

    /// The objects of a kind that a resource owns.
    pub(crate) fn owned(&self, kind: ChildKind, uid: &str) -> Vec<Arc<DynamicObject>> {
        let Some(store) = self.children.get(&kind) else {
            return Vec::new();
        };
        store.state_filter(|object| is_owned_by(object, uid))
    }

    /// The pods of a Deployment, as far as they are those of workers.
    pub(crate) fn pods_of(&self, namespace: &str, deployment: &str) -> Vec<Arc<Pod>> {
        self.pods.state_filter(|pod| {
            let is_here = pod.metadata.namespace.as_deref() == Some(namespace);
            is_here && is_of_deployment(pod, deployment)
        })
    }

    /// The kinds that are there by which something is watched over.
    pub(crate) fn monitors_there(&self) -> Vec<ChildKind> {
        let there = self.monitors.iter();
        let there = there.filter(|(_, presence)| presence.is_there());
        there.map(|(kind, _)| *kind).collect()
    }

    /// Waits until everything is known.
    pub(crate) async fn wait_until_known(&self) {
        // Each fails only where its watch has ended, and then so has all else.
        let _ = self.sources.wait_until_ready().await;
        let _ = self.sinks.wait_until_ready().await;
        let _ = self.pipelines.wait_until_ready().await;
        let _ = self.secrets.wait_until_ready().await;
        let _ = self.pods.wait_until_ready().await;
        for (kind, store) in &self.children {
            match self.monitors.get(kind) {
                None => {
                    let _ = store.wait_until_ready().await;
                }
                // There may be nothing to know.
                Some(presence) => presence.wait_until_known().await,
            }
        }
    }
}

/// Whether a pod is of a ReplicaSet that a Deployment has made: anybody can give a pod any labels.
fn is_of_deployment(pod: &Pod, deployment: &str) -> bool {
    let labels = pod.metadata.labels.as_ref();
    let Some(hash) = labels.and_then(|labels| labels.get("pod-template-hash")) else {
        return false;
    };
    let mut owners = pod.metadata.owner_references.iter().flatten();
    owners.any(|owner| {
        let is_set = owner.api_version == "apps/v1" && owner.kind == "ReplicaSet";
        let is_its = owner.name == format!("{deployment}-{hash}");
        is_set && is_its && owner.controller == Some(true)
    })
}

/// Whether an object is controlled by the resource with this `uid`.
pub(crate) fn is_owned_by(object: &DynamicObject, uid: &str) -> bool {
    let owners = object.metadata.owner_references.iter().flatten();
    let mut controllers = owners.filter(|owner| owner.controller == Some(true));
    controllers.any(|owner| owner.uid == uid)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_pod_that_only_looks_like_a_worker_is_none() {
        let is_worker = |owner: &Value| {
            let labels = json!({"pod-template-hash": "5d8f"});
            let pod =
                json!({"metadata": {"name": "a", "labels": labels, "ownerReferences": [owner]}});
            is_of_deployment(&serde_json::from_value(pod).unwrap(), "kpis-worker")
        };
        let owner = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "kpis-worker-5d8f", "uid": "a", "controller": true});
        assert!(is_worker(&owner));
        for (member, other) in [
            ("name", json!("others-worker-5d8f")),
            ("name", json!("kpis-worker-77")),
            ("kind", json!("Job")),
            ("apiVersion", json!("example.com/v1")),
            ("controller", json!(false)),
        ] {
            let mut another = owner.clone();
            another[member] = other;
            assert!(!is_worker(&another), "{another}");
        }
        let bare = json!({"metadata": {"name": "a", "labels": {"pod-template-hash": "5d8f"}}});
        assert!(!is_of_deployment(
            &serde_json::from_value(bare).unwrap(),
            "kpis-worker"
        ));
    }
}
