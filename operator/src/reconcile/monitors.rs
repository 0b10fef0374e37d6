//! How what runs is watched over, where the cluster has the kinds for that. Nothing else waits for it.
use std::time::Duration;

use serde_json::Value;

use super::ReconcileError;
use crate::apply::{Applier, ApplyError};
use crate::children::{ChildKind, Monitored, Owner, Role, monitor};
use crate::conditions::Reason;
use crate::context::Context;

/// How soon a Pipeline should have caught up that says nothing about it.
const CATCH_UP_WITHIN: Duration = Duration::from_secs(60);

/// Applies monitors and alerts for a workload that is there, whatever is wrong with what should be. One that cannot be is told to those who
/// operate the operator: users can do nothing about it.
pub(super) async fn apply(context: &Context, owner: &Owner, role: Role, spec: &Value) {
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
        runs: spec.get("suspend").and_then(Value::as_bool) != Some(true),
        catch_up_seconds: catch_up_within(spec).as_secs_f64(),
    };
    let applier = Applier {
        client: &context.client,
        world: &context.world,
        owner,
    };
    for child in monitor(&monitored, &kinds) {
        if let Err(error) = applier.apply(&child).await {
            let (namespace, name) = (&child.namespace, &child.name);
            tracing::warn!(namespace, name, %error, "it is not watched over as it should be");
            context.metrics.failed(owner.kind, word(error));
        }
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

/// How soon a Pipeline should have caught up, as its spec says.
fn catch_up_within(spec: &Value) -> Duration {
    let said = spec.pointer("/scaling/catchUpWithin");
    let said = said.and_then(|text| text.as_str()?.parse::<tidewheel_crds::Duration>().ok());
    said.map_or(CATCH_UP_WITHIN, Duration::from)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pipeline_should_catch_up_when_it_says_so_or_else_within_a_minute() {
        let of = |spec: Value| catch_up_within(&spec).as_secs();
        assert_eq!(of(json!({"scaling": {"catchUpWithin": "1m30s"}})), 90);
        assert_eq!(of(json!({"scaling": {"catchUpWithin": 7}})), 60);
        assert_eq!(of(json!({})), 60);
    }
}
