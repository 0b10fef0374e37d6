//! What fails in Kafka, or between it and a role.
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, Producer as _};
use tidewheel_e2e::kafka::{Kafka, Options};

use crate::program::root;
use crate::roles::faults::orders::{self, SECOND};
use crate::roles::faults::scene::{Scene, ground, nothing_open, said, until_metric};
use crate::roles::ground::{Ground, Role, check};

const PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn client(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    config
}

pub(super) fn admin(scene: &Scene) -> AdminClient<DefaultClientContext> {
    client(scene.ground.kafka.bootstrap()).create().unwrap()
}

/// Waits until a role is not ready because of the log, with this text.
async fn not_ready(role: &Role, text: &str) {
    let is_right = |status, report: &serde_json::Value| {
        let log = check(report, "log");
        status == 503 && log["ready"] == false && log["detail"].as_str().unwrap().contains(text)
    };
    role.until("/readyz", is_right).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_broker_is_away() {
    let started = tokio::task::spawn_blocking(|| Kafka::start(Options::default()));
    let mut kafka = started.await.unwrap().unwrap();
    let mut ground = ground("faults-broker");
    ground.use_broker(kafka.bootstrap());
    let mut scene = Scene::on(ground, "faults-broker").await;
    let spare = scene.ground.role("ingest", &["--listen", "127.0.0.1:0"]);
    spare.ready().await;
    kafka.kill().unwrap();

    let (status, answer) = scene.post(orders::sent(SECOND)).await;
    assert_eq!(status, 503, "{answer}");
    not_ready(&scene.ingest, "the log").await;
    let report = scene.ingest.get("/readyz").await.1;
    let report = serde_json::from_str(&report).unwrap();
    assert_eq!(check(&report, "appends")["ready"], false, "{report}");
    scene
        .ingest
        .running
        .says("the log did not acknowledge in time");
    for worker in &scene.workers {
        not_ready(worker, "the log is unavailable").await;
    }
    until_metric(
        scene.workers.last().unwrap(),
        "tidewheel_kafka_brokers_connected",
        |brokers| brokers == 0.0,
    )
    .await;
    // Without the group nobody knows whose the partitions are.
    let stays = scene.workers.last().unwrap();
    until_metric(stays, "tidewheel_worker_tasks", |tasks| tasks == 0.0).await;
    let report = stays.get("/readyz").await.1;
    let report = serde_json::from_str(&report).unwrap();
    let assignment = check(&report, "assignment");
    assert_eq!(assignment["ready"], false, "{report}");
    scene.logged("the consumer group was lost");
    scene.stop_one().await;
    assert_eq!(spare.stop(), 0);
    // One that was started in the meantime, and never reached a broker.
    let late = scene.ground.role("worker", &[]);
    not_ready(&late, "the log is unavailable").await;
    assert_eq!(late.stop(), 0);

    tokio::task::block_in_place(|| kafka.start_again()).unwrap();
    scene.ingest.ready().await;
    // Some of them may have been stored: whoever was answered 503 sends again.
    scene.send(SECOND).await;
    scene.ends_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_was_deleted() {
    let namespace = "faults-topic";
    let mut scene = Scene::start(namespace).await;
    let topic = format!("{namespace}.orders");
    let rows = scene.ground.sql("SELECT * FROM orders_once ORDER BY id");
    let deleted = admin(&scene)
        .delete_topics(&[&topic], &AdminOptions::new())
        .await;
    deleted.unwrap()[0].as_ref().unwrap();

    for worker in &scene.workers {
        not_ready(worker, "has not the source's topic faults-topic.orders").await;
    }
    not_ready(&scene.ingest, "0 of 1 topics are there").await;
    scene.measured("tidewheel_task_blocked").await;
    scene.logged("faults-topic.orders");
    let (status, answer) = scene.post(orders::sent(SECOND)).await;
    assert_eq!(status, 503, "{answer}");
    scene.stop_one().await;

    // Another topic of that name: what was read of the old one says nothing about it.
    let made = scene.ground.provision();
    assert_eq!(made.code, 0, "{}", made.stderr);
    let texts = [
        "until somebody mends it",
        "faults-topic.orders",
        "made anew",
    ];
    scene.said("tasks", &texts).await;
    scene.measured("tidewheel_task_needs_mending").await;
    scene.ingest.ready().await;
    // Longer than what was read of the old one.
    for _ in 0..3 {
        scene.send(SECOND).await;
    }
    let texts = [&texts[..], &["holds another record"]].concat();
    scene.said("tasks", &texts).await;
    let found = scene.ground.sql("SELECT * FROM orders_once ORDER BY id");
    assert_eq!(found, rows, "nothing of another topic is written");
    let Scene {
        ground,
        workers,
        ingest,
        ..
    } = scene;
    for role in workers.into_iter().chain([ingest]) {
        assert_eq!(role.stop(), 0);
    }
    nothing_open(&ground, namespace).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_state_of_a_task_was_deleted() {
    let namespace = "faults-state";
    let scene = Scene::start(namespace).await;
    let rows = scene.ground.sql("SELECT * FROM orders_once ORDER BY id");
    let topic = format!("{namespace}.sales.orders.state");
    let admin = admin(&scene);
    let Scene {
        ground,
        workers,
        ingest,
        ..
    } = scene;
    for worker in workers {
        assert_eq!(worker.stop(), 0);
    }
    let deleted = admin
        .delete_topics(&[&topic], &AdminOptions::new())
        .await
        .unwrap();
    deleted[0].as_ref().unwrap();
    let made = ground.provision();
    assert_eq!(made.code, 0, "{}", made.stderr);

    let worker = ground.role("worker", &[]);
    let texts = [
        "until somebody mends it",
        "in Kafka is gone, while output orders_once was written up to offset",
        topic.as_str(),
    ];
    said(&worker, "tasks", &texts).await;
    until_metric(&worker, "tidewheel_task_needs_mending", |tasks| {
        tasks >= 1.0
    })
    .await;
    let found = ground.sql("SELECT * FROM orders_once ORDER BY id");
    assert_eq!(found, rows, "nothing is written or left out");
    assert_eq!(worker.stop(), 0);
    assert_eq!(ingest.stop(), 0);
    nothing_open(&ground, namespace).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_was_fenced() {
    let namespace = "faults-fenced";
    let mut scene = Scene::start(namespace).await;
    let bootstrap = scene.ground.kafka.bootstrap();
    let take = |partition: i32| {
        let other: BaseProducer = client(bootstrap)
            .set(
                "transactional.id",
                format!("{namespace}.sales.orders.{partition}"),
            )
            .create()
            .unwrap();
        other.init_transactions(PATIENCE).unwrap();
    };
    tokio::task::block_in_place(|| [0, 1].map(take));
    scene.send(SECOND).await;
    for worker in &scene.workers {
        worker.running.says("the task begins again from its state");
        // Its tasks' first attempts, and another one.
        until_metric(worker, "tidewheel_task_attempts_total", |attempts| {
            attempts > 2.0
        })
        .await;
    }
    scene.has_rows(SECOND.end).await;
    tokio::task::block_in_place(|| [0, 1].map(take));
    scene.stop_one().await;
    scene.ends_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_generator_that_is_told_to_stop_while_the_broker_is_away_stops() {
    let started = tokio::task::spawn_blocking(|| Kafka::start(Options::default()));
    let mut kafka = started.await.unwrap().unwrap();
    let specs = root().join("cli/tests/it/specs/generated");
    // There is always one more to make.
    let own = [
        ("namespace: web", "namespace: faults-generate"),
        ("    count: 1500\n", ""),
    ];
    let mut ground = Ground::with(&specs, &own);
    ground.use_broker(kafka.bootstrap());
    let made = ground.provision();
    assert_eq!(made.code, 0, "{}", made.stderr);
    for dies in [false, true] {
        let generate = ground.role("generate", &["--grace", "20"]);
        until_metric(&generate, "tidewheel_generate_events_total", |made| {
            made > 0.0
        })
        .await;
        if dies {
            kafka.kill().unwrap();
        } else {
            kafka.pause().unwrap();
        }
        not_ready(&generate, "the log").await;
        // One that overstays its grace is ended with 1.
        let (code, said) = generate.running.stop_and_tell();
        assert_eq!(code, 0, "{said:#?}");
        if !dies {
            kafka.resume().unwrap();
        }
    }
}
