//! Many resources at once.
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    thread::sleep,
    time::{Duration, Instant},
};

use tidewheel_e2e::{
    cluster::{Cluster, Request},
    measured,
};

use super::{OwnCluster, TOOLS, forwarded::Forwarded, install_for, leader::leader, shop::Shop};

const PIPELINES: usize = 200;
/// How long nothing may be written: longer than between two looks at topics and tables.
const QUIET: Duration = Duration::from_secs(60);

/// Pipelines that are suspended: one kubelet could not hold their pods.
fn pipelines() -> String {
    let mut yaml = String::new();
    for number in 0..PIPELINES {
        let _ = write!(
            yaml,
            "---
apiVersion: tidewheel.dev/v1alpha1
kind: Pipeline
metadata: {{name: p{number}, namespace: web}}
spec:
  suspend: true
  sources: [{{name: clicks}}]
  steps:
    - {{name: bytes_of, sql: \"SELECT ts, method, bytes * {number} AS bytes FROM clicks\"}}
  outputs:
    - {{name: rows_{number}, from: bytes_of, postgres: {{sink: warehouse}}}}
"
        );
    }
    yaml
}

/// The value of a metric of the pod that leads.
fn of_leader(cluster: &Cluster, metric: &str) -> f64 {
    let leader = leader(cluster, TOOLS);
    let forwarded = Forwarded::to(cluster, TOOLS, &format!("pod/{leader}"), 9090);
    let answer = forwarded.get("/metrics").unwrap();
    let mut lines = answer.lines();
    let value = lines.find_map(|line| line.strip_prefix(&format!("{metric} ")));
    value.unwrap_or_else(|| panic!("{answer}")).parse().unwrap()
}

#[test]
fn two_hundred_pipelines_are_ready_and_then_nothing_is_written_whoever_leads() {
    // Of its own: a minute without any write, and all requests counted.
    let own = OwnCluster::start("m");
    let cluster = own.cluster;
    let shop = Shop::on(cluster, "many");
    install_for(&shop, &[]);
    for file in ["source.yaml", "sink.yaml"] {
        shop.apply_example(file);
    }
    shop.secret(cluster.postgres_in_pods());
    shop.wait_for("eventsource/clicks", "Ready");

    let requests = || cluster.requests_of(TOOLS, "tidewheel-operator").unwrap();
    let before = requests().len();
    let began = Instant::now();
    shop.apply(&pipelines());
    let applied = began.elapsed();
    let path = "--output=jsonpath={.items[*].status.conditions[?(@.type=='Ready')].status}";
    shop.until("all are ready", || {
        let ready = shop.kubectl(&["get", "pipelines", path]);
        ready.split(' ').filter(|status| *status == "True").count() == PIPELINES
    });
    let tables = shop.sql(&format!(
        "SELECT count(*) FROM pg_tables WHERE schemaname = '{}' AND tablename LIKE 'rows_%'",
        shop.schema()
    ));
    assert_eq!(tables, PIPELINES.to_string());
    let asked = requests();
    let mut verbs: BTreeMap<&str, usize> = BTreeMap::new();
    for request in &asked[before..] {
        *verbs.entry(&request.verb).or_default() += 1;
    }
    measured(&format!(
        "many: {PIPELINES} Pipelines: applied in {:.1} s, ready after {:.1} s, {} requests {verbs:?}, the leader has {:.0} MiB",
        applied.as_secs_f64(),
        began.elapsed().as_secs_f64(),
        asked.len() - before,
        of_leader(cluster, "process_resident_memory_bytes") / 1_048_576.0
    ));

    // What was begun when everything was ready is ended. Who leads renews the lease.
    sleep(Duration::from_secs(10));
    let writes = || {
        let is_ours = |request: &Request| request.is_write() && request.namespace == "many";
        requests().into_iter().filter(is_ours).collect::<Vec<_>>()
    };
    let before = writes();
    let began = Instant::now();
    sleep(QUIET);
    assert_eq!(&writes()[before.len()..], []);
    shop.measured("nothing was written", began);

    // Another that leads looks at everything at once, over the few connections that it takes, and has nothing to say either.
    let before = writes();
    let first = leader(cluster, TOOLS);
    cluster
        .run_kubectl(&["delete", "pod", &first, "--namespace", TOOLS])
        .unwrap();
    shop.until("another leads", || {
        ![first.as_str(), ""].contains(&leader(cluster, TOOLS).as_str())
    });
    sleep(QUIET);
    assert_eq!(&writes()[before.len()..], []);
}
