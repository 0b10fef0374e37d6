//! Applying the objects of a workload, and how its pods fare.
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use serde_json::Value;

use super::trouble::trouble;
use super::{ReconcileError, refused};
use crate::apply::{Applier, ApplyError};
use crate::children::{Child, ChildKind, Owner, Role, SECRETS_DIGEST};
use crate::conditions::{Aspect, Finding, Reason, Standing};
use crate::context::Context;
use crate::world::is_owned_by;

/// Applies the objects of a workload, and says how its pods fare. What an earlier form of it needed goes once no pod uses it.
pub(super) async fn apply(
    context: &Context,
    owner: &Owner,
    children: &[Child],
    is_settling: bool,
) -> Result<Finding, ReconcileError> {
    let applier = Applier {
        client: &context.client,
        world: &context.world,
        owner,
    };
    let mut deployment = Value::Null;
    for child in children {
        match applier.apply(child).await {
            Ok(applied) if child.kind == ChildKind::Deployment => deployment = applied,
            Ok(_) => {}
            Err(error) => return refused(error),
        }
    }
    let finding = availability(&deployment, &pods(context, &deployment), is_settling);
    if finding.reason == Reason::Available {
        let kept: Vec<&str> = children.iter().map(|child| child.name.as_str()).collect();
        for old in context.world.owned(ChildKind::ConfigMap, &owner.uid) {
            if !kept.contains(&old.name_any().as_str())
                && let Err(error) = applier.remove(ChildKind::ConfigMap, &old).await
            {
                return refused(error);
            }
        }
    }
    Ok(finding)
}

/// Ends a workload, before data is deleted that it works with; whether it is gone.
pub(super) async fn end(
    context: &Context,
    owner: &Owner,
    role: Role,
) -> Result<bool, ReconcileError> {
    let name = role.workload(&owner.name);
    let Some(deployment) = context
        .world
        .child(ChildKind::Deployment, &owner.namespace, &name)
    else {
        return Ok(true);
    };
    if deployment.metadata.deletion_timestamp.is_none() {
        let applier = Applier {
            client: &context.client,
            world: &context.world,
            owner,
        };
        match applier.remove(ChildKind::Deployment, &deployment).await {
            Ok(()) => {}
            Err(ApplyError::Kube(error)) => return Err(error.into()),
            // Only what is applied can be refused like this.
            Err(ApplyError::Taken { .. } | ApplyError::Refused { .. }) => {}
        }
    }
    Ok(false)
}

/// Whether a workload is brought in line although this was found outside: pods that run are not replaced by others that would find less, or
/// something else. `ways`: how those would reach what they use.
pub(super) fn may_change(
    context: &Context,
    owner: &Owner,
    role: Role,
    outside: &[Finding],
    ways: &str,
) -> bool {
    let runs_with = runs_with(context, owner, role);
    is_no_loss(outside, runs_with.as_deref(), ways)
}

/// How the pods that there are reach what they use; none where there are none.
pub(super) fn runs_with(context: &Context, owner: &Owner, role: Role) -> Option<String> {
    let (kind, name) = (ChildKind::Deployment, role.workload(&owner.name));
    let found = context.world.child(kind, &owner.namespace, &name)?;
    if !is_owned_by(&found, &owner.uid) {
        return None;
    }
    let annotations = found.data.pointer("/spec/template/metadata/annotations")?;
    annotations[SECRETS_DIGEST].as_str().map(str::to_owned)
}

fn is_no_loss(outside: &[Finding], runs_with: Option<&str>, ways: &str) -> bool {
    let standing = outside
        .iter()
        .map(|finding| finding.reason.standing())
        .max();
    match (standing.unwrap_or(Standing::Good), runs_with) {
        (Standing::Good, _) => true,
        (_, Some(runs_with)) => runs_with == ways,
        // It was deleted: what it needs was there once, and may be again at any moment.
        (standing, None) => standing == Standing::Waiting,
    }
}

/// How the pods of a workload fare that is left as it is but for their number, where that is given; none where there is no workload.
pub(super) async fn as_it_is(
    context: &Context,
    owner: &Owner,
    role: Role,
    replicas: Option<u32>,
    is_settling: bool,
) -> Result<Option<Finding>, ReconcileError> {
    let name = role.workload(&owner.name);
    let found = context
        .world
        .child(ChildKind::Deployment, &owner.namespace, &name);
    let Some(found) = found.filter(|found| is_owned_by(found, &owner.uid)) else {
        return Ok(None);
    };
    let mut deployment = serde_json::to_value(found.as_ref()).unwrap_or_default();
    if let Some(replicas) = replicas.filter(|replicas| deployment["spec"]["replicas"] != *replicas)
    {
        let applier = Applier {
            client: &context.client,
            world: &context.world,
            owner,
        };
        match applier.scale(&found, replicas).await {
            Ok(scaled) => deployment = scaled,
            Err(error) => return refused(error).map(Some),
        }
    }
    let pods = pods(context, &deployment);
    Ok(Some(availability(&deployment, &pods, is_settling)))
}

/// The pods of a Deployment, as far as they are watched.
fn pods(context: &Context, deployment: &Value) -> Vec<Arc<Pod>> {
    let text = |path| deployment.pointer(path).and_then(Value::as_str);
    match (text("/metadata/namespace"), text("/metadata/name")) {
        (Some(namespace), Some(name)) => context.world.pods_of(namespace, name),
        _ => Vec::new(),
    }
}

/// How the pods of a Deployment fare. Those that were added a moment ago are no trouble while the others do their work.
fn availability(deployment: &Value, pods: &[Arc<Pod>], is_settling: bool) -> Finding {
    let number = |path: &str| {
        deployment
            .pointer(path)
            .and_then(Value::as_i64)
            .unwrap_or_default()
    };
    let wanted = number("/spec/replicas");
    let available = number("/status/availableReplicas");
    let is_observed = number("/status/observedGeneration") >= number("/metadata/generation");
    let is_rolled_out =
        number("/status/updatedReplicas") == wanted && number("/status/replicas") == wanted;
    let finding = |reason, message| Finding::new(Aspect::Workloads, reason, message);
    if is_observed && is_rolled_out && available == wanted {
        return finding(
            Reason::Available,
            format!("{available} of {wanted} pods are available"),
        );
    }
    let is_of_one_form = number("/status/updatedReplicas") == number("/status/replicas");
    let counted = format!("{available} of {wanted} pods are available");
    match is_observed
        .then(|| trouble(deployment, pods, Timestamp::now()))
        .flatten()
    {
        Some(trouble) => {
            let name = deployment
                .pointer("/metadata/name")
                .and_then(Value::as_str)
                .unwrap_or_default();
            let look =
                format!("`kubectl describe pods` and `kubectl logs deployment/{name}` say more");
            finding(
                Reason::WorkloadFailing,
                format!("{counted}: {trouble}; {look}"),
            )
        }
        None if is_settling && is_of_one_form && available > 0 => finding(
            Reason::Scaling,
            format!("{counted}: their number was changed a moment ago"),
        ),
        None => finding(
            Reason::RollingOut,
            format!("{counted}: pods are being started or replaced"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn reason_of(replicas: i64, status: &Value, is_settling: bool) -> Reason {
        let deployment = json!({
            "metadata": {"name": "kpis-worker", "generation": 3},
            "spec": {"replicas": replicas},
            "status": status,
        });
        availability(&deployment, &[], is_settling).reason
    }

    fn reason(replicas: i64, status: &Value) -> Reason {
        reason_of(replicas, status, false)
    }

    #[test]
    fn pods_are_not_replaced_by_others_that_would_find_less() {
        let found = |reason| vec![Finding::new(Aspect::Topics, reason, "")];
        let good = found(Reason::TopicsAsDeclared);
        let away = found(Reason::KafkaUnavailable);
        let changed = found(Reason::KafkaChanged);
        for runs_with in [None, Some("these"), Some("others")] {
            assert!(is_no_loss(&good, runs_with, "these"), "{runs_with:?}");
        }
        assert!(is_no_loss(&away, Some("these"), "these"));
        assert!(!is_no_loss(&away, Some("others"), "these"));
        assert!(is_no_loss(&away, None, "these"));
        assert!(!is_no_loss(&changed, Some("others"), "these"));
        assert!(!is_no_loss(&changed, None, "these"));
    }

    fn counts(observed: i64, all: i64, updated: i64, available: i64) -> Value {
        json!({"observedGeneration": observed, "replicas": all, "updatedReplicas": updated, "availableReplicas": available})
    }

    #[test]
    fn pods_are_available_when_all_of_them_are_new_and_none_else_is_there() {
        assert_eq!(reason(2, &counts(3, 2, 2, 2)), Reason::Available);
        assert_eq!(
            reason(0, &json!({"observedGeneration": 3})),
            Reason::Available
        );
        for status in [
            counts(2, 2, 2, 2),
            counts(3, 3, 2, 3),
            counts(3, 2, 1, 2),
            counts(3, 2, 2, 1),
            json!({}),
        ] {
            assert_eq!(reason(2, &status), Reason::RollingOut, "{status}");
        }
    }

    #[test]
    fn pods_that_were_added_a_moment_ago_are_no_trouble_while_others_do_their_work() {
        for (status, expected) in [
            (counts(3, 4, 4, 2), Reason::Scaling),
            (counts(2, 2, 2, 2), Reason::Scaling),
            (counts(3, 4, 4, 4), Reason::Available),
            (counts(3, 4, 4, 0), Reason::RollingOut),
            (counts(3, 5, 1, 4), Reason::RollingOut),
        ] {
            assert_eq!(reason_of(4, &status, true), expected, "{status}");
        }
    }

    #[test]
    fn a_rollout_that_does_not_go_on_fails() {
        for (type_, condition_status) in [("Progressing", "False"), ("ReplicaFailure", "True")] {
            let conditions =
                json!([{"type": type_, "status": condition_status, "message": "exceeded quota"}]);
            let status = json!({"observedGeneration": 3, "replicas": 1, "conditions": conditions});
            assert_eq!(reason(1, &status), Reason::WorkloadFailing, "{type_}");
        }
    }
}
