//! A database that is not there, and comes back under another URL.
use std::path::Path;

use crate::program::root;
use crate::roles::ground::{Ground, check};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_database_is_away() {
    let specs = root().join(Path::new("cli/tests/it/specs/generated"));
    let ground = Ground::new(&specs, "roles-away");
    let made = ground.provision();
    assert_eq!(made.code, 0, "{}", made.stderr);
    let url = ground.postgres.url(&ground.database);
    ground.set_url("postgres://nobody:wrong@127.0.0.1:1/nothing");
    let worker = ground.role("worker", &[]);
    let waits = |status, report: &serde_json::Value| {
        status == 200
            && check(report, "sinks")["detail"]
                .as_str()
                .unwrap()
                .contains("2 tasks wait for roles-away/warehouse: ")
    };
    let report = worker.until("/readyz", waits).await;
    assert_eq!(report["ready"], true);
    assert_eq!(check(&report, "sinks")["ready"], false);
    assert_eq!(check(&report, "sinks")["required"], false);
    let metrics = worker.get("/metrics").await.1;
    let blocked = "tidewheel_worker_blocked_by_sink{pipeline=\"roles-away/all-made\",sink=\"roles-away/warehouse\"} 2";
    assert!(metrics.contains(blocked), "{metrics}");

    let generate = ground.role("generate", &[]);
    generate.running.says("all declared events are made");
    ground.set_url(&url);
    ground.until("SELECT count(*) FROM made_rows", "1500").await;
    let answers = |status, report: &serde_json::Value| {
        status == 200 && check(report, "sinks")["ready"] == true
    };
    worker.until("/readyz", answers).await;
    assert_eq!((generate.stop(), worker.stop()), (0, 0));
}
