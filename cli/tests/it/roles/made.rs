//! Events that a role makes up.
use std::path::Path;

use crate::program::{root, run};
use crate::roles::ground::Ground;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_generator_makes_its_count_once_however_often_it_is_started() {
    let specs = root().join(Path::new("cli/tests/it/specs/generated"));
    let ground = Ground::new(&specs, "roles-made");
    let made = ground.provision();
    assert_eq!(made.code, 0, "{}", made.stderr);
    assert!(
        made.stdout
            .contains("topic roles-made.made.generator was made with 1 partition"),
        "{}",
        made.stdout
    );
    let generate = ground.role("generate", &[]);
    generate.ready().await;
    generate.running.says("all declared events are made");
    let (_, metrics) = generate.get("/metrics").await;
    let counted = "tidewheel_generate_events_total{source=\"roles-made/made\"} 1500";
    assert!(metrics.contains(counted), "{metrics}");
    assert_eq!(generate.stop(), 0);
    let (path, kafka) = (ground.path("specs"), ground.path("kafka"));
    let again = run(&[
        "generate",
        "--specs",
        &path,
        "--kafka",
        &kafka,
        "--until-made",
        "--operations",
        "127.0.0.1:0",
    ]);
    assert_eq!(again.code, 0, "{}", again.stderr);

    let worker = ground.role("worker", &[]);
    ground.until("SELECT count(*) FROM made_rows", "1500").await;
    let ids = ground.sql("SELECT count(DISTINCT id) FROM made_rows");
    assert_eq!(ids, "1500");
    assert_eq!(worker.stop(), 0);
}
