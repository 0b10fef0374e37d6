//! Objects are made, and put back where they are not as they should be. Where they are, nothing is written.
//!
//! How many pods a worker's Deployment has is said by a field manager of its own, [`SCALING`], so that whoever looks at `managedFields` sees who
//! it was. The manager of all else gives the number once, with which the Deployment is made, and never again; before it lets go of it the
//! other has to have taken it, or there would be one pod for a moment.
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};

use crate::children::{Child, ChildKind, Owner};
use crate::documents::hash;
use crate::drift::is_there;
use crate::world::{World, is_owned_by};

/// The annotation with a digest of what was applied last: so that what is no longer wanted is found as well.
const APPLIED: &str = "tidewheel.dev/applied";

/// The field manager of the number of pods.
const SCALING: &str = "tidewheel-scaling";

/// Why an object is not as it should be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    /// Something else has its name.
    #[error(
        "there is a {kind} `{name}` in the namespace that is somebody else's: remove or rename it, or give the resource another name"
    )]
    Taken { kind: String, name: String },
    /// The API server refuses it: a quota, a policy, or missing rights.
    #[error("the cluster refuses the {kind} `{name}`: {reason}")]
    Refused {
        kind: String,
        name: String,
        reason: String,
    },
    /// The API server cannot be asked, or somebody was faster.
    #[error(transparent)]
    Kube(#[from] kube::Error),
}

/// Applies objects as one field manager.
pub(crate) struct Applier<'a> {
    pub(crate) client: &'a Client,
    pub(crate) world: &'a World,
    pub(crate) owner: &'a Owner,
}

impl Applier<'_> {
    /// Makes an object, or puts it back. The object as it is then.
    pub(crate) async fn apply(&self, child: &Child) -> Result<Value, ApplyError> {
        let mut wanted = wanted(child);
        let found = self.world.child(child.kind, &child.namespace, &child.name);
        if let Some(found) = found.filter(|found| is_owned_by(found, &self.owner.uid)) {
            let mut plain = plain(child.kind, &found);
            let is_there = is_there(&wanted, &plain);
            if let Some(replicas) = child.replicas
                && !(is_there && plain["spec"]["replicas"] == replicas)
            {
                plain = self.scale(&found, replicas).await?;
            }
            if is_there {
                return Ok(plain);
            }
        } else {
            self.refuse_others(child).await?;
            if let Some(replicas) = child.replicas {
                wanted["spec"]["replicas"] = replicas.into();
            }
        }
        let parameters = PatchParams::apply(&self.manager())
            .force()
            .validation_strict();
        let applied = self
            .api(child.kind)
            .patch(&child.name, &parameters, &Patch::Apply(&wanted))
            .await;
        let applied = applied.map_err(|error| refused(child.kind, &child.name, error))?;
        tracing::info!(
            kind = child.kind.resource().kind,
            namespace = child.namespace,
            name = child.name,
            "applied"
        );
        Ok(plain(child.kind, &applied))
    }

    /// Says how many pods a Deployment has, as it is known; the Deployment as it is then.
    pub(crate) async fn scale(
        &self,
        deployment: &DynamicObject,
        replicas: u32,
    ) -> Result<Value, ApplyError> {
        let (kind, name) = (ChildKind::Deployment, deployment.name_any());
        let resource = kind.resource();
        let wanted = json!({
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            // With the `uid` none is ever made by this.
            "metadata": {"name": name, "uid": deployment.metadata.uid},
            "spec": {"replicas": replicas},
        });
        let parameters = PatchParams::apply(SCALING).force().validation_strict();
        let api = self.api(kind);
        let applied = api
            .patch(&name, &parameters, &Patch::Apply(&wanted))
            .await
            .map_err(|error| refused(kind, &name, error))?;
        tracing::info!(namespace = self.owner.namespace, name, replicas, "scaled");
        Ok(plain(kind, &applied))
    }

    /// Removes an object that is no longer needed, as it is known. It is there until everything is gone that it owns.
    pub(crate) async fn remove(
        &self,
        kind: ChildKind,
        object: &DynamicObject,
    ) -> Result<(), ApplyError> {
        let parameters = DeleteParams {
            preconditions: Some(Preconditions {
                uid: object.metadata.uid.clone(),
                resource_version: None,
            }),
            ..DeleteParams::foreground()
        };
        match self.api(kind).delete(&object.name_any(), &parameters).await {
            Ok(_) => Ok(()),
            // It is gone already, or another has its name by now.
            Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Refuses to take over what somebody else has made under the name.
    async fn refuse_others(&self, child: &Child) -> Result<(), ApplyError> {
        let found = self.api(child.kind).get_opt(&child.name).await?;
        match found.filter(|found| !is_owned_by(found, &self.owner.uid)) {
            None => Ok(()),
            Some(_) => Err(ApplyError::Taken {
                kind: child.kind.resource().kind,
                name: child.name.clone(),
            }),
        }
    }

    fn api(&self, kind: ChildKind) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.owner.namespace, &kind.resource())
    }

    fn manager(&self) -> String {
        format!("tidewheel-{}", self.owner.kind.as_str().to_lowercase())
    }
}

/// An object as it is applied.
pub(crate) fn wanted(child: &Child) -> Value {
    let mut wanted = child.object.clone();
    wanted["metadata"]["annotations"][APPLIED] = hash(child.object.to_string().as_bytes()).into();
    wanted
}

/// An object with its kind, which those lack that came in a list.
pub(crate) fn plain(kind: ChildKind, object: &DynamicObject) -> Value {
    let resource = kind.resource();
    let mut object = serde_json::to_value(object).unwrap_or_default();
    object["apiVersion"] = resource.api_version.into();
    object["kind"] = resource.kind.into();
    object
}

fn refused(kind: ChildKind, name: &str, error: kube::Error) -> ApplyError {
    match error {
        kube::Error::Api(status) if [400, 403, 422].contains(&status.code) => ApplyError::Refused {
            kind: kind.resource().kind,
            name: name.to_owned(),
            reason: status.message,
        },
        error => error.into(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn an_object_that_came_in_a_list_is_as_it_should_be() {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"b": "c"}});
        let child = Child {
            kind: ChildKind::ConfigMap,
            namespace: "shop".to_owned(),
            name: "a".to_owned(),
            object,
            replicas: None,
        };
        let mut listed = wanted(&child);
        let members = listed.as_object_mut().unwrap();
        members.remove("apiVersion");
        members.remove("kind");
        let listed: DynamicObject = serde_json::from_value(listed).unwrap();
        assert!(is_there(&wanted(&child), &plain(child.kind, &listed)));
    }
}
