//! How the operator itself is watched over. The chart cannot do it: the kinds may come long after it was installed.
use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use kube::{Api, Client, ResourceExt as _};

use crate::apply::{plain, wanted};
use crate::children::{Child, ChildKind, OPERATOR, of_operator};
use crate::drift::is_there;
use crate::rhythm::jittered;
use crate::settings::Monitoring;

/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(45);

/// Keeps the operator's own monitor and alerts, for as long as this is driven, which ends never.
pub(crate) async fn keep(client: &Client, namespace: &str, monitoring: Option<&Monitoring>) {
    let Some(monitoring) = monitoring else {
        return std::future::pending().await;
    };
    loop {
        if let Err(error) = look(client, namespace, monitoring).await {
            tracing::warn!(%error, "nobody watches over the operator: it is tried again");
        }
        tokio::time::sleep(jittered(LOOK_EVERY)).await;
    }
}

async fn look(
    client: &Client,
    namespace: &str,
    monitoring: &Monitoring,
) -> Result<(), kube::Error> {
    let services: Api<Service> = Api::namespaced(client.clone(), namespace);
    // Without the chart's Service, as outside a cluster, there is nothing to read metrics from.
    let Some(service) = services.get_opt(OPERATOR).await? else {
        return Ok(());
    };
    let uid = service.uid().unwrap_or_default();
    for child in of_operator(monitoring, namespace, &uid) {
        match put(client, &child).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {
                tracing::debug!(kind = child.kind.resource().kind, "the kind is not there");
            }
            done => done?,
        }
    }
    if !monitoring.alerts {
        end_alerts(client, namespace, &uid).await?;
    }
    Ok(())
}

/// Removes the operator's own alerts: they were wanted once, and are no longer. Those of others stay.
async fn end_alerts(client: &Client, namespace: &str, uid: &str) -> Result<(), kube::Error> {
    let resource = ChildKind::PrometheusRule.resource();
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    // Nothing is there either where the kind is not.
    let Some(rules) = api.get_opt(OPERATOR).await? else {
        return Ok(());
    };
    let owners = rules.owner_references();
    if !owners.iter().any(|owner| owner.uid == uid) {
        return Ok(());
    }
    let preconditions = Preconditions {
        uid: rules.uid(),
        resource_version: None,
    };
    let parameters = DeleteParams::default().preconditions(preconditions);
    api.delete(OPERATOR, &parameters).await?;
    tracing::info!(kind = resource.kind, name = OPERATOR, "removed");
    Ok(())
}

/// Makes an object, or puts it back.
async fn put(client: &Client, child: &Child) -> Result<(), kube::Error> {
    let resource = child.kind.resource();
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &child.namespace, &resource);
    let wanted = wanted(child);
    let found = api.get_opt(&child.name).await?;
    if found.is_some_and(|found| is_there(&wanted, &plain(child.kind, &found))) {
        return Ok(());
    }
    let parameters = PatchParams::apply(OPERATOR).force().validation_strict();
    api.patch(&child.name, &parameters, &Patch::Apply(&wanted))
        .await?;
    tracing::info!(kind = resource.kind, name = child.name, "applied");
    Ok(())
}
