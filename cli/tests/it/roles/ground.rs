//! The servers that tests share, with what a pod would have mounted.
use std::path::Path;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use serde_json::Value;
use tidewheel_e2e::kafka::Kafka;
use tidewheel_e2e::postgres::Postgres;

use crate::program::{Ended, Running};
use crate::roles::mounted::Mounted;

/// How often something is looked at until it is as it has to be.
const LOOKS: usize = 2_400;
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long Kafka may take to answer a question.
const PATIENCE: Duration = Duration::from_secs(30);

/// A namespace on the servers that all tests share, with a database of its own, reached through a Secret `warehouse`.
pub(crate) struct Ground {
    pub(crate) kafka: &'static Kafka,
    pub(crate) postgres: &'static Postgres,
    pub(crate) database: String,
    /// `bootstrap.servers` of a listener that asks for nothing, for the test's own questions.
    bootstrap: String,
    mounted: Mounted,
}

impl Ground {
    /// With the specs of `from`, in which `namespace` stands for `web`.
    pub(crate) fn new(from: &Path, namespace: &str) -> Self {
        let own = format!("namespace: {namespace}");
        Self::with(from, &[("namespace: web", &own)])
    }

    /// With the specs of `from`, in which each first text is replaced by its second.
    pub(crate) fn with(from: &Path, replaced: &[(&str, &str)]) -> Self {
        let postgres = Postgres::shared().unwrap();
        let kafka = Kafka::shared().unwrap();
        let database = postgres.database().unwrap();
        let url = postgres.url(&database);
        Self {
            kafka,
            postgres,
            database,
            bootstrap: kafka.bootstrap().to_owned(),
            mounted: Mounted::new(from, replaced, kafka.bootstrap(), &url),
        }
    }

    /// Uses another broker than the one that tests share.
    pub(crate) fn use_broker(&mut self, bootstrap: &str) {
        bootstrap.clone_into(&mut self.bootstrap);
        self.set_property("bootstrap.servers", bootstrap);
    }

    /// Writes a property of Kafka's Secret.
    pub(crate) fn set_property(&self, name: &str, value: &str) {
        self.mounted.set_property(name, value);
    }

    /// Writes the database's URL into its Secret.
    pub(crate) fn set_url(&self, url: &str) {
        self.mounted.set_url(url);
    }

    /// Takes the database's Secret away.
    pub(crate) fn remove_secret(&self) {
        self.mounted.remove_secret();
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.mounted.path(name)
    }

    /// Replaces text in all specs that have it.
    pub(crate) fn change_specs(&self, from: &str, to: &str) {
        for file in std::fs::read_dir(self.path("specs")).unwrap() {
            let file = file.unwrap().path();
            let text = std::fs::read_to_string(&file).unwrap();
            std::fs::write(&file, text.replace(from, to)).unwrap();
        }
    }

    pub(crate) fn provision(&self) -> Ended {
        self.mounted.provision("specs", &[])
    }

    pub(crate) fn provision_with(&self, more: &[&str]) -> Ended {
        self.mounted.provision("specs", more)
    }

    /// Starts a role with its probes on a free port.
    pub(crate) fn role(&self, role: &str, more: &[&str]) -> Role {
        self.mounted.role(role, more)
    }

    /// Runs a role that ends by itself.
    pub(crate) fn refused(&self, role: &str) -> Ended {
        self.mounted.refused(role)
    }

    /// The command line that replays windows of a pipeline.
    pub(crate) fn replay(
        &self,
        pipeline: &str,
        (from, to): (&str, &str),
        more: &[&str],
    ) -> Vec<String> {
        let (specs, kafka) = (self.path("specs"), self.path("kafka"));
        let secrets = self.path("secrets");
        let of_range = ["replay", pipeline, "--from", from, "--to", to];
        let mounted = ["--specs", &specs, "--kafka", &kafka, "--secrets", &secrets];
        let args = of_range.iter().chain(&mounted).chain(more);
        args.map(|arg| (*arg).to_owned()).collect()
    }

    pub(crate) fn sql(&self, sql: &str) -> String {
        self.postgres.sql(&self.database, sql).unwrap()
    }

    /// The rows of a query, as JSON.
    pub(crate) fn rows(&self, query: &str) -> Vec<Value> {
        let lines = self.sql(&format!("SELECT row_to_json(t) FROM ({query}) t"));
        let row = |line: &str| serde_json::from_str(line).unwrap();
        lines.lines().map(row).collect()
    }

    /// Waits until a query has this answer.
    pub(crate) async fn until(&self, sql: &str, wanted: &str) {
        let mut found = String::new();
        for _ in 0..LOOKS {
            found = self.sql(sql);
            if found == wanted {
                return;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        panic!("{sql} is {found}, not {wanted}");
    }

    /// The consumer groups whose names begin so, with how many members each has.
    pub(crate) fn groups(&self, prefix: &str) -> Vec<(String, usize)> {
        let list = self.client(false).fetch_group_list(None, PATIENCE).unwrap();
        let groups = list.groups().iter();
        groups
            .filter(|group| group.name().starts_with(prefix))
            .map(|group| (group.name().to_owned(), group.members().len()))
            .collect()
    }

    /// The partitions, of topics whose names begin so, that end in a transaction that nobody has ended.
    pub(crate) fn open_transactions(&self, prefix: &str) -> Vec<(String, i32)> {
        let (all, committed) = (self.client(false), self.client(true));
        let metadata = all.fetch_metadata(None, PATIENCE).unwrap();
        let topics = metadata.topics().iter();
        let topics = topics.filter(|topic| topic.name().starts_with(prefix));
        let partitions = topics.flat_map(|topic| {
            let partitions = topic.partitions().iter();
            partitions.map(|partition| (topic.name().to_owned(), partition.id()))
        });
        partitions
            .filter(|(topic, partition)| {
                let end = |client: &BaseConsumer| {
                    client
                        .fetch_watermarks(topic, *partition, PATIENCE)
                        .unwrap()
                        .1
                };
                end(&all) != end(&committed)
            })
            .collect()
    }

    /// The oldest offset that a partition still has.
    pub(crate) fn beginning(&self, topic: &str, partition: i32) -> i64 {
        let client = self.client(false);
        let offsets = client.fetch_watermarks(topic, partition, PATIENCE);
        offsets.unwrap().0
    }

    /// The end of a partition.
    pub(crate) fn end(&self, topic: &str, partition: i32) -> i64 {
        let client = self.client(false);
        let offsets = client.fetch_watermarks(topic, partition, PATIENCE);
        offsets.unwrap().1
    }

    fn client(&self, is_committed: bool) -> BaseConsumer {
        let isolation = if is_committed {
            "read_committed"
        } else {
            "read_uncommitted"
        };
        ClientConfig::new()
            .set("bootstrap.servers", &self.bootstrap)
            .set("isolation.level", isolation)
            .create()
            .unwrap()
    }
}

/// A role at work.
pub(crate) struct Role {
    pub(crate) running: Running,
    operations: String,
}

impl Role {
    pub(crate) fn start(args: &[&str]) -> Self {
        let running = Running::start(args);
        let operations = address(&running.says("probes and metrics are served"));
        Self {
            running,
            operations,
        }
    }

    /// The address at which it said that events are taken.
    pub(crate) fn events(&self) -> String {
        format!("http://{}", address(&self.running.says("events are taken")))
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let url = format!("http://{}{path}", self.operations);
        let answer = reqwest::get(url).await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Waits until `/readyz` answers 200, and returns what it says.
    pub(crate) async fn ready(&self) -> Value {
        self.until("/readyz", |status, _| status == 200).await
    }

    /// Waits until a path answers as it has to.
    pub(crate) async fn until(&self, path: &str, is_right: impl Fn(u16, &Value) -> bool) -> Value {
        let mut last = String::new();
        for _ in 0..LOOKS {
            let (status, body) = self.get(path).await;
            let json = serde_json::from_str(&body).unwrap_or(Value::Null);
            if is_right(status, &json) {
                return json;
            }
            last = body;
            tokio::time::sleep(LOOK_EVERY).await;
        }
        panic!("{path} says {last}");
    }

    /// Waits until the series of a metric with these labels add up to this, over all of its tasks.
    pub(crate) async fn until_count(&self, metric: &str, labels: &[&str], wanted: i64) {
        let mut text = String::new();
        for _ in 0..LOOKS {
            text = self.get("/metrics").await.1;
            let is_of = |line: &&str| {
                let rest = line.strip_prefix(metric);
                rest.is_some_and(|rest| rest.starts_with('{'))
                    && labels.iter().all(|label| line.contains(label))
            };
            let values = text.lines().filter(is_of);
            let values =
                values.map(|line| line.rsplit(' ').next().unwrap().parse::<i64>().unwrap());
            if values.sum::<i64>() == wanted {
                return;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        panic!("{metric} {labels:?} is not {wanted} in\n{text}");
    }

    /// Ends it with SIGTERM. Its exit code.
    pub(crate) fn stop(self) -> i32 {
        self.running.stop()
    }
}

/// What is said of a check in `/readyz`.
pub(crate) fn check<'a>(report: &'a Value, name: &str) -> &'a Value {
    let checks = report["checks"].as_array().unwrap();
    checks.iter().find(|check| check["name"] == name).unwrap()
}

/// The address in a line of the log.
fn address(line: &str) -> String {
    let line: Value = serde_json::from_str(line).unwrap();
    line["fields"]["address"].as_str().unwrap().to_owned()
}
