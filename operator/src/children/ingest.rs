//! What takes the events of an EventSource over HTTP.
use serde_json::json;

use super::deployment::deployment;
use super::specs::specs;
use super::{Child, ChildKind, Role, Workload, child, service_account};

/// Everything that takes events, in at least so many pods.
pub(crate) fn ingest(workload: &Workload<'_>, replicas: i32) -> Vec<Child> {
    let role = Role::Ingest;
    let owner = workload.owner;
    let name = role.workload(&owner.name);
    let specs = specs(workload, role);
    let mut deployment = deployment(workload, role, &specs);
    deployment.object["spec"]["replicas"] = replicas.into();
    let service = json!({"spec": {
        "selector": role.selector(owner),
        "ports": [{"name": "http", "port": 8080, "targetPort": "http", "protocol": "TCP", "appProtocol": "http"}],
    }});
    let budget = json!({"spec": {
        "maxUnavailable": 1,
        // One that does not work is in nobody's way.
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
        "selector": {"matchLabels": role.selector(owner)},
    }});
    vec![
        service_account(owner, role),
        specs,
        child(ChildKind::Service, owner, role, name.clone(), service),
        child(ChildKind::PodDisruptionBudget, owner, role, name, budget),
        deployment,
    ]
}
