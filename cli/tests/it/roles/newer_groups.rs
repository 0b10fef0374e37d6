//! Workers whose groups use the newer protocol.
use std::path::Path;

use serde_json::json;

use crate::program::root;
use crate::roles::foreign::{Foreign, Out};
use crate::roles::ground::{Ground, check};

const TOPIC: &str = "newer.v1";

fn orders(ids: std::ops::Range<i32>) -> Vec<Out> {
    let order = |id: i32| Out {
        partition: Some(id % 4),
        key: Some(id.to_string().into_bytes()),
        value: Some(
            json!({"ts": "2026-01-01T00:00:00Z", "amount": id})
                .to_string()
                .into_bytes(),
        ),
        ..Out::default()
    };
    ids.map(order).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_workers_partitions_go_to_the_others_by_the_newer_protocol_too() {
    let specs = root().join(Path::new("cli/tests/it/specs/existing"));
    let replaced = [
        ("namespace: web", "namespace: roles-newer"),
        ("TOPIC", TOPIC),
    ];
    let ground = Ground::with(&specs, &replaced);
    ground.set_property("group.protocol", "consumer");
    let foreign = Foreign::at(ground.kafka.bootstrap());
    foreign.make(TOPIC, 4, &[]).await;
    assert_eq!(ground.provision().code, 0);
    let producer = foreign.producer(&[]);
    producer.send(TOPIC, &orders(0..400));
    let [killed, other] = [ground.role("worker", &[]), ground.role("worker", &[])];
    for worker in [&killed, &other] {
        let report = worker.ready().await;
        assert_eq!(
            check(&report, "assignment")["detail"],
            "1 of 1 inputs are assigned"
        );
    }
    let counted = "SELECT count(*) || ' ' || count(DISTINCT amount) FROM seen";
    ground.until(counted, "400 400").await;
    drop(killed);
    producer.send(TOPIC, &orders(400..800));
    ground.until(counted, "800 800").await;
    let told = ground.sql("SELECT count(DISTINCT share) FROM seen WHERE amount >= 400");
    assert_eq!(told, "4");
    assert_eq!(other.stop(), 0);
}
