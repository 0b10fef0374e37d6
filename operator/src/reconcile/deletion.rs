//! Deleting data with a resource, where `deletionPolicy` says so. Whoever cannot be asked holds up nobody for long: a namespace can always be deleted.
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::runtime::controller::Action;
use kube::{Api, ResourceExt as _};
use serde_json::json;

use super::{ReconcileError, report};
use crate::conditions::{Aspect, Finding, Reason};
use crate::context::Context;
use crate::report::event;
use crate::resource::Declared;

/// Keeps a resource until its data is deleted.
const FINALIZER: &str = "tidewheel.dev/data";
/// For how long at most, from when it was to be deleted.
const GIVES_UP_AFTER: Duration = Duration::from_secs(60);
/// How soon it is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(2);

/// How far the deletion of data has come.
pub(super) enum Removal {
    /// All of this is gone.
    Done(Vec<String>),
    /// Something else has to go first, or somebody cannot be asked.
    Waits(String),
}

/// Whether a resource says that its data goes with it, at this place of its spec. Also where the rest of it is wrong.
pub(super) fn is_delete<K: Declared>(resource: &K, pointer: &str) -> bool {
    resource
        .spec()
        .pointer(pointer)
        .is_some_and(|policy| policy == "Delete")
}

/// Sees to it that a resource whose data goes with it is kept until that is gone, and no other.
pub(super) async fn guard<K: Declared>(
    resource: &K,
    context: &Context,
    is_delete: bool,
) -> Result<(), ReconcileError> {
    if is_delete == is_guarded(resource) {
        return Ok(());
    }
    let mut finalizers = resource.finalizers().to_vec();
    if is_delete {
        finalizers.push(FINALIZER.to_owned());
    } else {
        finalizers.retain(|name| name != FINALIZER);
    }
    // With the version that was read: finalizers of others are not lost.
    let patch = json!({"metadata": {
        "finalizers": finalizers,
        "resourceVersion": resource.meta().resource_version,
    }});
    let api: Api<K> = Api::namespaced(context.client.clone(), resource.namespace());
    match api
        .patch(
            resource.name(),
            &PatchParams::default(),
            &Patch::Merge(&patch),
        )
        .await
    {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn is_guarded<K: Declared>(resource: &K) -> bool {
    resource.finalizers().iter().any(|name| name == FINALIZER)
}

/// Deletes the data of a resource that is on its way out, where it is to be, and lets it go.
pub(super) async fn finalize<K: Declared>(
    resource: &K,
    context: &Context,
    is_delete: bool,
    remove: impl Future<Output = Result<Removal, ReconcileError>>,
) -> Result<Action, ReconcileError> {
    if !is_guarded(resource) {
        context
            .rhythm
            .forget(resource.meta().uid.as_deref().unwrap_or_default());
        return Ok(Action::await_change());
    }
    let left = time_left(resource);
    let removal = match is_delete {
        false => Removal::Done(Vec::new()),
        true => match tokio::time::timeout(left.max(AGAIN_AFTER), remove).await {
            Ok(removal) => removal?,
            Err(_) => Removal::Waits("there was no answer in time".to_owned()),
        },
    };
    match removal {
        Removal::Done(gone) => {
            if !gone.is_empty() {
                let note = format!("deleted: {}", gone.join(", "));
                event(resource, context, false, "DataDeleted", "Delete", &note).await;
            }
        }
        Removal::Waits(why) if time_left(resource).is_zero() => {
            let seconds = GIVES_UP_AFTER.as_secs();
            let note = format!(
                "data was left behind, because it could not be deleted within {seconds} s: {why}"
            );
            tracing::warn!(kind = %K::KIND, namespace = resource.namespace(), name = resource.name(), "{note}");
            event(resource, context, true, "DataLeftBehind", "Delete", &note).await;
        }
        Removal::Waits(why) => {
            let finding = Finding::new(
                Aspect::Whole,
                Reason::Deleting,
                format!("its data is being deleted: {why}"),
            );
            report(resource, context, &[finding], None).await?;
            return Ok(Action::requeue(AGAIN_AFTER));
        }
    }
    guard(resource, context, false).await?;
    Ok(Action::await_change())
}

fn time_left<K: Declared>(resource: &K) -> Duration {
    let since = resource
        .meta()
        .deletion_timestamp
        .as_ref()
        .map_or(Timestamp::now(), |time| time.0);
    let elapsed = Timestamp::now().duration_since(since);
    GIVES_UP_AFTER.saturating_sub(elapsed.try_into().unwrap_or(Duration::ZERO))
}
