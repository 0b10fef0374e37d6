//! What the objects are, and that Kubernetes knows every member of them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tidewheel_crds::resources::Quantities;

use super::*;
use crate::settings::Monitoring;

fn owner(kind: Kind, name: &str) -> Owner {
    Owner {
        kind,
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        uid: "6a4bc5c8-0000-4000-8000-000000000000".to_owned(),
    }
}

fn settings() -> Workloads {
    serde_json::from_value(json!({
        "image": "registry.example/tidewheel:1",
        "imagePullPolicy": "IfNotPresent",
        "imagePullSecrets": [{"name": "registry"}],
        "nodeSelector": {"pool": "streams"},
        "tolerations": [{"key": "streams", "operator": "Exists"}],
        "podLabels": {"team": "data", "app.kubernetes.io/name": "theirs"},
        "podAnnotations": {"sidecar.istio.io/inject": "false"},
        "ingest": {"resources": {"requests": {"cpu": "100m"}}},
    }))
    .unwrap()
}

fn with<T>(owner: &Owner, kafka: &KafkaAccess, build: impl Fn(Workload<'_>) -> T) -> T {
    let resources = Resources {
        requests: Some(Quantities {
            cpu: Some("500m".to_owned()),
            memory: None,
        }),
        limits: None,
    };
    build(Workload {
        owner,
        settings: &settings(),
        documents: "kind: Pipeline\n".to_owned(),
        kafka,
        secrets: [("warehouse".to_owned(), ["url".to_owned()].into())].into(),
        secrets_digest: "d1".to_owned(),
        resources: (owner.kind == Kind::Pipeline).then_some(&resources),
    })
}

fn of_pipeline() -> Vec<Child> {
    let kafka = KafkaAccess::Secret("tidewheel-kafka".to_owned());
    let owner = owner(Kind::Pipeline, "kpis");
    with(&owner, &kafka, |workload| worker(&workload, 1))
}

fn of_source() -> Vec<Child> {
    let kafka = KafkaAccess::Servers("kafka:9092".to_owned());
    let owner = owner(Kind::EventSource, "clicks");
    with(&owner, &kafka, |workload| ingest(&workload, 2))
}

fn deployment_of(children: &[Child]) -> &Value {
    let found = children
        .iter()
        .find(|child| child.kind == ChildKind::Deployment);
    &found.unwrap().object
}

/// Reads an object as Kubernetes does, which drops what it does not know.
fn read_back<K: DeserializeOwned + Serialize>(object: &Value) -> Value {
    let read: K = serde_json::from_value(object.clone()).unwrap();
    serde_json::to_value(read).unwrap()
}

#[test]
fn kubernetes_knows_every_member_of_every_object() {
    for child in [of_source(), of_pipeline()].concat() {
        let object = &child.object;
        let read = match child.kind {
            ChildKind::ServiceAccount => read_back::<ServiceAccount>(object),
            ChildKind::ConfigMap => read_back::<ConfigMap>(object),
            ChildKind::Service => read_back::<Service>(object),
            ChildKind::PodDisruptionBudget => read_back::<PodDisruptionBudget>(object),
            ChildKind::Deployment => read_back::<Deployment>(object),
            ChildKind::ServiceMonitor | ChildKind::PrometheusRule => panic!("not of these"),
        };
        assert_eq!(&read, object);
    }
}

#[test]
fn the_objects_are_as_reviewed() {
    let yaml = |children: Vec<Child>| {
        let objects = children.iter().map(|child| format!("{:#}\n", child.object));
        objects.collect::<Vec<_>>().join("---\n")
    };
    insta::assert_snapshot!("of_source", yaml(of_source()));
    insta::assert_snapshot!("of_pipeline", yaml(of_pipeline()));
}

fn monitoring() -> Monitoring {
    serde_json::from_value(json!({
        "labels": {"release": "stack", "app.kubernetes.io/name": "theirs"},
        "interval": "30s",
        "alerts": true,
        "runbooks": "https://docs.example/alerts.md",
    }))
    .unwrap()
}

fn monitors(kind: Kind, role: Role, settings: &Monitoring, kinds: &[ChildKind]) -> Vec<Child> {
    let monitored = Monitored {
        owner: &owner(kind, "kpis"),
        role,
        settings,
        runs: true,
        catch_up_seconds: 30.0,
    };
    monitor(&monitored, kinds)
}

#[test]
fn monitors_are_as_reviewed() {
    let settings = monitoring();
    let mut all = monitors(
        Kind::Pipeline,
        Role::Worker,
        &settings,
        &ChildKind::MONITORS,
    );
    all.extend(of_operator(&settings, "tidewheel", "2b4bc5c8"));
    // The alerts are reviewed where they are.
    for child in &mut all {
        if let Some(groups) = child.object.pointer_mut("/spec/groups") {
            *groups = json!(groups.as_array().unwrap().len());
        }
    }
    let objects = all.iter().map(|child| format!("{:#}\n", child.object));
    insta::assert_snapshot!("monitors", objects.collect::<Vec<_>>().join("---\n"));
}

#[test]
fn a_monitor_finds_the_service_of_the_pods_whatever_labels_the_installation_adds() {
    for (kind, role) in [
        (Kind::EventSource, Role::Ingest),
        (Kind::EventSource, Role::Generate),
        (Kind::Pipeline, Role::Worker),
    ] {
        let children = monitors(kind, role, &monitoring(), &ChildKind::MONITORS);
        let of = |kind| {
            &children
                .iter()
                .find(|child| child.kind == kind)
                .unwrap()
                .object
        };
        let (service, monitor) = (of(ChildKind::Service), of(ChildKind::ServiceMonitor));
        assert_eq!(read_back::<Service>(service), *service);
        let selector = monitor["spec"]["selector"]["matchLabels"]
            .as_object()
            .unwrap();
        for (name, value) in selector {
            assert_eq!(&service["metadata"]["labels"][name], value, "{name}");
        }
        assert_eq!(
            monitor["spec"]["endpoints"][0]["port"],
            service["spec"]["ports"][0]["name"]
        );
        assert_eq!(monitor["metadata"]["labels"]["release"], "stack");
        // What alerts call the job is what Prometheus does: the name of the Service.
        let rules = of(ChildKind::PrometheusRule)["spec"].to_string();
        let job = format!(
            "job=\\\"{}\\\"",
            service["metadata"]["name"].as_str().unwrap()
        );
        assert!(rules.contains(&job), "{rules}");
    }
}

#[test]
fn only_what_the_cluster_knows_is_made() {
    let made = |settings: &Monitoring, kinds: &[ChildKind]| -> Vec<ChildKind> {
        let children = monitors(Kind::Pipeline, Role::Worker, settings, kinds);
        children.iter().map(|child| child.kind).collect()
    };
    let (rule, monitor) = (ChildKind::PrometheusRule, ChildKind::ServiceMonitor);
    assert_eq!(made(&monitoring(), &[]), []);
    assert_eq!(made(&monitoring(), &[rule]), [rule]);
    assert_eq!(
        made(&monitoring(), &[monitor]),
        [ChildKind::Service, monitor]
    );
    let without_alerts = Monitoring {
        alerts: false,
        ..monitoring()
    };
    assert_eq!(made(&without_alerts, &[rule]), []);
}

#[test]
fn pods_are_what_the_restricted_standard_admits_and_have_no_account_to_speak_of() {
    for children in [of_source(), of_pipeline()] {
        let pod = &deployment_of(&children)["spec"]["template"]["spec"];
        assert_eq!(pod["automountServiceAccountToken"], false);
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(
            pod["securityContext"]["seccompProfile"]["type"],
            "RuntimeDefault"
        );
        let container = &pod["containers"][0]["securityContext"];
        assert_eq!(container["allowPrivilegeEscalation"], false);
        assert_eq!(container["readOnlyRootFilesystem"], true);
        assert_eq!(container["capabilities"]["drop"], json!(["ALL"]));
    }
}

#[test]
fn what_the_installation_adds_to_pods_never_hides_them_from_their_service() {
    let children = of_source();
    let labels = &deployment_of(&children)["spec"]["template"]["metadata"]["labels"];
    assert_eq!(labels["team"], "data");
    let service = children
        .iter()
        .find(|child| child.kind == ChildKind::Service)
        .unwrap();
    for (name, value) in service.object["spec"]["selector"].as_object().unwrap() {
        assert_eq!(&labels[name], value, "{name}");
    }
}

#[test]
fn a_changed_secret_or_other_documents_change_the_pods() {
    let kafka = KafkaAccess::Servers("kafka:9092".to_owned());
    let owner = owner(Kind::Pipeline, "kpis");
    let changed = |change: &dyn Fn(&mut Workload<'_>)| {
        with(&owner, &kafka, |mut workload| {
            change(&mut workload);
            let children = worker(&workload, 1);
            deployment_of(&children)["spec"]["template"].clone()
        })
    };
    let before = changed(&|_| {});
    assert_eq!(changed(&|_| {}), before);
    assert_ne!(
        changed(&|workload| workload.secrets_digest = "d2".to_owned()),
        before
    );
    assert_ne!(changed(&|workload| workload.documents.push(' ')), before);
}
