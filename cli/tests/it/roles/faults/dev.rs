//! `tidewheel dev` on a disk that is full.
use serde_json::{Value, json};
use tidewheel_e2e::disk::SmallDisk;

use crate::program::{Running, rows, run, specs};
use crate::roles::ground::check;

/// Events of a request; a few of those are more than what is left when a disk is nearly full.
const EVENTS: u32 = 1_000;

async fn post(address: &str, first: u32) -> u16 {
    let event = |number: u32| json!({"id": number.to_string(), "ts": "2026-01-01T00:00:01Z", "what": {"kind": "a"}, "value": 1});
    let events: Vec<Value> = (first..first + EVENTS).map(event).collect();
    let client = reqwest::Client::new();
    let request = client.post(format!("{address}/v1/events")).json(&events);
    request.send().await.unwrap().status().as_u16()
}

async fn report(address: &str) -> (u16, Value) {
    let answer = reqwest::get(format!("{address}/readyz")).await.unwrap();
    let status = answer.status().as_u16();
    (status, answer.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_disk_of_dev_is_full() {
    let Some(mut disk) = SmallDisk::mount(24 << 20).unwrap() else {
        tidewheel_e2e::not_tried("the_disk_of_dev_is_full: nobody may mount a file system here");
        return;
    };
    let data = disk.path().join("data");
    let counts = specs("counts");
    let args = ["dev", &counts, "--data", data.to_str().unwrap()];
    let dev = Running::start(&[&args[..], &["--listen", "127.0.0.1:0"]].concat());
    let address = dev.address();
    assert_eq!(post(&address, 0).await, 202);
    let (status, well) = report(&address).await;
    assert_eq!(
        (status, &check(&well, "appends")["ready"]),
        (200, &json!(true))
    );

    disk.fill().unwrap();
    // What was there already may have room left.
    while post(&address, EVENTS).await == 202 {}
    let (status, full) = report(&address).await;
    assert_eq!(
        status, 200,
        "it would be sent nothing any more, and never find out that there is room again"
    );
    let appends = check(&full, "appends");
    assert_eq!(appends["ready"], false);
    let detail = appends["detail"].as_str().unwrap();
    assert!(detail.contains("No space left on device"), "{detail}");
    let metrics = reqwest::get(format!("{address}/metrics")).await.unwrap();
    let metrics = metrics.text().await.unwrap();
    let unacknowledged =
        "tidewheel_ingest_events_total{outcome=\"unacknowledged\",source=\"default/visits\"} 1000";
    assert!(metrics.contains(unacknowledged), "{metrics}");
    let log = dev.says("the log refused events");
    assert!(log.contains("No space left on device"), "{log}");

    disk.make_room().unwrap();
    assert_eq!(post(&address, EVENTS).await, 202);
    let (status, well) = report(&address).await;
    assert_eq!(
        (status, &check(&well, "appends")["ready"]),
        (200, &json!(true))
    );
    // Told to stop while it is full again.
    disk.fill().unwrap();
    while post(&address, 2 * EVENTS).await == 202 {}
    assert_eq!(dev.stop(), 0);

    disk.make_room().unwrap();
    let document = run(&[&args[..], &["--until-idle", "-o", "json"]].concat()).document();
    let ledgers = document["ledgers"].as_array().unwrap();
    assert!(ledgers.iter().all(|ledger| ledger["balanced"] == true));
    let ids: std::collections::BTreeSet<u64> = rows(&document, "visits_once")
        .iter()
        .map(|row| row["id"].as_str().unwrap().parse().unwrap())
        .collect();
    assert_eq!(ids.len(), rows(&document, "visits_once").len());
    assert!((0..u64::from(2 * EVENTS)).all(|id| ids.contains(&id)));
}
