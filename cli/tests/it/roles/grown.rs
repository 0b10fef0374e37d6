//! A source that gets partitions while a worker runs.
use std::path::Path;

use serde_json::json;

use crate::program::root;
use crate::roles::ground::Ground;

const EVENTS: usize = 200;

async fn send(address: &str, ids: std::ops::Range<usize>) {
    let events = ids.map(|id| json!({"id": id, "ts": "2026-01-01T00:00:00Z"}).to_string());
    let request = reqwest::Client::new()
        .post(format!("{address}/v1/events"))
        .header("Content-Type", "application/x-ndjson")
        .body(events.collect::<Vec<_>>().join("\n"));
    let answer = request.send().await.unwrap();
    let status = answer.status();
    assert_eq!(status, 202, "{}", answer.text().await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_worker_takes_up_the_partitions_that_provision_adds() {
    let specs = root().join(Path::new("cli/tests/it/specs/grown"));
    let ground = Ground::new(&specs, "roles-grown");
    // How soon a group hears of partitions that were added.
    ground.set_property("topic.metadata.refresh.interval.ms", "500");
    let made = ground.provision();
    assert_eq!(made.code, 0, "{}", made.stderr);
    let worker = ground.role("worker", &[]);
    worker.ready().await;
    let ingest = ground.role("ingest", &["--listen", "127.0.0.1:0"]);
    ingest.ready().await;
    send(&ingest.events(), 0..EVENTS).await;
    let count = "SELECT count(*), count(DISTINCT id), count(DISTINCT _partition) FROM visits";
    ground.until(count, &format!("{EVENTS}|{EVENTS}|1")).await;
    assert_eq!(ingest.stop(), 0);

    ground.change_specs("partitions: 1", "partitions: 3");
    let grown = ground.provision();
    assert_eq!(grown.code, 0, "{}", grown.stderr);
    // The tasks of the new partitions have their state before the source has them.
    assert_eq!(
        grown.stdout,
        "topic roles-grown.visited.visits.state now has 3 partitions, not 1\n\
         topic roles-grown.visits now has 3 partitions, not 1\n"
    );
    let ingest = ground.role("ingest", &["--listen", "127.0.0.1:0"]);
    ingest.ready().await;
    send(&ingest.events(), EVENTS..2 * EVENTS).await;
    let all = 2 * EVENTS;
    ground.until(count, &format!("{all}|{all}|3")).await;
    assert_eq!((ingest.stop(), worker.stop()), (0, 0));
}
