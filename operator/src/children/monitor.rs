//! How the pods of a workload are watched over: by whom their metrics are read, and what is an alert.
use serde_json::{Value, json};

use super::{Child, ChildKind, MANAGED_BY, MANAGER, Owner, Role, child, extend, name};
use crate::alerts::{Alerts, Subject};
use crate::settings::Monitoring;

/// The name of the port, of Services and of pods.
const PORT: &str = "operations";
/// The operator's Service, which the chart makes, and all that is named like it.
pub(crate) const OPERATOR: &str = "tidewheel-operator";

/// A workload that is watched over.
#[derive(Debug, Clone)]
pub(crate) struct Monitored<'a> {
    pub(crate) owner: &'a Owner,
    pub(crate) role: Role,
    pub(crate) settings: &'a Monitoring,
    /// Whether pods should be there: none is missed otherwise.
    pub(crate) runs: bool,
    /// How soon it should have caught up with its sources, s.
    pub(crate) catch_up_seconds: f64,
}

/// The objects of these kinds by which a workload is watched over. A Service without an address of its own comes with the ServiceMonitor:
/// each pod has metrics of its own, and those of pods that are not ready count as well.
pub(crate) fn monitor(monitored: &Monitored<'_>, kinds: &[ChildKind]) -> Vec<Child> {
    let Monitored { owner, role, .. } = *monitored;
    let mut children = Vec::new();
    let workload = role.workload(&owner.name);
    let service = name::workload(&owner.name, &format!("{}-metrics", role.as_str()));
    if kinds.contains(&ChildKind::ServiceMonitor) {
        let spec = json!({"spec": {
            "clusterIP": "None",
            "selector": role.selector(owner),
            "ports": [{"name": PORT, "port": 9090, "targetPort": PORT, "protocol": "TCP"}],
        }});
        children.push(child(
            ChildKind::Service,
            owner,
            role,
            service.clone(),
            spec,
        ));
        let spec = endpoints(monitored.settings, &role.selector(owner));
        let mut monitor = child(
            ChildKind::ServiceMonitor,
            owner,
            role,
            workload.clone(),
            spec,
        );
        label(&mut monitor, monitored.settings);
        children.push(monitor);
    }
    if kinds.contains(&ChildKind::PrometheusRule) && monitored.settings.alerts {
        let alerts = Alerts {
            subject: match role {
                Role::Ingest => Subject::Ingest,
                Role::Worker => Subject::Pipeline,
                Role::Generate => Subject::Generator,
            },
            namespace: &owner.namespace,
            name: &owner.name,
            job: &service,
            runs: monitored.runs,
            catch_up_seconds: monitored.catch_up_seconds,
            runbooks: &monitored.settings.runbooks,
        };
        let spec = json!({"spec": alerts.rules()});
        let mut rules = child(ChildKind::PrometheusRule, owner, role, workload, spec);
        label(&mut rules, monitored.settings);
        children.push(rules);
    }
    children
}

/// The objects by which the operator itself is watched over. They go with its Service, whose `uid` this is.
pub(crate) fn of_operator(settings: &Monitoring, namespace: &str, uid: &str) -> Vec<Child> {
    let selector = json!({
        "app.kubernetes.io/name": "tidewheel",
        "app.kubernetes.io/component": "operator",
    });
    let object = |kind: ChildKind, spec: Value| {
        let resource = kind.resource();
        let mut labels = selector.clone();
        labels[MANAGED_BY] = MANAGER.into();
        let mut object = json!({
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": {
                "name": OPERATOR,
                "namespace": namespace,
                "labels": labels,
                "ownerReferences": [{"apiVersion": "v1", "kind": "Service", "name": OPERATOR, "uid": uid}],
            },
        });
        extend(&mut object, spec);
        let mut child = Child {
            kind,
            namespace: namespace.to_owned(),
            name: OPERATOR.to_owned(),
            object,
            replicas: None,
        };
        label(&mut child, settings);
        child
    };
    let monitor = endpoints(settings, &selector);
    let mut children = vec![object(ChildKind::ServiceMonitor, monitor)];
    if settings.alerts {
        let alerts = Alerts {
            subject: Subject::Operator,
            namespace,
            name: OPERATOR,
            job: OPERATOR,
            runs: true,
            catch_up_seconds: 0.0,
            runbooks: &settings.runbooks,
        };
        let spec = json!({"spec": alerts.rules()});
        children.push(object(ChildKind::PrometheusRule, spec));
    }
    children
}

fn endpoints(settings: &Monitoring, selector: &Value) -> Value {
    json!({"spec": {
        "selector": {"matchLabels": selector},
        "endpoints": [{"port": PORT, "path": "/metrics", "interval": settings.interval}],
    }})
}

/// Adds the labels of the installation; ours win.
fn label(child: &mut Child, settings: &Monitoring) {
    let mut labels = json!(settings.labels);
    extend(&mut labels, child.object["metadata"]["labels"].take());
    child.object["metadata"]["labels"] = labels;
}
