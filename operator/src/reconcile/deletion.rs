//! Deleting data with a resource, where `deletionPolicy` says so. Whoever cannot be asked holds up nobody for long: a namespace can always be deleted.
use std::time::{Duration, Instant};

use kube::api::{Patch, PatchParams};
use kube::runtime::controller::Action;
use kube::{Api, ResourceExt as _};
use serde_json::json;

use super::{ReconcileError, report};
use crate::conditions::{Aspect, Finding, Reason};
use crate::context::Context;
use crate::deletions::{Deleted, GIVES_UP_AFTER, Removal, Verdict};
use crate::report::event;
use crate::resource::Declared;

/// Keeps a resource until its data is deleted.
const FINALIZER: &str = "tidewheel.dev/data";
/// How soon it is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(2);

/// Whether a resource says that its data goes with it, at this place of its spec. Also where the rest of it is wrong.
pub(super) fn is_delete<K: Declared>(resource: &K, pointer: &str) -> bool {
    resource
        .spec()
        .pointer(pointer)
        .is_some_and(|policy| policy == "Delete")
}

/// Sees to it that a resource whose data goes with it is kept until that is gone, and no other. The resource as it is then, where it was
/// changed.
pub(super) async fn guard<K: Declared>(
    resource: &K,
    context: &Context,
    is_delete: bool,
) -> Result<Option<K>, ReconcileError> {
    if is_delete == is_guarded(resource) {
        return Ok(None);
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
        Ok(now) => Ok(Some(now)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
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
    let uid = resource.uid();
    if !is_guarded(resource) {
        forget(context, uid);
        return Ok(Action::await_change());
    }
    let removal = match is_delete {
        false => Removal::Tried(Deleted::default()),
        true => match tokio::time::timeout(GIVES_UP_AFTER, remove).await {
            Ok(removal) => removal?,
            Err(_) => Removal::Tried(Deleted {
                left: vec!["all of it: there was no answer in time".to_owned()],
                ..Deleted::default()
            }),
        },
    };
    match context.deletions.judge(uid, removal, Instant::now()) {
        Verdict::Over(deleted) => tell(resource, context, &deleted).await,
        Verdict::Waits(why) => {
            let message = format!("its data is being deleted: {why}");
            let finding = Finding::new(Aspect::Whole, Reason::Deleting, message);
            report(resource, context, &[finding], None).await?;
            return Ok(Action::requeue(AGAIN_AFTER));
        }
    }
    guard(resource, context, false).await?;
    forget(context, uid);
    Ok(Action::await_change())
}

/// Says what became of data.
async fn tell<K: Declared>(resource: &K, context: &Context, deleted: &Deleted) {
    let Deleted { gone, kept, left } = deleted;
    let parts = [("deleted", gone), ("kept", kept)];
    let parts = parts.into_iter().filter(|(_, what)| !what.is_empty());
    let parts: Vec<String> = parts
        .map(|(how, what)| format!("{how}: {}", what.join(", ")))
        .collect();
    if !parts.is_empty() {
        let note = parts.join("; ");
        event(resource, context, false, "DataDeleted", "Delete", &note).await;
    }
    if !left.is_empty() {
        let seconds = GIVES_UP_AFTER.as_secs();
        let note = format!(
            "data was left behind, because it could not be deleted, though it was tried for {seconds} s: {}",
            left.join("; ")
        );
        tracing::warn!(kind = %K::KIND, namespace = resource.namespace(), name = resource.name(), "{note}");
        event(resource, context, true, "DataLeftBehind", "Delete", &note).await;
    }
}

fn forget(context: &Context, uid: &str) {
    context.rhythm.forget(uid);
    context.reached.forget(uid);
    context.deletions.forget(uid);
}
