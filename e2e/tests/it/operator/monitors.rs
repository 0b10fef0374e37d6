//! What runs is watched over where a cluster has the kinds for that, and gets them after the operator: by a real Prometheus, as a real
//! Prometheus Operator tells it to.
use std::{
    collections::BTreeMap,
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rdkafka::{
    ClientConfig,
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use serde_json::Value;
use tidewheel_e2e::{
    cluster::{Cluster, Request},
    prometheus::{Prometheus, PrometheusOperator, kinds},
};

use super::{
    OwnCluster, TOOLS, install_for,
    shop::{AT_ONCE, Shop},
};
use crate::charts::teach;

/// Where the Prometheus is that the Prometheus Operator believes to run. What it looks at every second is what a test waits for.
const PROMETHEUS: &str = "apiVersion: v1
kind: Namespace
metadata: {name: monitoring}
---
apiVersion: monitoring.coreos.com/v1
kind: Prometheus
metadata: {name: real, namespace: monitoring}
spec:
  version: v2.42.0
  replicas: 0
  evaluationInterval: 1s
  serviceMonitorSelector: {matchLabels: {release: stack}}
  serviceMonitorNamespaceSelector: {}
  ruleSelector: {matchLabels: {release: stack}}
  ruleNamespaceSelector: {}
";

/// How long nothing may be written: longer than between two looks of our operator.
const QUIET: Duration = Duration::from_secs(60);

/// Teaches a cluster the kinds of the Prometheus Operator.
pub(super) fn install_kinds(cluster: &Cluster) {
    let kinds_used = "servicemonitors,prometheusrules,prometheuses";
    teach(cluster, &kinds().unwrap(), kinds_used);
}

/// The monitors and rules with the labels that were asked for, with their namespaces.
fn watching(cluster: &Cluster) -> Vec<String> {
    let template = "--output=jsonpath={range .items[*]}{.metadata.namespace} {.kind} {.metadata.name}{'\\n'}{end}";
    let kinds = "servicemonitors,prometheusrules";
    let get = [
        "get",
        kinds,
        "--all-namespaces",
        "--selector=release=stack",
        template,
    ];
    let found = cluster.run_kubectl(&get).unwrap_or_default();
    let mut found: Vec<String> = found.lines().map(str::to_owned).collect();
    found.sort();
    found
}

const ALL: [&str; 6] = [
    "tools PrometheusRule tidewheel-operator",
    "tools ServiceMonitor tidewheel-operator",
    "watched PrometheusRule clicks-ingest",
    "watched PrometheusRule web-analytics-worker",
    "watched ServiceMonitor clicks-ingest",
    "watched ServiceMonitor web-analytics-worker",
];

/// What the Prometheus Operator has made of them: the configuration, and files with rules. Nothing until it has taken in everything.
fn configured(cluster: &Cluster) -> Option<(String, BTreeMap<String, String>)> {
    let get = |what: &str, path: &str| {
        let path = format!("--output=jsonpath={path}");
        let get = [
            "get",
            what,
            "--namespace=monitoring",
            "--ignore-not-found",
            &path,
        ];
        cluster.run_kubectl(&get).unwrap()
    };
    let packed = get("secret/prometheus-real", r"{.data.prometheus\.yaml\.gz}");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), STANDARD.decode(packed).unwrap()).unwrap();
    let unpacked = Command::new("gzip")
        .arg("-dc")
        .arg(file.path())
        .output()
        .unwrap();
    let configuration = String::from_utf8(unpacked.stdout).unwrap();
    let rules = get("configmap/prometheus-real-rulefiles-0", "{.data}");
    let rules: BTreeMap<String, String> = serde_json::from_str(&rules).unwrap_or_default();
    let jobs = configuration.matches("job_name: serviceMonitor/").count();
    (jobs == 3 && rules.len() == 3).then_some((configuration, rules))
}

fn asked(prometheus: &Prometheus, path: &str) -> Value {
    let answer = prometheus.get(path).unwrap();
    serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

/// The jobs whose metrics are read, each as often as it has pods.
fn read_from(prometheus: &Prometheus) -> Vec<String> {
    let targets = asked(prometheus, "/api/v1/targets?state=active");
    let targets = targets["data"]["activeTargets"].as_array().unwrap();
    let up = targets.iter().filter(|target| target["health"] == "up");
    let mut jobs: Vec<String> = up
        .map(|target| target["labels"]["job"].as_str().unwrap().to_owned())
        .collect();
    jobs.sort();
    jobs
}

/// The alerts that fire, with the Pipelines that they are about.
fn firing(prometheus: &Prometheus) -> Vec<(String, String)> {
    let alerts = asked(prometheus, "/api/v1/alerts");
    let alerts = alerts["data"]["alerts"].as_array().unwrap();
    let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut firing: Vec<_> = firing
        .map(|alert| {
            let labels = &alert["labels"];
            (text(&labels["alertname"]), text(&labels["pipeline"]))
        })
        .collect();
    firing.sort();
    firing.dedup();
    firing
}

/// How often our operator has written monitors and rules.
fn writes(cluster: &Cluster) -> usize {
    let requests = cluster.requests_of(TOOLS, "tidewheel-operator").unwrap();
    let is_write =
        |request: &&Request| request.group == "monitoring.coreos.com" && request.is_write();
    requests.iter().filter(is_write).count()
}

/// Puts a record into the source's topic that is no event.
fn poison(shop: &Shop) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", shop.cluster.kafka())
        .create()
        .unwrap();
    let topic = format!("{}.clicks", shop.name);
    let record = BaseRecord::to(&topic).key("k").payload("no event");
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.flush(Duration::from_secs(30)).unwrap();
}

#[test]
fn what_runs_is_watched_over_when_a_prometheus_comes_later_and_alerts_fire() {
    // Of its own: in another one the kinds would appear while other tests look at it.
    let own = OwnCluster::start("p");
    let cluster = own.cluster;
    let shop = Shop::on(cluster, "watched");
    let values = [
        "operator.replicas=1",
        "monitoring.labels.release=stack",
        "monitoring.interval=1s",
    ];
    install_for(&shop, &values);
    shop.apply_all();
    for what in ["eventsource/clicks", "pipeline/web-analytics"] {
        shop.wait_for(what, "Ready");
    }

    let began = Instant::now();
    install_kinds(cluster);
    shop.until("there is a monitor and a rule for each", || {
        watching(cluster) == ALL
    });
    shop.measured("watched over after the kinds were installed", began);
    shop.delete(&["servicemonitor/web-analytics-worker"]);
    shop.until_within(AT_ONCE, "what was deleted is back", || {
        watching(cluster) == ALL
    });

    let began = Instant::now();
    let _operator = PrometheusOperator::start(cluster).unwrap();
    cluster.apply(PROMETHEUS).unwrap();
    shop.until("the Prometheus Operator has taken them in", || {
        configured(cluster).is_some()
    });
    let (configuration, rules) = configured(cluster).unwrap();
    let prometheus = Prometheus::start(cluster, &configuration, &rules).unwrap();
    let jobs = [
        "clicks-ingest-metrics",
        "clicks-ingest-metrics",
        "tidewheel-operator",
        "web-analytics-worker-metrics",
    ];
    shop.until("all metrics are read", || read_from(&prometheus) == jobs);
    shop.measured("the metrics are read", began);
    let absent = "count%28absent%28tidewheel_output_read_total%29%29";
    shop.until("the ledgers are read", || {
        let answer = asked(&prometheus, &format!("/api/v1/query?query={absent}"));
        answer["data"]["result"].as_array().unwrap().is_empty()
    });
    let rules = asked(&prometheus, "/api/v1/rules");
    assert!(
        !rules.to_string().contains("\"health\":\"err\""),
        "{rules:#}"
    );
    assert_eq!(firing(&prometheus), []);

    let began = Instant::now();
    poison(&shop);
    let expected = (
        "TidewheelPipelineDeadLetters".to_owned(),
        "watched/web-analytics".to_owned(),
    );
    shop.until("an alert fires", || !firing(&prometheus).is_empty());
    shop.measured("a dead letter is an alert that fires", began);
    assert_eq!(firing(&prometheus), [expected]);
    let before = writes(cluster);
    assert!(before >= ALL.len());
    sleep(QUIET);
    assert_eq!(
        writes(cluster),
        before,
        "where nothing changes nothing is written"
    );

    // Kinds may go as well, and come again.
    let folder = kinds().unwrap().display().to_string();
    let delete = ["delete", "--filename", &folder];
    cluster.run_kubectl(&delete).unwrap();
    assert_eq!(shop.condition("pipeline/web-analytics", "Ready").0, "True");
    install_kinds(cluster);
    shop.until("there is a monitor and a rule for each again", || {
        watching(cluster) == ALL
    });
}
