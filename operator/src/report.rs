//! What users are told: conditions, and an Event for each turn that they take. Written only where something changed.
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::runtime::events::{Event, EventType};
use serde_json::{Value, json};
use tidewheel_crds::status::{Condition, PlanStatus, ScalingStatus};

use crate::conditions::{Finding, Standing, completed, conditions, worst};
use crate::context::Context;
use crate::resource::{Declared, Pipeline};

/// What an Event may say at most, bytes.
const MAX_NOTE_BYTES: usize = 1_000;

/// What is said of the workers of a Pipeline beside conditions.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Workers {
    /// How many there should be.
    pub(crate) replicas: Option<i32>,
    pub(crate) lag: Option<i64>,
    pub(crate) scaling: Option<ScalingStatus>,
}

/// Says what was found of a resource, and of its workers where it has some.
pub(crate) async fn findings<K: Declared>(
    resource: &K,
    context: &Context,
    findings: &[Finding],
    workers: Option<&Workers>,
) -> Result<(), kube::Error> {
    let status = resource.status();
    let said = Workers {
        replicas: status.replicas,
        lag: status.lag,
        scaling: status.scaling,
    };
    let before = status.shared;
    let generation = resource.meta().generation;
    let all = completed(K::KIND, findings);
    let now = conditions(&all, generation, &before.conditions, Timestamp::now());
    let is_said = workers.is_none_or(|workers| *workers == said);
    if before.conditions == now && before.observed_generation == generation && is_said {
        return Ok(());
    }
    let mut status = json!({"observedGeneration": generation, "conditions": now});
    if let Some(workers) = workers {
        // What is null is removed.
        status["replicas"] = json!(workers.replicas);
        status["lag"] = json!(workers.lag);
        status["scaling"] = json!(workers.scaling);
    }
    if !patch_status(resource, context, &status).await? {
        return Ok(());
    }
    let ready = |conditions: &[Condition]| {
        let ready = conditions
            .iter()
            .find(|condition| condition.type_ == "Ready");
        ready.map(|ready| (ready.status.clone(), ready.reason.clone()))
    };
    if ready(&before.conditions) != ready(&now)
        && let Some(ready) = now.first()
    {
        let is_stuck =
            worst(findings).is_some_and(|worst| worst.reason.standing() == Standing::Stuck);
        event(
            resource,
            context,
            is_stuck,
            &ready.reason,
            "Reconcile",
            &ready.message,
        )
        .await;
    }
    Ok(())
}

/// Tells what was done for a resource. That nobody could be told is no reason to do anything again.
pub(crate) async fn event<K: Declared>(
    resource: &K,
    context: &Context,
    is_warning: bool,
    reason: &str,
    action: &str,
    note: &str,
) {
    let end = note.floor_char_boundary(MAX_NOTE_BYTES);
    let event = Event {
        type_: if is_warning {
            EventType::Warning
        } else {
            EventType::Normal
        },
        reason: reason.to_owned(),
        note: Some(note.get(..end).unwrap_or(note).to_owned()),
        action: action.to_owned(),
        secondary: None,
    };
    if let Err(error) = context
        .recorder
        .publish(&event, &resource.object_ref(&()))
        .await
    {
        tracing::warn!(%error, reason, "an Event could not be written");
    }
}

/// Writes down what was there before a resource and is used by it, before anything of it is changed: afterwards nobody could tell. And which
/// Kafka that was, once it was asked. The resource as it is then, where something was written. Fails where it was changed since it was read.
pub(crate) async fn adopted<K: Declared>(
    resource: &K,
    context: &Context,
    found: &[String],
    cluster: Option<&String>,
) -> Result<Option<K>, kube::Error> {
    let before = resource.status().shared;
    let mut all = before.adopted.clone().unwrap_or_default();
    let new: Vec<String> = found
        .iter()
        .filter(|name| !all.contains(name))
        .cloned()
        .collect();
    all.extend(new.iter().cloned());
    let cluster = cluster.or(before.kafka_cluster.as_ref());
    if before.adopted.as_ref() == Some(&all) && before.kafka_cluster.as_ref() == cluster {
        return Ok(None);
    }
    let status = json!({"adopted": all, "kafkaCluster": cluster});
    let now = patch_unchanged(resource, context, &status).await?;
    if !new.is_empty() {
        let note = format!("there before, and used: {}", new.join(", "));
        event(resource, context, false, "Adopted", "Adopt", &note).await;
    }
    Ok(Some(now))
}

/// Writes members of the status, and leaves the others as they are. Whether the resource is still there.
async fn patch_status<K: Declared>(
    resource: &K,
    context: &Context,
    status: &Value,
) -> Result<bool, kube::Error> {
    let api: Api<K> = Api::namespaced(context.client.clone(), resource.namespace());
    let patch = Patch::Merge(json!({"status": status}));
    let parameters = PatchParams::default();
    match api.patch_status(resource.name(), &parameters, &patch).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
        done => done.map(|_| true),
    }
}

/// Writes down which plan workers are told to run, before any of them is: no number is ever given to two plans. Fails where the resource
/// was changed since it was read.
pub(crate) async fn plan(
    pipeline: &Pipeline,
    context: &Context,
    plan: &PlanStatus,
) -> Result<(), kube::Error> {
    patch_unchanged(pipeline, context, &json!({"plan": plan}))
        .await
        .map(drop)
}

/// Writes members of the status of a resource that is as it was read. The resource as it is then.
async fn patch_unchanged<K: Declared>(
    resource: &K,
    context: &Context,
    status: &Value,
) -> Result<K, kube::Error> {
    let patch = json!({
        "metadata": {"resourceVersion": resource.meta().resource_version},
        "status": status,
    });
    let api: Api<K> = Api::namespaced(context.client.clone(), resource.namespace());
    let parameters = PatchParams::default();
    api.patch_status(resource.name(), &parameters, &Patch::Merge(&patch))
        .await
}
