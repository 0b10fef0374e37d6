//! What Prometheus sees is what the documentation says.
use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::program::{Running, root, specs};

/// Names and types in the tables of `docs/metrics.md`.
pub(crate) fn documented() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(root().join("docs/metrics.md")).unwrap();
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let name = cells.next()?.trim_end_matches('`').to_owned();
        Some((name, cells.next()?.to_owned()))
    };
    text.lines().filter_map(row).collect()
}

/// Names and types of an answer.
pub(crate) fn exposed(text: &str) -> BTreeMap<String, String> {
    let declared = |line: &str| {
        let (name, kind) = line.strip_prefix("# TYPE ")?.split_once(' ')?;
        Some((name.to_owned(), kind.to_owned()))
    };
    text.lines().filter_map(declared).collect()
}

/// The value of the only series of that name whose labels hold all of `labels`.
fn value(text: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let is_it = |line: &&str| {
        line.starts_with(&format!("{name}{{")) && labels.iter().all(|label| line.contains(label))
    };
    let line = text.lines().find(is_it)?;
    line.rsplit_once(' ')?.1.parse().ok()
}

#[tokio::test]
async fn metrics_are_those_that_are_documented_and_count_what_happened() {
    let mut expected = documented();
    // Of roles: they have clients of Kafka, a generator counts for itself, databases are looked after, and the operator has its own.
    expected.retain(|name, _| {
        let of_roles = [
            "tidewheel_kafka_",
            "tidewheel_generate_",
            "tidewheel_retention_",
            "tidewheel_operator_",
            // Only where something is missing.
            "tidewheel_step_not_recomputed_",
        ];
        !of_roles.iter().any(|prefix| name.starts_with(prefix))
    });
    let dev = Running::start(&["dev", &specs("counts"), "--listen", "127.0.0.1:0"]);
    let address = dev.address();
    let client = reqwest::Client::new();
    let events: Vec<Value> = (0..40)
        .map(|index| json!({"id": (index % 30).to_string(), "ts": "2026-01-01T00:00:01Z", "what": {"kind": "http"}, "value": index}))
        .collect();
    let request = client.post(format!("{address}/v1/events")).json(&events);
    assert_eq!(request.send().await.unwrap().status(), 202);
    let (fates, once) = ("tidewheel_output_fates_total", "name=\"visits_once\"");
    let sum = |text: &str, fate: &str| -> f64 {
        let lines = text.lines().filter(|line| {
            line.starts_with(fates)
                && line.contains(once)
                && line.contains(&format!("fate=\"{fate}\""))
        });
        lines
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
            .sum()
    };
    // The events take a moment, and a lag is known once the log was asked for it; whatever is there by then stays.
    let mut text = String::new();
    for _ in 0..1_200 {
        let answer = client
            .get(format!("{address}/metrics"))
            .send()
            .await
            .unwrap();
        text = answer.text().await.unwrap();
        if sum(&text, "written") == 30.0 && exposed(&text).len() >= expected.len() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(sum(&text, "written"), 30.0, "{text}");
    assert_eq!(exposed(&text), expected);
    assert_eq!(sum(&text, "duplicate"), 10.0);
    let member = ["membership=\"member\"", "input=\"visits\""];
    let tasks = value(&text, "tidewheel_worker_tasks", &member);
    assert!(tasks > Some(0.0), "{text}");
    let sinks = value(&text, "tidewheel_worker_blocked_by_sink", &["sink="]);
    assert_eq!(sinks, Some(0.0));
    assert_eq!(dev.stop(), 0);
}
