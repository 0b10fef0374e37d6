//! Events over HTTP.
use serde_json::json;

use crate::program::{Running, rows, run, specs};

#[tokio::test]
async fn what_was_answered_202_is_in_the_tables_after_a_stop() {
    let data = tempfile::tempdir().unwrap();
    let data = data.path().to_str().unwrap();
    let dev = Running::start(&[
        "dev",
        &specs("counts"),
        "--listen",
        "127.0.0.1:0",
        "--data",
        data,
    ]);
    let url = format!("{}/v1/events", dev.address());
    let client = reqwest::Client::new();
    let events: Vec<_> = (0..20)
        .map(|index| json!({"id": index.to_string(), "ts": "2026-01-01T00:00:01Z", "what": {"kind": "http"}, "value": index, "more": true}))
        .collect();
    let answer = client.post(&url).json(&events).send().await.unwrap();
    assert_eq!(answer.status(), 202);
    assert_eq!(
        client.post(&url).body("{").send().await.unwrap().status(),
        400
    );
    assert_eq!(dev.stop(), 0);

    let document = run(&[
        "dev",
        &specs("counts"),
        "--data",
        data,
        "--until-idle",
        "-o",
        "json",
    ])
    .document();
    assert_eq!(rows(&document, "visits_by_kind")[0]["total"], 190);
    assert_eq!(
        rows(&document, "visits_once")[0]["_extra"],
        json!({"more": true})
    );
    // What was refused was told to who sent it, and is nowhere else.
    assert_eq!(document["deadLetters"], json!([]));
}

#[test]
fn a_busy_port_is_named_with_a_way_out() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ended = run(&["dev", &specs("counts"), "--listen", &address]);
    assert_eq!(ended.code, 2);
    assert!(
        ended.stderr.contains(&format!("{address} is in use")) && ended.stderr.contains("--listen"),
        "{}",
        ended.stderr
    );
}

#[tokio::test]
async fn keys_come_from_a_secret_among_the_files() {
    let ended = run(&["dev", &specs("keys"), "--until-idle"]);
    assert_eq!(ended.code, 2);
    assert!(
        ended.stderr.contains("add `kind: Secret`"),
        "{}",
        ended.stderr
    );

    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret.yaml");
    let text = "apiVersion: v1\nkind: Secret\nmetadata: {name: guarded-keys}\nstringData: {first: open-sesame}\n";
    std::fs::write(&secret, text).unwrap();
    let dev = Running::start(&[
        "dev",
        &specs("keys"),
        secret.to_str().unwrap(),
        "--listen",
        "127.0.0.1:0",
    ]);
    let url = format!("{}/v1/events", dev.address());
    let post = |key: &'static str| {
        let request = reqwest::Client::new()
            .post(&url)
            .header("x-api-key", key)
            .body(r#"{"ts":"2026-01-01T00:00:00Z"}"#);
        async move {
            request
                .header("content-type", "application/json")
                .send()
                .await
                .unwrap()
                .status()
                .as_u16()
        }
    };
    assert_eq!(post("wrong").await, 401);
    assert_eq!(post("open-sesame").await, 202);
    assert_eq!(dev.stop(), 0);
}
