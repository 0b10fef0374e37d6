//! What the charts make of values.
use super::chart;
use crate::cluster::shared;

/// The chart of the operator with these values.
fn rendered(values: &str) -> String {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file, values.as_bytes()).unwrap();
    let values = file.path().display().to_string();
    let chart = chart("tidewheel");
    let rendered = shared().run_helm(&[
        "template",
        "tidewheel",
        &chart,
        "--namespace",
        "tidewheel",
        "--values",
        &values,
    ]);
    rendered.unwrap()
}

fn assert_as_reviewed(name: &str, rendered: &str) {
    insta::with_settings!({omit_expression => true}, { insta::assert_snapshot!(name, rendered) });
}

#[test]
fn both_charts_are_in_order() {
    for name in ["tidewheel-crds", "tidewheel"] {
        shared()
            .run_helm(&["lint", "--strict", &chart(name)])
            .unwrap();
    }
}

#[test]
fn an_installation_for_all_namespaces() {
    assert_as_reviewed(
        "all_namespaces",
        &rendered("image: {repository: registry.example/tidewheel}"),
    );
}

#[test]
fn an_installation_for_two_namespaces_with_everything_else_changed() {
    let values = r#"
image:
  repository: registry.example:5000/team/tidewheel
  tag: unused
  digest: sha256:0000000000000000000000000000000000000000000000000000000000000000
  pullPolicy: Always
imagePullSecrets: [{name: registry}]
watchNamespaces: [shop, billing]
kafka: {bootstrapServers: "kafka-0.kafka:9092,kafka-1.kafka:9092", secretName: kafka.access}
operator:
  replicas: 1
  resources: {limits: {cpu: 1, memory: 1.5Gi}}
  log: info,tidewheel_operator=debug
  nodeSelector: {kubernetes.io/os: linux, "true": "yes"}
  tolerations: [{key: dedicated, operator: Equal, value: "1", effect: NoSchedule}]
  affinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: []}}
  priorityClassName: system-cluster-critical
  podLabels: {team: "007", helm.sh/chart: mine}
  podAnnotations: {note: "a: b # {{ c }}"}
  serviceAccount: {annotations: {eks.amazonaws.com/role-arn: "arn:aws:iam::1:role/tidewheel"}}
monitoring: {labels: {release: "1", "true": "no"}, interval: 1m, alerts: false, runbooks: "https://docs.example/alerts"}
workloads:
  nodeSelector: {pool: streams}
  tolerations: [{operator: Exists}]
  podLabels: {monitored: "true"}
  podAnnotations: {sidecar.istio.io/inject: "false"}
  worker: {resources: {requests: {cpu: "2", memory: 4Gi}, limits: {memory: 4Gi}}}
  ingest: {resources: null}
"#;
    assert_as_reviewed("two_namespaces", &rendered(values));
}

#[test]
fn without_monitoring_there_is_no_word_of_it() {
    let without = "image: {repository: r.example/tidewheel}\nmonitoring: {enabled: false}\n";
    assert!(!rendered(without).contains("monitor"));
}

#[test]
fn pods_begin_anew_when_what_they_read_has_changed() {
    let checksum = |values: &str| {
        let text = rendered(values);
        let line = text
            .lines()
            .find(|line| line.contains("tidewheel.dev/workloads:"));
        line.unwrap().to_owned()
    };
    let image = "image: {repository: r.example/tidewheel}\n";
    let before = checksum(image);
    assert_eq!(
        checksum(&format!("{image}operator: {{replicas: 3}}")),
        before
    );
    assert_ne!(
        checksum(&format!("{image}workloads: {{podLabels: {{a: b}}}}")),
        before
    );
}
