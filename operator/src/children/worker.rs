//! What runs a Pipeline.
use super::deployment::deployment;
use super::specs::specs;
use super::{Child, Role, Workload, service_account};

/// Whether a Pipeline runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WorkerState {
    Running,
    /// Its workers have gone, and everything else stays.
    Suspended,
}

/// Everything that runs a Pipeline.
pub(crate) fn worker(workload: &Workload<'_>, state: WorkerState) -> Vec<Child> {
    let role = Role::Worker;
    let specs = specs(workload, role);
    let replicas = match state {
        WorkerState::Running => 1,
        WorkerState::Suspended => 0,
    };
    let deployment = deployment(workload, role, &specs, replicas);
    vec![service_account(workload.owner, role), specs, deployment]
}
