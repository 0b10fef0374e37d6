//! How what runs is watched over, where the cluster has the kinds for that. Nothing else waits for it.
use super::ReconcileError;
use crate::apply::{Applier, ApplyError};
use crate::children::{ChildKind, Monitored, Owner, Role, monitor};
use crate::conditions::Reason;
use crate::context::Context;
use crate::resource::Pipeline;
use crate::world::is_owned_by;

/// Applies monitors and alerts for a workload that is there, whatever is wrong with what should be. One that cannot be is told to those who
/// operate the operator: users can do nothing about it.
/// `pipeline` is the one that workers run.
pub(super) async fn apply(
    context: &Context,
    owner: &Owner,
    role: Role,
    pipeline: Option<&Pipeline>,
) {
    let Some(settings) = &context.settings.workloads.monitoring else {
        return;
    };
    let kinds = context.world.monitors_there();
    let workload = role.workload(&owner.name);
    let is_there = context
        .world
        .child(ChildKind::Deployment, &owner.namespace, &workload)
        .is_some();
    if kinds.is_empty() || !is_there {
        return;
    }
    let monitored = Monitored {
        owner,
        role,
        settings,
        runs: !pipeline.is_some_and(Pipeline::is_suspended),
        catch_up_seconds: pipeline.map_or(0.0, |pipeline| {
            pipeline.bounds().catch_up_within.as_secs_f64()
        }),
    };
    let applier = Applier {
        client: &context.client,
        world: &context.world,
        owner,
    };
    if !settings.alerts {
        end_alerts(&applier, &workload).await;
    }
    for child in monitor(&monitored, &kinds) {
        if let Err(error) = applier.apply(&child).await {
            let (namespace, name) = (&child.namespace, &child.name);
            tracing::warn!(namespace, name, %error, "it is not watched over as it should be");
            context.metrics.failed(owner.kind, word(error));
        }
    }
}

/// Removes the alerts of a workload: they were wanted once, and are no longer.
async fn end_alerts(applier: &Applier<'_>, workload: &str) {
    let (kind, owner) = (ChildKind::PrometheusRule, applier.owner);
    let rules = applier.world.child(kind, &owner.namespace, workload);
    let rules = rules.filter(|rules| {
        is_owned_by(rules, &owner.uid) && rules.metadata.deletion_timestamp.is_none()
    });
    if let Some(rules) = rules
        && let Err(error) = applier.remove(kind, &rules).await
    {
        let namespace = &owner.namespace;
        tracing::warn!(namespace, name = workload, %error, "its alerts are still there");
    }
}

/// For metrics.
fn word(error: ApplyError) -> &'static str {
    match error {
        ApplyError::Taken { .. } => Reason::NameTaken.as_str(),
        ApplyError::Refused { .. } => Reason::ObjectRefused.as_str(),
        ApplyError::Kube(error) => ReconcileError::Kube(error).reason(),
    }
}
