//! What is gone for good, and going on without it.
use std::collections::BTreeSet;
use std::time::Duration;

use rdkafka::admin::AdminOptions;
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;

use crate::program::{Ended, run};
use crate::roles::faults::kafka::admin;
use crate::roles::faults::orders::{FIRST, SECOND, number};
use crate::roles::faults::scene::{Scene, said, until_metric};
use crate::soak::topic;

/// How often something is looked at until it is as it has to be.
const LOOKS: usize = 600;
const LOOK_EVERY: Duration = Duration::from_millis(100);

fn acknowledge(scene: &Scene, more: &[&str]) -> Ended {
    let pipeline = format!("{}/sales", scene.namespace);
    let kafka = scene.ground.path("kafka");
    let args = ["acknowledge", &pipeline, "--kafka", &kafka];
    run(&[&args, more].concat())
}

/// What waits.
fn listed(scene: &Scene) -> Vec<Value> {
    let document = acknowledge(scene, &["-o", "json"]).document();
    document.as_array().unwrap().clone()
}

/// Waits until what waits is as it has to be.
async fn until_listed(scene: &Scene, is_right: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let mut last = Vec::new();
    for _ in 0..LOOKS {
        last = listed(scene);
        if is_right(&last) {
            return last;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    panic!("{last:?}");
}

async fn delete_below(scene: &Scene, topic: &str, offset: i64) {
    let mut below = TopicPartitionList::new();
    below
        .add_partition_offset(topic, 0, Offset::Offset(offset))
        .unwrap();
    let deleted = admin(scene).delete_records(&below, &AdminOptions::new());
    deleted.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retention_took_what_was_not_read() {
    let namespace = "faults-retention";
    let mut scene = Scene::start(namespace).await;
    let topic = format!("{namespace}.orders");
    for worker in std::mem::take(&mut scene.workers) {
        assert_eq!(worker.stop(), 0);
    }
    let before = scene.ground.end(&topic, 0);
    scene.send(SECOND).await;
    delete_below(&scene, &topic, before + 10).await;

    let worker = || scene.ground.role("worker", &[]);
    let waiting = worker();
    let listed = until_listed(&scene, |all| !all.is_empty()).await;
    let hash = listed[0]["hash"].as_str().unwrap();
    let last = before + 9;
    assert_eq!(listed.len(), 1, "the other partition has lost nothing");
    assert_eq!(
        listed[0]["offsets"],
        serde_json::json!({"first": before, "last": last, "count": 10})
    );
    let text = format!("offsets {before} to {last} of orders/0 were deleted before they were read");
    let command = format!("tidewheel acknowledge {namespace}/sales --hash {hash}");
    let texts = ["until somebody mends it", &text, &command];
    said(&waiting, "tasks", &texts).await;
    until_metric(&waiting, "tidewheel_task_needs_mending", |tasks| {
        tasks >= 1.0
    })
    .await;
    waiting.running.says(&text);
    let whole = scene.ground.end(&topic, 1);
    let covered = format!(
        "tidewheel_task_next_offset{{pipeline=\"{namespace}/sales\",input=\"orders\",partition=\"1\"}}"
    );
    until_metric(&waiting, &covered, |next| next == whole as f64).await;

    // Nothing is acknowledged but what is there, all of it.
    let refuses = |hash: &str, more: &[&str]| {
        let refused = acknowledge(&scene, &[&["--hash", hash], more].concat());
        assert_eq!((refused.code, refused.stdout.as_str()), (2, ""));
        refused.stderr
    };
    let said = refuses("000000000000", &[]);
    assert!(said.contains("waits with the hash 000000000000"), "{said}");
    let said = refuses(hash, &["--refill"]);
    assert!(
        said.contains("events that are gone count as lost"),
        "{said}"
    );
    delete_below(&scene, &topic, before + 15).await;
    let grown = until_listed(&scene, |all| all[0]["hash"] != hash).await;
    assert_eq!(grown[0]["offsets"]["count"], 15);
    let said = refuses(hash, &[]);
    assert!(said.contains("has grown since"), "{said}");

    // Workers die right after it is acknowledged, and right after a task has gone on.
    let hash = grown[0]["hash"].as_str().unwrap();
    let done = acknowledge(&scene, &["--hash", hash]);
    waiting.running.kill();
    assert_eq!(done.code, 0, "{}", done.stderr);
    let goes_on = format!(
        "acknowledged {hash}: orders/0 goes on at offset {} (offsets {before} to {}, 15 in all",
        before + 15,
        before + 14
    );
    assert!(done.stdout.starts_with(&goes_on), "{}", done.stdout);
    let second = worker();
    until_listed(&scene, <[Value]>::is_empty).await;
    second.running.kill();
    let third = worker();

    let readable = topic::read(scene.ground.kafka.bootstrap(), &topic);
    let readable = readable.iter().map(|record| {
        let order: Value = serde_json::from_slice(record.value.as_ref().unwrap()).unwrap();
        number(&order)
    });
    let stored: BTreeSet<u64> = readable.chain(FIRST).collect();
    assert!((SECOND.end - 15..SECOND.end).contains(&(stored.len() as u64)));
    scene.has_rows(stored.len() as u64).await;
    let lost = ["name=\"orders_once\"", "fate=\"lost\""];
    let fates = "tidewheel_output_fates_total";
    third.until_count(fates, &lost, 15).await;
    let lost = ["name=\"per_minute\"", "fate=\"lost\""];
    third
        .until_count("tidewheel_step_fates_total", &lost, 15)
        .await;
    let ends = scene.ground.end(&topic, 0) + scene.ground.end(&topic, 1);
    let rows = ["name=\"orders_once\""];
    third
        .until_count("tidewheel_output_read_total", &rows, ends)
        .await;
    third.until_count(fates, &rows, ends).await;
    scene.workers.push(third);
    scene.ends_with(stored).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_database_was_put_in_place() {
    let mut scene = Scene::start("faults-emptied").await;
    for worker in std::mem::take(&mut scene.workers) {
        assert_eq!(worker.stop(), 0);
    }
    let postgres = scene.ground.postgres;
    let empty = postgres.database().unwrap();
    scene.ground.set_url(&postgres.url(&empty));
    scene.ground.database = empty;
    let made = scene.ground.provision();
    assert_eq!(made.code, 0, "{}", made.stderr);
    scene.send(SECOND).await;
    scene.workers = (0..2).map(|_| scene.ground.role("worker", &[])).collect();

    let texts = [
        "until somebody mends it",
        "the sink has lost its progress of ",
        "--refill or --as-it-is",
    ];
    scene.said("tasks", &texts).await;
    scene.measured("tidewheel_task_needs_mending").await;
    scene.logged("the sink has lost its progress of ");
    assert_eq!(scene.ground.sql("SELECT count(*) FROM orders_once"), "0");
    let waiting = until_listed(&scene, |all| all.len() > 1).await;
    let hash = waiting[0]["hash"].as_str().unwrap();
    let refused = acknowledge(&scene, &["--hash", hash]);
    assert_eq!(refused.code, 2, "{}", refused.stdout);
    let unsaid = "it is not said how its outputs go on";
    assert!(refused.stderr.contains(unsaid), "{}", refused.stderr);

    let mut found = String::new();
    for _ in 0..LOOKS {
        let waiting = listed(&scene);
        let open = waiting
            .iter()
            .filter(|waits| waits["acknowledged"] == false);
        let hashes = open.map(|waits| waits["hash"].as_str().unwrap());
        let given: Vec<&str> = hashes.flat_map(|hash| ["--hash", hash]).collect();
        if !given.is_empty() {
            let done = acknowledge(&scene, &[given, vec!["--refill"]].concat());
            assert_eq!(done.code, 0, "{}", done.stderr);
        }
        found = scene.ground.sql("SELECT count(*) FROM orders_once");
        if waiting.is_empty() && found == SECOND.end.to_string() {
            break;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    assert_eq!(found, SECOND.end.to_string());
    scene.stop_one().await;
    scene.ends_well().await;
}
