//! A topic whose values name schemas: on a real Kafka, with a registry of the test's own that speaks TLS and wants a password.
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tidewheel_e2e::registry::SchemaRegistry;

use crate::program::{root, run};
use crate::roles::foreign::{Foreign, In, Isolation, Out};
use crate::roles::ground::{Ground, Role, check};

pub(crate) const PASSWORD: &str = "pässword of nobody";

/// The id of an order.
pub(crate) fn id(number: u32) -> String {
    format!("00000000-0000-0000-0000-{number:012}")
}

pub(crate) fn record(partition: i32, value: Vec<u8>) -> Out {
    Out {
        partition: Some(partition),
        value: Some(value),
        ..Out::default()
    }
}

/// Waits until tasks say that they wait, and why.
pub(crate) async fn says(worker: &Role, texts: &[&str]) {
    let is_said = |_, report: &serde_json::Value| {
        let detail = check(report, "tasks")["detail"]
            .as_str()
            .unwrap_or_default();
        texts.iter().all(|text| detail.contains(text)) && !detail.contains(PASSWORD)
    };
    worker.until("/readyz", is_said).await;
}

/// A topic of two partitions in a format, a registry that has nothing yet, and what a pod would have mounted.
pub(crate) struct Scene {
    pub(crate) registry: SchemaRegistry,
    pub(crate) ground: Ground,
    foreign: Foreign,
    namespace: String,
    topic: String,
    /// The topic of dead letters.
    dead: String,
}

impl Scene {
    pub(crate) async fn begin(namespace: &str, format: &str) -> Self {
        let registry = SchemaRegistry::guarded("reader", PASSWORD).await.unwrap();
        let topic = format!("Shop.orders.{namespace}");
        let specs = root().join(Path::new("cli/tests/it/specs/registered"));
        let own = format!("namespace: {namespace}");
        let format = format!("format: {format}");
        let replaced = [
            ("format: Avro", format.as_str()),
            ("namespace: web", own.as_str()),
            ("TOPIC", &topic),
            ("https://registry.example", &registry.url()),
        ];
        let ground = Ground::with(&specs, &replaced);
        let secret = Path::new(&ground.path("secrets")).join("registry");
        std::fs::create_dir(&secret).unwrap();
        for (key, value) in [
            ("username", "reader"),
            ("password", PASSWORD),
            ("ca.crt", registry.authority()),
        ] {
            std::fs::write(secret.join(key), value).unwrap();
        }
        let foreign = Foreign::at(ground.kafka.bootstrap());
        foreign.make(&topic, 2, &[]).await;
        assert_eq!(ground.provision().code, 0);
        Self {
            registry,
            ground,
            foreign,
            namespace: namespace.to_owned(),
            topic,
            dead: format!("{namespace}.shop.dead-letters"),
        }
    }

    pub(crate) fn send(&self, records: &[Out]) {
        self.foreign.producer(&[]).send(&self.topic, records);
    }

    pub(crate) async fn until_rows(&self, wanted: &str) {
        let count = "SELECT count(*) FROM found";
        self.ground.until(count, wanted).await;
    }

    /// Of the first minute.
    pub(crate) fn windows(&self) -> Vec<Value> {
        let first = "SELECT suit, n, most FROM by_suit WHERE window_start = '2026-01-01T00:00:00Z'";
        self.ground.rows(&format!("{first} ORDER BY suit"))
    }

    /// The command line that computes them again.
    pub(crate) fn replay(&self, more: &[&str]) -> Vec<String> {
        let minute = ("2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z");
        self.ground
            .replay(&format!("{}/shop", self.namespace), minute, more)
    }

    /// Waits until it stands in the log that no window of the first minute may change.
    pub(crate) async fn until_closed(&self) {
        let dry = self.replay(&["--dry-run"]);
        let dry: Vec<&str> = dry.iter().map(String::as_str).collect();
        for _ in 0..200 {
            let ended = run(&dry);
            if ended.code == 3 {
                return;
            }
            assert_eq!(ended.code, 2, "{}", ended.stderr);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("windows stay open");
    }

    /// The dead letters.
    pub(crate) fn letters(&self) -> Vec<In> {
        self.foreign.read(&self.dead, Isolation::Committed)
    }
}

/// Why records are dead letters: the reason and the field.
pub(crate) fn told(letters: &[In]) -> Vec<(&str, &str)> {
    let told = letters.iter().map(|letter| {
        let header = |name| letter.header(name).unwrap_or_default();
        (header("tidewheel-reason"), header("tidewheel-field"))
    });
    told.collect()
}
