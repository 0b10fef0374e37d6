//! A topic in Avro, and what holds of every topic whose values name schemas of a registry.
use std::path::Path;

use serde_json::json;

use crate::program::{Running, root};
use crate::roles::ground::Ground;
use crate::roles::registered::{PASSWORD, Scene, id, record, says, told};

/// 2026-01-01T00:00:00Z, µs.
const T0_US: i64 = 1_767_225_600_000_000;

/// What the schemas of an order have in common.
fn schema(more: &str) -> String {
    format!(
        r#"{{"type": "record", "name": "Order", "namespace": "shop", "fields": [
        {{"name": "id", "type": {{"type": "string", "logicalType": "uuid"}}}},
        {{"name": "ts", "type": {{"type": "long", "logicalType": "timestamp-micros"}}}}{more}]}}"#
    )
}

/// The second version: a record of another subject, an enum, a date, and a member that is no column.
fn second() -> String {
    schema(
        r#", {"name": "paid", "type": ["null", "shop.Paid"], "default": null},
        {"name": "suit", "type": {"type": "enum", "name": "Suit", "symbols": ["SPADES", "HEARTS"]}},
        {"name": "day", "type": {"type": "int", "logicalType": "date"}},
        {"name": "points", "type": {"type": "array", "items": "long"}}"#,
    )
}

const PAID: &str = r#"{"type": "record", "name": "Paid", "namespace": "shop", "fields": [
    {"name": "amount", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}}]}"#;

/// A whole number as Avro writes it.
fn zigzag(number: i64) -> Vec<u8> {
    let mut left = ((number << 1) ^ (number >> 63)).cast_unsigned();
    let mut bytes = Vec::new();
    while left > 0x7f {
        bytes.push((left & 0x7f) as u8 | 0x80);
        left >>= 7;
    }
    bytes.push(left as u8);
    bytes
}

/// An order that names a schema, with what follows `id` and `ts`.
fn order(schema: u32, number: u32, more: &[u8]) -> Vec<u8> {
    let (id, ts) = (id(number), zigzag(T0_US + i64::from(number)));
    let length = zigzag(id.len() as i64);
    [
        &[0][..],
        &schema.to_be_bytes(),
        &length,
        id.as_bytes(),
        &ts,
        more,
    ]
    .concat()
}

fn old(number: u32) -> Vec<u8> {
    order(11, number, &[])
}

/// 12.34 paid, HEARTS, the second day of 1970, two points.
fn new(number: u32) -> Vec<u8> {
    order(12, number, b"\x02\x04\x04\xd2\x02\x02\x04\x02\x04\x00")
}

/// A registry that has the first version.
async fn begin(namespace: &str) -> Scene {
    let scene = Scene::begin(namespace, "Avro").await;
    let version = ("orders-value", 1);
    scene.registry.add(11, version, "AVRO", &schema(""), &[]);
    scene
}

fn add_second(scene: &Scene) {
    scene.registry.add(21, ("paid", 4), "AVRO", PAID, &[]);
    let paid = [("shop.Paid", "paid", 4)];
    let version = ("orders-value", 2);
    scene.registry.add(12, version, "AVRO", &second(), &paid);
}

/// Once before anything is read, and once as a second version comes between records of the first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_schema_registry_is_away() {
    let scene = begin("roles-avro-away").await;
    let orders = (0..100).map(|number| record(number % 2, old(number as u32)));
    scene.send(&orders.collect::<Vec<_>>());
    scene.registry.set_away(true);
    let worker = scene.ground.role("worker", &[]);
    says(&worker, &["answers 503", "/schemas/ids/11"]).await;
    assert_eq!(scene.ground.sql("SELECT count(*) FROM found"), "0");
    assert_eq!(scene.letters(), []);
    scene.registry.set_away(false);
    scene.until_rows("100").await;

    add_second(&scene);
    scene.registry.set_away(true);
    let orders = (100..140).map(|number| match number % 4 {
        0 => record(0, new(number)),
        2 => record(0, old(number)),
        _ => record(1, old(number)),
    });
    scene.send(&orders.collect::<Vec<_>>());
    says(&worker, &["answers 503", "/schemas/ids/12"]).await;
    // The other partition goes on with what is known.
    let of_other = "SELECT count(*) FROM found WHERE _partition = 1";
    scene.ground.until(of_other, "70").await;
    scene.registry.set_away(false);
    scene.until_rows("140").await;
    let rows = "SELECT suit, amount, day, _extra FROM found WHERE suit IS NOT NULL";
    let row = json!({"suit": "HEARTS", "amount": 12.34, "day": "1970-01-02", "_extra": {"points": [1, 2]}});
    assert_eq!(scene.ground.rows(rows), vec![row; 10]);
    let once = "SELECT count(DISTINCT id), count(DISTINCT (_partition, _offset)) FROM found";
    assert_eq!(scene.ground.sql(once), "140|140");
    assert_eq!(scene.letters(), []);
    // Each schema was read once for the process, but for tasks that begin together.
    let asked = scene.registry.asked();
    let of_first = asked.iter().filter(|path| *path == "/schemas/ids/11");
    assert!(of_first.count() <= 2, "{asked:?}");
    assert_eq!(worker.stop(), 0);
}

/// It says so for a while, in its own words. And what else does not fit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_schema_registry_does_not_know_a_schema() {
    let scene = begin("roles-avro-unknown").await;
    let worker = scene.ground.role("worker", &[]);
    let other = schema(r#", {"name": "day", "type": "int"}"#);
    scene.registry.add(13, ("odd", 1), "AVRO", &other, &[]);
    let odd = [
        order(13, 200, &zigzag(7)),
        order(99, 201, &[]),
        br#"{"id": "json"}"#.to_vec(),
        [old(202), b"more".to_vec()].concat(),
    ];
    let odd = odd.map(|value| record(0, value));
    scene.send(&odd);
    says(
        &worker,
        &["says that there is no such schema", "/schemas/ids/99"],
    )
    .await;
    assert_eq!(scene.letters(), []);
    scene.send(&[record(0, old(203))]);
    scene.until_rows("1").await;
    let letters = scene.letters();
    assert_eq!(
        told(&letters),
        [
            ("WrongType", "day"),
            ("NotAvro", ""),
            ("NotAvro", ""),
            ("NotAvro", "")
        ]
    );
    let values = letters.iter().map(|letter| letter.value.clone());
    let sent = odd.iter().map(|record| record.value.clone());
    assert_eq!(values.collect::<Vec<_>>(), sent.collect::<Vec<_>>());
    let message = letters[1].header("tidewheel-message").unwrap();
    assert!(message.contains("the schema 99 that the value names is not in the schema registry"));
    // Once it has it, records of that id are read.
    scene
        .registry
        .add(99, ("late", 1), "AVRO", &schema(""), &[]);
    scene.send(&[record(0, order(99, 204, &[]))]);
    scene.until_rows("2").await;
    assert_eq!(worker.stop(), 0);
}

/// By the schemas that records name, one of which has come since: it is waited for as a worker waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn windows_are_computed_again_with_schemas_of_the_registry() {
    let scene = begin("roles-avro-replay").await;
    add_second(&scene);
    let worker = scene.ground.role("worker", &[]);
    let orders = (0..40).map(|number| match number % 4 {
        0 => record(0, new(number)),
        2 => record(0, old(number)),
        _ => record(1, old(number)),
    });
    scene.send(&orders.collect::<Vec<_>>());
    scene.send(&[record(0, order(99, 40, &[]))]);
    // Two minutes later.
    scene.send(&[0, 1].map(|partition| record(partition, old(120_000_000))));
    scene.until_rows("42").await;
    let first = "SELECT count(*) FROM by_suit WHERE window_start = '2026-01-01T00:00:00Z'";
    scene.ground.until(first, "2").await;
    let hearts = json!({"suit": "HEARTS", "n": 10, "most": 12.34});
    let none = |n| json!({"suit": null, "n": n, "most": null});
    assert_eq!(scene.windows(), [hearts.clone(), none(30)]);
    assert_eq!(scene.letters().len(), 1);
    scene.until_closed().await;

    scene.ground.sql("UPDATE by_suit SET n = -1");
    let late = schema("");
    scene.registry.add(99, ("late", 1), "AVRO", &late, &[]);
    scene.registry.set_away(true);
    let args = scene.replay(&[]);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let replaying = Running::start(&args);
    let waiting = replaying.says("waiting: orders/");
    assert!(
        waiting.contains("answers 503") && !waiting.contains(PASSWORD),
        "{waiting}"
    );
    scene.registry.set_away(false);
    replaying.says("by_suit: wrote 1 window with 2 rows");
    assert_eq!(replaying.stop(), 0);
    assert_eq!(scene.windows(), [hearts, none(31)]);
    assert_eq!(worker.stop(), 0);
}

#[tokio::test]
async fn a_worker_that_cannot_ask_says_what_is_missing() {
    let specs = root().join(Path::new("cli/tests/it/specs/registered"));
    let replaced = [
        ("namespace: web", "namespace: roles-avro-refused"),
        ("TOPIC", "Shop.refused.avro"),
        ("https://registry.example", "http://127.0.0.1:1"),
    ];
    let ground = Ground::with(&specs, &replaced);
    let ended = ground.refused("worker");
    assert_ne!(ended.code, 0);
    assert!(
        ended
            .stderr
            .contains("EventSource orders: there is no Secret `registry`"),
        "{}",
        ended.stderr
    );
    let secret = Path::new(&ground.path("secrets")).join("registry");
    std::fs::create_dir(&secret).unwrap();
    std::fs::write(secret.join("password"), "hunter2").unwrap();
    let ended = ground.refused("worker");
    assert!(
        ended
            .stderr
            .contains("the key `username` of its Secret is missing")
            && !ended.stderr.contains("hunter2"),
        "{}",
        ended.stderr
    );
}
