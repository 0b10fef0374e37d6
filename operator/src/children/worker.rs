//! What runs a Pipeline.
use super::deployment::deployment;
use super::specs::specs;
use super::{Child, Role, Workload, service_account};

/// Everything that runs a Pipeline, in so many pods. Another manager keeps their number.
pub(crate) fn worker(workload: &Workload<'_>, replicas: u32) -> Vec<Child> {
    let role = Role::Worker;
    let specs = specs(workload, role);
    let mut deployment = deployment(workload, role, &specs);
    deployment.replicas = Some(replicas);
    vec![service_account(workload.owner, role), specs, deployment]
}
