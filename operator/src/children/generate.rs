//! What makes the events of an EventSource up.
use super::deployment::deployment;
use super::specs::specs;
use super::{Child, Role, Workload, service_account};

/// Everything that makes events, in one pod.
pub(crate) fn generate(workload: &Workload<'_>) -> Vec<Child> {
    let role = Role::Generate;
    let specs = specs(workload, role);
    let mut deployment = deployment(workload, role, &specs);
    deployment.object["spec"]["replicas"] = 1.into();
    vec![service_account(workload.owner, role), specs, deployment]
}
