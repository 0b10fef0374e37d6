//! CloudEvents over HTTP and in a topic of somebody else's, as SDKs send them.
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::program::root;
use crate::roles::foreign::{Foreign, Isolation, Out};
use crate::roles::ground::Ground;

const LOOK_EVERY: Duration = Duration::from_millis(50);
const SEEN: &str = "id, source, rate, amount, bytes";

fn bytes(text: &str) -> Option<Vec<u8>> {
    Some(text.as_bytes().to_vec())
}

fn structured(id: &str) -> Value {
    json!({
        "specversion": "1.0", "id": id, "source": "/shop/üb er", "type": "order", "time": "2026-01-01T00:00:00Z",
        "sampledrate": 30, "datacontenttype": "application/json", "data": {"amount": 1.5}
    })
}

fn row(id: &str, amount: Value, base64: Value) -> Value {
    json!({"id": id, "source": "/shop/üb er", "rate": 30, "amount": amount, "bytes": base64})
}

/// The attributes of [`structured`] as headers of HTTP.
fn posted(url: &str, id: &str) -> reqwest::RequestBuilder {
    reqwest::Client::new()
        .post(url)
        .header("ce-specversion", "1.0")
        .header("ce-id", id)
        .header("ce-source", "/shop/%C3%BCb%20er")
        .header("ce-type", "order")
        .header("ce-time", "2026-01-01T00:00:00Z")
        .header("ce-sampledrate", "30")
}

/// The attributes of [`structured`] as headers of a record.
fn produced(id: &str, content_type: &str, value: Option<Vec<u8>>) -> Out {
    let headers = vec![
        ("content-type", bytes(content_type)),
        ("ce_specversion", bytes("1.0")),
        ("ce_id", bytes(id)),
        ("ce_source", bytes("/shop/üb er")),
        ("ce_type", bytes("order")),
        ("ce_time", bytes("2026-01-01T00:00:00Z")),
        ("ce_sampledrate", bytes("30")),
    ];
    Out {
        key: bytes(id),
        value,
        headers,
        ..Out::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cloud_events_are_rows_however_they_come() {
    let (namespace, topic) = ("roles-cloud-events", "Shop.events");
    let specs = root().join(Path::new("cli/tests/it/specs/cloud-events"));
    let own = format!("namespace: {namespace}");
    let ground = Ground::with(&specs, &[("namespace: web", &own), ("TOPIC", topic)]);
    let foreign = Foreign::at(ground.kafka.bootstrap());
    let compacted = [("cleanup.policy", "compact")];
    foreign.make(topic, 1, &compacted).await;
    assert_eq!(ground.provision().code, 0);
    let worker = ground.role("worker", &[]);
    let ingest = ground.role("ingest", &["--listen", "127.0.0.1:0"]);

    let url = format!("{}/v1/events", ingest.events());
    let typed = |content_type: &str, body: String| {
        let request = reqwest::Client::new().post(&url);
        request.header("content-type", content_type).body(body)
    };
    let batch = json!([structured("2"), {"id": "none"}]).to_string();
    for (request, status) in [
        (
            typed("application/cloudevents+json", structured("1").to_string()),
            202,
        ),
        (typed("application/cloudevents-batch+json", batch), 207),
        (
            posted(&url, "3")
                .header("content-type", "application/json")
                .body(r#"{"amount": 2.5}"#),
            202,
        ),
        (
            posted(&url, "4")
                .header("content-type", "image/png")
                .body(&b"\x89PNG"[..]),
            202,
        ),
        (posted(&url, "5"), 202),
        (
            typed("application/json", r#"{"id": "none"}"#.to_owned()),
            400,
        ),
    ] {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), status, "{:?}", answer.text().await);
    }

    foreign.producer(&[]).send(
        topic,
        &[
            Out {
                key: bytes("1"),
                value: bytes(&structured("1").to_string()),
                headers: vec![("content-type", bytes("application/cloudevents+json"))],
                ..Out::default()
            },
            Out {
                key: bytes("2"),
                value: bytes(&structured("2").to_string()),
                ..Out::default()
            },
            produced("3", "application/json", bytes(r#"{"amount": 2.5}"#)),
            produced("4", "image/png", Some(b"\x89PNG".to_vec())),
            produced("5", "application/json", None),
            produced("6", "application/json", bytes("no JSON")),
            Out {
                key: bytes("1"),
                value: None,
                ..Out::default()
            },
        ],
    );

    let expected = [
        row("1", json!(1.5), Value::Null),
        row("2", json!(1.5), Value::Null),
        row("3", json!(2.5), Value::Null),
        row("4", Value::Null, json!("iVBORw==")),
        row("5", Value::Null, Value::Null),
    ];
    for table in ["of_posted", "of_found"] {
        ground
            .until(&format!("SELECT count(*) FROM {table}"), "5")
            .await;
        let rows = ground.rows(&format!("SELECT {SEEN} FROM {table} ORDER BY id"));
        assert_eq!(rows, expected, "{table}");
    }
    let tombstone = ["name=\"of_found\"", "fate=\"tombstone\""];
    worker
        .until_count("tidewheel_output_fates_total", &tombstone, 1)
        .await;
    let refused = ["name=\"of_found\"", "detail=\"Malformed\""];
    worker
        .until_count("tidewheel_output_fates_total", &refused, 1)
        .await;
    let topic = format!("{namespace}.shop.dead-letters");
    let mut letters = Vec::new();
    while letters.is_empty() {
        tokio::time::sleep(LOOK_EVERY).await;
        letters = foreign.read(&topic, Isolation::Committed);
    }
    let letter = &letters[0];
    assert_eq!(letters.len(), 1);
    assert_eq!(
        (letter.header("ce_id"), letter.value.as_deref()),
        (Some("6"), Some(&b"no JSON"[..]))
    );
    let stored = foreign.read(&format!("{namespace}.posted"), Isolation::Committed);
    let stored = stored.iter().map(|record| record.json().unwrap());
    assert!(
        stored.clone().all(|event| event["specversion"] == "1.0"),
        "all are structured"
    );
    assert_eq!(stored.count(), 5);
    assert_eq!((worker.stop(), ingest.stop()), (0, 0));
}
