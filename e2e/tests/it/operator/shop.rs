//! A namespace of a test, with what people see and do in it.
use std::{
    collections::BTreeSet,
    fs,
    sync::{Mutex, PoisonError},
    thread::{self, sleep},
    time::{Duration, Instant},
};

use tidewheel_e2e::{cluster::Cluster, measured, postgres};

use super::{forwarded::Forwarded, with_operator};
use crate::charts::path;

/// How long anything may take on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(240);
/// How long the database may take to let a test in.
const REACHED_WITHIN: Duration = Duration::from_secs(30);
/// The shortest wait that is told, where none was promised.
const WORTH_TELLING: Duration = Duration::from_secs(1);
/// Sooner than the operator looks at anything by itself, which is 22 s after it last did: what is done within this time after a
/// change was done because of the change.
pub(super) const AT_ONCE: Duration = Duration::from_secs(15);

/// Tests share a cluster, each with a namespace of its own.
static NAMES: Mutex<BTreeSet<&str>> = Mutex::new(BTreeSet::new());

/// A condition: its status and its reason.
pub(super) type Said = (String, String);

/// A namespace in which only restricted pods run.
pub(super) struct Shop {
    pub(super) cluster: &'static Cluster,
    pub(super) name: &'static str,
    /// Whether others need the room that it takes.
    is_shared: bool,
}

/// What ran for a test that is over makes room for others, on the node and in the database. What failed stays to be looked at.
impl Drop for Shop {
    fn drop(&mut self) {
        if self.is_shared && !thread::panicking() {
            let (kinds, namespace) = ("pipelines,eventsources", self.name);
            let delete = [
                "delete",
                kinds,
                "--all",
                "--wait=false",
                "--namespace",
                namespace,
            ];
            // That it cannot be done is no fault of what was tested.
            drop(self.cluster.run_kubectl(&delete));
        }
    }
}

impl Shop {
    pub(super) fn new(name: &'static str) -> Self {
        let mut taken = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(taken.insert(name), "two tests have a namespace {name}");
        drop(taken);
        let mut shop = Self::on(with_operator(), name);
        shop.is_shared = true;
        shop
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
        Self {
            cluster,
            name,
            is_shared: false,
        }
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

    /// The same, with one worker whatever happens.
    pub(super) fn apply_all_with_one_worker(&self) {
        self.apply_all();
        let pipeline = self.example("pipeline.yaml");
        self.apply(&format!("{}\n  scaling: {{max: 1}}\n", pipeline.trim_end()));
    }

    /// The same as all of it, with `deletionPolicy: Delete` wherever there is one.
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
        self.until_reason_within(PATIENCE, what, type_, reason);
    }

    /// As [`Self::until_reason`], and it must be so in time.
    pub(super) fn until_reason_within(
        &self,
        limit: Duration,
        what: &str,
        type_: &str,
        reason: &str,
    ) {
        self.until_within(limit, &format!("{what} {type_} {reason}"), || {
            self.condition(what, type_).1 == reason
        });
    }

    /// Waits until something is so.
    pub(super) fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        self.until_within(PATIENCE, what, is_so);
    }

    /// As [`Self::until`], and it must be so in time.
    pub(super) fn until_within(&self, limit: Duration, what: &str, is_so: impl Fn() -> bool) {
        let began = Instant::now();
        while !is_so() {
            assert!(
                began.elapsed() < limit,
                "not within {} s: {what}\n{}",
                limit.as_secs(),
                self.everything()
            );
            sleep(Duration::from_millis(250));
        }
        // What was so at the first look or the second says nothing.
        if began.elapsed() >= WORTH_TELLING || limit < PATIENCE {
            self.measured(what, began);
        }
    }

    /// Tells how long something has taken.
    pub(super) fn measured(&self, what: &str, since: Instant) {
        let seconds = since.elapsed().as_secs_f64();
        measured(&format!("{}: {what}: {seconds:.1} s", self.name));
    }

    /// Deletes resources and waits until they are gone, which takes a minute where nobody answers, and not much more.
    pub(super) fn delete(&self, what: &[&str]) {
        let began = Instant::now();
        self.kubectl(&[&["delete", "--timeout=120s"][..], what].concat());
        self.measured(&format!("{} gone", what.join(", ")), began);
    }

    /// The name of an object; empty while it is not there.
    pub(super) fn found(&self, what: &str) -> String {
        self.kubectl(&["get", what, "--ignore-not-found", "--output=name"])
    }

    /// The `uid` of an object; empty while it is not there.
    pub(super) fn uid(&self, what: &str) -> String {
        let path = "--output=jsonpath={.metadata.uid}";
        self.kubectl(&["get", what, "--ignore-not-found", path])
    }

    /// A member of each pod of a role, one a line.
    pub(super) fn of_pods(&self, role: &str, member: &str) -> Vec<String> {
        let selector = format!("--selector=app.kubernetes.io/component={role}");
        let path = format!("--output=jsonpath={{range .items[*]}}{{{member}}}{{\"\\n\"}}{{end}}");
        let found = self.kubectl(&["get", "pods", &selector, &path]);
        found.lines().map(str::to_owned).collect()
    }

    /// Posts the events of the example, and then some that are far later, for each partition: they close every window of the example.
    pub(super) fn send_example(&self) {
        let events = fs::read(path("examples/web-analytics/clicks.ndjson.gz")).unwrap();
        self.post("Content-Encoding: gzip\r\n", &events, 6_000);
        self.close_windows();
    }

    /// Posts [events that are later than any other](Self::closing_events).
    pub(super) fn close_windows(&self) {
        let closing = Self::closing_events();
        self.post("", closing.join("\n").as_bytes(), closing.len());
    }

    /// Events that are later than any other, for each partition.
    pub(super) fn closing_events() -> Vec<String> {
        let time = "2016-01-01T00:00:00Z";
        let event = |index| {
            format!(
                r#"{{"timestamp": "{time}", "source": "closing-{index}", "attributes": {{"method": "GET"}}}}"#
            )
        };
        (0..60).map(event).collect()
    }

    fn post(&self, headers: &str, body: &[u8], count: usize) {
        let answer = self.posted(headers, body);
        let accepted = format!("\"accepted\":{count},");
        assert!(
            answer.starts_with("HTTP/1.1 202") && answer.contains(&accepted),
            "{answer}"
        );
    }

    /// What is answered to a request with these headers and this body.
    pub(super) fn posted(&self, headers: &str, body: &[u8]) -> String {
        let forwarded = Forwarded::to(self.cluster, self.name, "service/clicks-ingest", 8080);
        forwarded.post("/v1/events", headers, body).unwrap()
    }

    /// What SQL finds among the tables of this namespace; nothing while they are not there.
    pub(super) fn sql(&self, sql: &str) -> String {
        let sql = format!("SET search_path TO {}; {sql}", self.schema());
        let began = Instant::now();
        loop {
            let error = match postgres::query(self.cluster.postgres(), &sql) {
                Ok(found) => return found,
                Err(error) => error.to_string(),
            };
            if error.contains("does not exist") {
                return String::new();
            }
            // The database is shared by all tests, and may have no connection left for a while.
            let is_out_of_reach = error.contains("connection to server");
            let is_patient = began.elapsed() < REACHED_WITHIN;
            assert!(is_out_of_reach && is_patient, "{error}");
            sleep(Duration::from_secs(1));
        }
    }

    /// The windows of the example, as far as each of their columns is exact, in the form of the file with those that are expected.
    pub(super) fn windows(&self) -> String {
        let found = self.sql(
            "SELECT concat_ws(',', to_char(window_start AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), method, count, \
             sum_bytes::bigint, with_bytes, coalesce(min_bytes::text, ''), coalesce(max_bytes::text, ''), errors) \
             FROM clicks_hourly",
        );
        let mut lines: Vec<&str> = found.lines().collect();
        lines.sort_unstable();
        lines.join("\n")
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

    /// Waits until every event of the example [that was sent](Self::send_example) is a row, and every window is there, as expected.
    pub(super) fn until_example_is_there(&self) {
        let expected = Self::expected_windows();
        self.until("every window is in its table", || {
            self.windows().lines().count() == expected.lines().count()
        });
        assert_eq!(self.windows(), expected);
        let rows = "SELECT count(*), count(DISTINCT event_id) FROM clicks_unique";
        self.until("every event is in its table, once", || {
            self.sql(rows) == "6060|6060"
        });
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
