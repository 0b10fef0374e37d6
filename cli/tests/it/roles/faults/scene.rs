//! Ingestion and two workers at work when something fails.
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::program::root;
use crate::roles::faults::orders::{self, FIRST, SECOND};
use crate::roles::ground::{Ground, Role, check};

/// How often something is looked at until it is as it has to be.
const LOOKS: usize = 2_400;
const LOOK_EVERY: Duration = Duration::from_millis(50);

const WINDOWS: &str =
    "SELECT to_char(window_start AT TIME ZONE 'UTC', 'MI'), shop, n, total FROM sales_1m
    WHERE window_start < '2026-01-01T01:00:00Z'";

/// Ingestion and workers of the pipeline over orders.
pub(crate) struct Scene {
    pub(crate) ground: Ground,
    pub(crate) namespace: String,
    pub(crate) ingest: Role,
    address: String,
    /// The worker that is told to stop while the fault lasts, and the one that stays.
    pub(crate) workers: Vec<Role>,
}

/// Servers with nothing on them yet.
pub(crate) fn ground(namespace: &str) -> Ground {
    Ground::new(
        &root().join(Path::new("cli/tests/it/specs/orders")),
        namespace,
    )
}

impl Scene {
    /// All that is needed on the servers that tests share, with the first orders stored.
    pub(crate) async fn start(namespace: &str) -> Self {
        Self::on(ground(namespace), namespace).await
    }

    pub(crate) async fn on(ground: Ground, namespace: &str) -> Self {
        let made = ground.provision();
        assert_eq!(made.code, 0, "{}", made.stderr);
        let workers = vec![ground.role("worker", &[]), ground.role("worker", &[])];
        let ingest = ground.role("ingest", &["--listen", "127.0.0.1:0"]);
        let address = ingest.events();
        let scene = Self {
            ground,
            namespace: namespace.to_owned(),
            ingest,
            address,
            workers,
        };
        for role in scene.workers.iter().chain([&scene.ingest]) {
            role.ready().await;
        }
        scene.send(FIRST).await;
        scene.has_rows(FIRST.end).await;
        scene
    }

    /// Sends orders, and has them acknowledged.
    pub(crate) async fn send(&self, numbers: Range<u64>) {
        let (status, answer) = self.post(orders::sent(numbers)).await;
        assert_eq!(status, 202, "{answer}");
    }

    /// Sends lines. The status and the answer.
    pub(crate) async fn post(&self, lines: String) -> (u16, String) {
        let request = reqwest::Client::new()
            .post(format!("{}/v1/events", self.address))
            .header("Content-Type", "application/x-ndjson")
            .body(lines);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    pub(crate) async fn has_rows(&self, count: u64) {
        let rows = "SELECT count(*) FROM orders_once";
        self.ground.until(rows, &count.to_string()).await;
    }

    /// Waits until both workers say in a check of `/readyz`, while they stay ready, that something is wrong, with all of these texts.
    pub(crate) async fn said(&self, name: &str, texts: &[&str]) {
        for worker in &self.workers {
            said(worker, name, texts).await;
        }
    }

    /// Waits until a task of the worker that stays has this metric at 1.
    pub(crate) async fn measured(&self, metric: &str) {
        let stays = self.workers.last().unwrap();
        until_metric(stays, metric, |value| value >= 1.0).await;
    }

    /// Waits until the worker that stays logs a line with this text.
    pub(crate) fn logged(&self, text: &str) {
        self.workers.last().unwrap().running.says(text);
    }

    /// Tells one worker to stop in the middle of it all: it ends in time, in good order, and leaves nothing open behind.
    pub(crate) async fn stop_one(&mut self) {
        let (code, said) = self.workers.remove(0).running.stop_and_tell();
        assert_eq!(code, 0, "{}", said.join("\n"));
        assert!(said.last().unwrap().contains("ended"), "{said:?}");
    }

    /// Has everything come to its end: as if nothing had failed.
    pub(crate) async fn ends_well(self) {
        self.ends_with((0..SECOND.end).collect()).await;
    }

    /// Has everything come to its end, with these orders and the last ones.
    pub(crate) async fn ends_with(self, numbers: BTreeSet<u64>) {
        let (status, answer) = self.post(orders::last()).await;
        assert_eq!(status, 202, "{answer}");
        let ids = orders::ids_of(numbers.iter().copied());
        self.has_rows(ids.len() as u64).await;
        let expected = orders::windows_of(numbers.iter().copied());
        let counted =
            "SELECT coalesce(sum(n), 0) FROM sales_1m WHERE window_start < '2026-01-01T01:00:00Z'";
        self.ground.until(counted, &numbers.len().to_string()).await;
        let lines = |sql: &str| -> BTreeSet<String> {
            self.ground.sql(sql).lines().map(str::to_owned).collect()
        };
        assert_eq!(lines(WINDOWS), expected);
        assert_eq!(lines("SELECT id FROM orders_once"), ids);
        let dead = format!("{}.sales.dead-letters", self.namespace);
        assert_eq!(self.ground.end(&dead, 0), 0, "nothing is a dead letter");
        for worker in &self.workers {
            let report = worker.ready().await;
            let checks = report["checks"].as_array().unwrap();
            assert!(
                checks.iter().all(|check| check["ready"] == true),
                "{report}"
            );
        }
        self.leaves_nothing().await;
    }

    async fn leaves_nothing(self) {
        let Self {
            ground,
            namespace,
            ingest,
            workers,
            ..
        } = self;
        assert_eq!(ingest.stop(), 0);
        for worker in workers {
            assert_eq!(worker.stop(), 0);
        }
        nothing_open(&ground, &format!("{namespace}.")).await;
    }
}

/// Waits until nobody has a transaction open. What a process left that could not reach the broker ends by its timeout.
pub(crate) async fn nothing_open(ground: &Ground, prefix: &str) {
    let mut open = Vec::new();
    for _ in 0..LOOKS {
        open = ground.open_transactions(prefix);
        if open.is_empty() {
            break;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    assert_eq!(open, []);
    let database = &ground.database;
    let open = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}' AND xact_start IS NOT NULL AND application_name = 'tidewheel'"
    );
    let mut left = String::new();
    for _ in 0..LOOKS {
        left = ground.postgres.sql("postgres", &open).unwrap();
        if left == "0" {
            return;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    panic!("{left} transactions of {database} are open");
}

/// Waits until a worker says in a check of `/readyz`, while it stays ready, that something is wrong, with all of these texts.
pub(crate) async fn said(worker: &Role, name: &str, texts: &[&str]) {
    let is_right = |status, report: &Value| {
        let said = check(report, name);
        let detail = said["detail"].as_str().unwrap();
        status == 200
            && said["ready"] == false
            && said["required"] == false
            && texts.iter().all(|text| detail.contains(text))
    };
    worker.until("/readyz", is_right).await;
}

/// Waits until the values of a metric are as they have to be, added up over its series.
pub(crate) async fn until_metric(role: &Role, metric: &str, is_right: impl Fn(f64) -> bool) {
    let mut text = String::new();
    for _ in 0..LOOKS {
        text = role.get("/metrics").await.1;
        let series = text.lines().filter(|line| {
            let rest = line.strip_prefix(metric);
            rest.is_some_and(|rest| rest.starts_with('{') || rest.starts_with(' '))
        });
        let values: Vec<f64> = series
            .filter_map(|line| line.rsplit_once(' ')?.1.parse().ok())
            .collect();
        if !values.is_empty() && is_right(values.iter().sum()) {
            return;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    panic!("{metric} in\n{text}");
}
