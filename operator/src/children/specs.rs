//! The ConfigMap with what a role reads.
use kube::api::DynamicObject;
use serde_json::json;

use super::{Child, ChildKind, KafkaAccess, Role, Workload, child, name};

/// The file with the documents.
pub(super) const SPECS_FILE: &str = "resources.yaml";
/// The file that says where Kafka is, where no Secret does.
pub(super) const SERVERS_FILE: &str = "bootstrap.servers";

/// A ConfigMap that never changes: another content has another name, so that pods of two contents can run side by side.
pub(super) fn specs(workload: &Workload<'_>, role: Role) -> Child {
    let mut data = json!({SPECS_FILE: workload.documents});
    if let KafkaAccess::Servers(servers) = workload.kafka {
        data[SERVERS_FILE] = servers.as_str().into();
    }
    let name = name::immutable(&role.workload(&workload.owner.name), &data.to_string());
    let body = json!({"immutable": true, "data": data});
    child(ChildKind::ConfigMap, workload.owner, role, name, body)
}

/// The documents in such a ConfigMap.
pub(crate) fn documents(specs: &DynamicObject) -> Option<&str> {
    specs.data.get("data")?.get(SPECS_FILE)?.as_str()
}
