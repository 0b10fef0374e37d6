//! A namespace of a test, with what people see and do in it.
use std::{
    fmt::Write as _,
    fs,
    thread::sleep,
    time::{Duration, Instant},
};

use tidewheel_e2e::{cluster::Cluster, postgres};

use super::{forwarded::Forwarded, with_operator};
use crate::charts::path;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(240);

/// A condition: its status and its reason.
pub(super) type Said = (String, String);

/// A namespace in which only restricted pods run.
pub(super) struct Shop {
    pub(super) cluster: &'static Cluster,
    pub(super) name: &'static str,
}

impl Shop {
    pub(super) fn new(name: &'static str) -> Self {
        Self::on(with_operator(), name)
    }

    /// In a cluster of the test's own.
    pub(super) fn on(cluster: &'static Cluster, name: &'static str) -> Self {
        let labels = "{pod-security.kubernetes.io/enforce: restricted}";
        let metadata = format!("{{name: {name}, labels: {labels}}}");
        cluster
            .apply(&format!(
                "apiVersion: v1\nkind: Namespace\nmetadata: {metadata}\n"
            ))
            .unwrap();
        Self { cluster, name }
    }

    /// Applies YAML in which the namespace is `web`, as it is in examples.
    pub(super) fn apply(&self, yaml: &str) {
        let yaml = yaml.replace("namespace: web", &format!("namespace: {}", self.name));
        self.cluster.apply(&yaml).unwrap();
    }

    /// Applies a file of `examples/web-analytics`, with its tables in a schema of this namespace.
    pub(super) fn apply_example(&self, file: &str) {
        self.apply(&self.example(file));
    }

    pub(super) fn example(&self, file: &str) -> String {
        let text = fs::read_to_string(path("examples/web-analytics").join(file)).unwrap();
        text.replace("schema: public", &format!("schema: {}", self.schema()))
    }

    /// The schema in PostgreSQL that the tables of this namespace are in.
    pub(super) fn schema(&self) -> String {
        self.name.replace('-', "_")
    }

    /// The Secret of the Sink.
    pub(super) fn secret(&self, url: &str) {
        self.apply(&format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: warehouse, namespace: web}}\nstringData: {{url: \"{url}\"}}\n"
        ));
    }

    /// All of `examples/web-analytics`, and the Secret that its Sink needs.
    pub(super) fn apply_all(&self) {
        for file in ["source.yaml", "sink.yaml", "pipeline.yaml"] {
            self.apply_example(file);
        }
        self.secret(self.cluster.postgres_in_pods());
    }

    /// The same with `deletionPolicy: Delete` wherever there is one.
    pub(super) fn apply_all_to_be_deleted(&self) {
        let source = self.example("source.yaml");
        let key = "  key: [event_id]\n";
        assert!(source.contains(key), "{source}");
        self.apply(&source.replace(key, &format!("{key}  topic: {{deletionPolicy: Delete}}\n")));
        let sink = self.example("sink.yaml");
        self.apply(&format!(
            "{}\n    deletionPolicy: Delete\n",
            sink.trim_end()
        ));
        let pipeline = self.example("pipeline.yaml");
        self.apply(&format!(
            "{}\n  deletionPolicy: Delete\n",
            pipeline.trim_end()
        ));
        self.secret(self.cluster.postgres_in_pods());
    }

    pub(super) fn kubectl(&self, arguments: &[&str]) -> String {
        let namespace = ["--namespace", self.name];
        self.cluster
            .run_kubectl(&[&namespace[..], arguments].concat())
            .unwrap()
    }

    /// Waits as people do; where that is in vain, says what is there.
    pub(super) fn wait_for(&self, what: &str, condition: &str) {
        let wanted = format!("--for=condition={condition}");
        let seconds = format!("--timeout={}s", PATIENCE.as_secs());
        let wait = ["wait", "--namespace", self.name, what, &wanted, &seconds];
        if let Err(error) = self.cluster.run_kubectl(&wait) {
            panic!("{error}\n{}", self.everything());
        }
    }

    /// The status and the reason of a condition; empty where there is none.
    pub(super) fn condition(&self, what: &str, type_: &str) -> Said {
        let of = |member: &str| {
            let path =
                format!("--output=jsonpath={{.status.conditions[?(@.type=='{type_}')].{member}}}");
            self.kubectl(&["get", what, &path])
        };
        (of("status"), of("reason"))
    }

    pub(super) fn message(&self, what: &str, type_: &str) -> String {
        let path =
            format!("--output=jsonpath={{.status.conditions[?(@.type=='{type_}')].message}}");
        self.kubectl(&["get", what, &path])
    }

    /// Waits until a condition has a reason.
    pub(super) fn until_reason(&self, what: &str, type_: &str, reason: &str) {
        self.until(&format!("{what} {type_} {reason}"), || {
            self.condition(what, type_).1 == reason
        });
    }

    /// Waits until something is so.
    pub(super) fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let began = Instant::now();
        while !is_so() {
            assert!(
                began.elapsed() < PATIENCE,
                "never: {what}\n{}",
                self.everything()
            );
            sleep(Duration::from_millis(250));
        }
        println!(
            "{}: {what}: {:.1} s",
            self.name,
            began.elapsed().as_secs_f64()
        );
    }

    /// Posts the events of the example, and then some that are far later, for each partition: they close every window of the example.
    pub(super) fn send_example(&self) {
        let events = fs::read(path("examples/web-analytics/clicks.ndjson.gz")).unwrap();
        self.post("Content-Encoding: gzip\r\n", &events, 6_000);
        self.close_windows();
    }

    /// Posts 60 events that are later than any other.
    pub(super) fn close_windows(&self) {
        let mut closing = String::new();
        for index in 0..60 {
            let time = "2016-01-01T00:00:00Z";
            let _ = writeln!(
                closing,
                r#"{{"timestamp": "{time}", "source": "closing-{index}", "attributes": {{"method": "GET"}}}}"#
            );
        }
        self.post("", closing.as_bytes(), 60);
    }

    fn post(&self, headers: &str, body: &[u8], count: usize) {
        let forwarded = Forwarded::to(self.cluster, self.name, "service/clicks-ingest", 8080);
        let answer = forwarded.post("/v1/events", headers, body).unwrap();
        let accepted = format!("\"accepted\":{count},");
        assert!(
            answer.starts_with("HTTP/1.1 202") && answer.contains(&accepted),
            "{answer}"
        );
    }

    /// What SQL finds among the tables of this namespace; nothing while they are not there.
    pub(super) fn sql(&self, sql: &str) -> String {
        let sql = format!("SET search_path TO {}; {sql}", self.schema());
        postgres::query(self.cluster.postgres(), &sql).unwrap_or_default()
    }

    /// The windows of the example, as far as each of their columns is exact, in the form of the file with those that are expected.
    pub(super) fn windows(&self) -> String {
        self.sql(
            "SELECT concat_ws(',', to_char(window_start AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), method, count, \
             sum_bytes::bigint, with_bytes, coalesce(min_bytes::text, ''), coalesce(max_bytes::text, ''), errors) \
             FROM clicks_hourly ORDER BY window_start, method",
        )
    }

    /// Those that are expected.
    pub(super) fn expected_windows() -> String {
        let text =
            fs::read_to_string(path("examples/web-analytics/clicks_hourly_expected.csv")).unwrap();
        let mut lines: Vec<String> = text
            .lines()
            .skip(1)
            .map(|line| {
                let columns: Vec<&str> = line.split(',').take(8).collect();
                columns
                    .iter()
                    .map(|column| column.strip_suffix(".0").unwrap_or(column))
                    .collect::<Vec<_>>()
                    .join(",")
            })
            .collect();
        lines.sort();
        lines.join("\n")
    }

    pub(super) fn everything(&self) -> String {
        let of = |arguments: &[&str]| {
            let namespace = ["--namespace", self.name];
            self.cluster
                .run_kubectl(&[&namespace[..], arguments].concat())
                .unwrap_or_default()
        };
        let resources = of(&["get", "eventsources,sinks,pipelines", "--output=yaml"]);
        let logs = [
            "--all-containers",
            "--tail=15",
            "--selector=app.kubernetes.io/name=tidewheel",
        ];
        let logs = of(&[&["logs"][..], &logs].concat());
        let operator = [
            "logs",
            "--namespace=tidewheel",
            "--selector=app.kubernetes.io/name=tidewheel",
            "--tail=25",
        ];
        let operator = self.cluster.run_kubectl(&operator).unwrap_or_default();
        let status = resources
            .split("status:\n")
            .collect::<Vec<_>>()
            .join("\nSTATUS:\n");
        format!(
            "{status}\n{}\n{logs}\noperator:\n{operator}",
            of(&["get", "all,configmaps,events"])
        )
    }
}
