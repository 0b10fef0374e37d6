//! A topic that somebody else has made and fills, read by whole roles and left as it is.
use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use crate::program::root;
use crate::roles::foreign::{Foreign, ForeignProducer, In, Isolation, Out};
use crate::roles::ground::{Ground, Role};

/// What somebody has set on a topic of theirs, none of it as Tidewheel would have it.
const THEIRS: [(&str, &str); 5] = [
    ("message.timestamp.type", "CreateTime"),
    ("cleanup.policy", "compact,delete"),
    ("retention.ms", "-1"),
    ("max.message.bytes", "20000000"),
    ("min.insync.replicas", "1"),
];
/// More than a dead letter can hold.
const HUGE_BYTES: usize = 9_000_000;

fn ground(namespace: &str, topic: &str) -> Ground {
    let specs = root().join(Path::new("cli/tests/it/specs/existing"));
    let own = format!("namespace: {namespace}");
    let ground = Ground::with(&specs, &[("namespace: web", &own), ("TOPIC", topic)]);
    ground.set_property("topic.metadata.refresh.interval.ms", "1000");
    ground
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    Some(text.as_bytes().to_vec())
}

fn order(id: usize) -> Out {
    let value = json!({"ts": "2026-01-01T00:00:00Z", "amount": id}).to_string();
    Out {
        key: bytes(&format!("order-{id}")),
        value: bytes(&value),
        headers: vec![("x-tenant", bytes(&format!("tenant-{}", id % 7)))],
        ..Out::default()
    }
}

fn orders(range: std::ops::Range<usize>) -> Vec<Out> {
    range.map(order).collect()
}

/// Records of all kinds that producers write, and things that are no orders.
fn fill(foreign: &Foreign, topic: &str) {
    let compressed = |codec| foreign.producer(&[("compression.type", codec), ("linger.ms", "50")]);
    for (codec, from) in [("lz4", 0), ("gzip", 100), ("zstd", 200), ("snappy", 300)] {
        compressed(codec).send(topic, &orders(from..from + 100));
    }
    let transactions = transactional(foreign, &format!("{topic}.theirs"));
    for (from, commits) in [(400, true), (500, false), (600, true), (700, false)] {
        transactions.transact(topic, &orders(from..from + 100), commits);
    }
    odd(foreign, topic);
}

fn transactional(foreign: &Foreign, id: &str) -> ForeignProducer {
    foreign.producer(&[("transactional.id", id)]).init()
}

fn odd(foreign: &Foreign, topic: &str) {
    let plain = foreign.producer(&[("message.max.bytes", "20000000")]);
    let at = |timestamp_ms: i64| Out {
        partition: Some(0),
        timestamp_ms: Some(timestamp_ms),
        ..order(1_000)
    };
    // Clocks of producers differ, and one has none.
    for timestamp_ms in [1_800_000_000_000, 1_700_000_000_000, -1, 1_750_000_000_000] {
        plain.send(topic, &[at(timestamp_ms)]);
    }
    let twice = vec![
        ("x-tenant", bytes("first")),
        ("x-attempt", bytes("3")),
        ("x-tenant", bytes("last")),
    ];
    let broken = |value: &str| Out {
        value: bytes(value),
        ..order(1_001)
    };
    plain.send(
        topic,
        &[
            Out {
                headers: twice,
                ..order(1_002)
            },
            Out {
                headers: vec![("x-tenant", None)],
                ..order(1_003)
            },
            Out {
                headers: vec![("x-attempt", bytes("many"))],
                ..order(1_004)
            },
            Out {
                headers: vec![("x-tenant", Some(vec![0xff]))],
                ..order(1_005)
            },
            broken("no JSON"),
            broken(""),
            broken("[1]"),
            broken(&"x".repeat(HUGE_BYTES)),
            Out {
                value: None,
                ..order(1_006)
            },
        ],
    );
}

/// Keys may be left out where the topic is not compacted.
fn keyless(foreign: &Foreign, topic: &str) {
    let keyless = |id| Out {
        key: None,
        ..order(id)
    };
    let records: Vec<Out> = (2_000..2_050).map(keyless).collect();
    foreign.producer(&[]).send(topic, &records);
}

/// What has to become of a record that has a value: its row, or a dead letter's reason.
fn verdict(record: &In, value: &[u8]) -> Result<Value, &'static str> {
    if value.len() > 1 << 20 {
        return Err("TooLarge");
    }
    let Ok(Value::Object(order)) = serde_json::from_slice::<Value>(value) else {
        return Err(match value.first() {
            None => "Empty",
            Some(b'[') => "NotAnObject",
            Some(_) => "Malformed",
        });
    };
    // A header without a value has an empty one.
    let tenant = record.header("x-tenant");
    if tenant.is_some_and(|tenant| tenant.contains('\u{fffd}')) {
        return Err("InvalidUtf8");
    }
    let attempt = record.header("x-attempt");
    if attempt == Some("many") {
        return Err("Malformed");
    }
    Ok(json!({
        "order_id": record.key, "tenant": tenant,
        "attempt": attempt.and_then(|text| text.parse::<i64>().ok()),
        "sent_ms": record.timestamp_ms, "place": record.offset, "share": record.partition,
        "amount": order["amount"],
    }))
}

const SEEN: &str =
    "SELECT order_id, tenant, attempt, (extract(epoch FROM sent_at) * 1000)::bigint AS sent_ms,
    place, share, amount FROM seen ORDER BY share, place";

/// Every committed record of the topic is a row or a dead letter, with what stands beside it, or a tombstone, of which there is nothing
/// but a count; nothing else is.
async fn judge(
    (ground, foreign): (&Ground, &Foreign),
    worker: &Role,
    namespace: &str,
    topic: &str,
) {
    let records = foreign.read(topic, Isolation::Committed);
    let (mut rows, mut reasons) = (Vec::new(), BTreeMap::<&str, usize>::new());
    let mut tombstones = 0;
    for record in &records {
        match record.value.as_deref().map(|value| verdict(record, value)) {
            None => tombstones += 1,
            Some(Ok(row)) => rows.push(row),
            Some(Err(reason)) => *reasons.entry(reason).or_default() += 1,
        }
    }
    ground
        .until("SELECT count(*) FROM seen", &rows.len().to_string())
        .await;
    assert_eq!(ground.rows(SEEN), rows);
    let refused: usize = reasons.values().sum();
    let letters = format!("{namespace}.orders.dead-letters");
    let mut found = foreign.read(&letters, Isolation::Committed);
    while found.len() < refused {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        found = foreign.read(&letters, Isolation::Committed);
    }
    let mut told = BTreeMap::<&str, usize>::new();
    for letter in &found {
        *told
            .entry(letter.header("tidewheel-reason").unwrap())
            .or_default() += 1;
        let origin = records.iter().find(|record| {
            i64::from(record.partition) == letter.number("tidewheel-partition")
                && record.offset == letter.number("tidewheel-offset")
        });
        let origin = origin.unwrap();
        assert_eq!(letter.key, origin.key);
        match letter.header("tidewheel-value-bytes") {
            Some(bytes) => assert_eq!((bytes, &letter.value), ("9000000", &None)),
            None => assert!(letter.value == origin.value, "{:?}", letter.headers),
        }
    }
    assert_eq!(told, reasons);
    let seen = "name=\"seen\"";
    let fates = "tidewheel_output_fates_total";
    let of_tombstones = [seen, "fate=\"tombstone\""];
    worker.until_count(fates, &of_tombstones, tombstones).await;
    let all = records.len() as i64;
    worker
        .until_count("tidewheel_output_read_total", &[seen], all)
        .await;
    worker.until_count(fates, &[seen], all).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_existing_topic_is_read_as_it_is_and_never_altered() {
    let (namespace, topic) = ("roles-existing", "Orders_of-somebody.v1");
    let ground = ground(namespace, topic);
    let foreign = Foreign::at(ground.kafka.bootstrap());
    let refused = ground.provision();
    assert_eq!(refused.code, 1, "{}", refused.stdout);
    assert!(
        refused.stderr.contains("topic Orders_of-somebody.v1, which an EventSource names, does not exist: it is somebody else's, so it is not made here"),
        "{}",
        refused.stderr
    );
    let worker = ground.role("worker", &[]);
    worker.running.says("Orders_of-somebody.v1");

    foreign.make(topic, 3, &THEIRS).await;
    fill(&foreign, topic);
    let [all, committed] = [Isolation::Uncommitted, Isolation::Committed]
        .map(|isolation| foreign.read(topic, isolation).len());
    assert_eq!(
        all - committed,
        200,
        "what was given up stands in the topic"
    );
    let before = foreign.describe(topic).await;
    let made = ground.provision();
    assert_eq!(made.code, 0, "{}", made.stderr);
    assert!(!made.stdout.contains(topic), "{}", made.stdout);
    assert!(
        made.stdout
            .contains("topic roles-existing.orders.orders.state was made with 3 partitions"),
        "{}",
        made.stdout
    );
    worker.ready().await;
    judge((&ground, &foreign), &worker, namespace, topic).await;

    // Its owner adds partitions, and fills them.
    foreign.grow(topic, 5).await;
    let added = |partition, from| Out {
        partition: Some(partition),
        ..order(from)
    };
    let records: Vec<Out> = (0..100)
        .map(|id| added(3 + id % 2, 3_000 + id as usize))
        .collect();
    foreign.producer(&[]).send(topic, &records);
    let made = ground.provision();
    let lines = made.stdout.lines().count();
    assert_eq!((made.code, lines), (0, 1), "{}{}", made.stdout, made.stderr);
    for text in [
        "topic roles-existing.orders.orders.state ",
        " 5 partitions",
        "not 3",
    ] {
        assert!(made.stdout.contains(text), "{}", made.stdout);
    }
    judge((&ground, &foreign), &worker, namespace, topic).await;

    // Somebody else goes on from where the first was killed, and the topic is as its owner has it.
    drop(worker);
    fill(&foreign, topic);
    let worker = ground.role("worker", &[]);
    judge((&ground, &foreign), &worker, namespace, topic).await;
    assert_eq!(worker.stop(), 0);
    let after = foreign.describe(topic).await;
    assert_eq!((before.partitions, after.partitions), (3, 5));
    assert_eq!(before.settings, after.settings);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_without_keys_are_read_from_a_topic_with_times_of_its_broker() {
    let (namespace, topic) = ("roles-keyless", "keyless.v1");
    let ground = ground(namespace, topic);
    let foreign = Foreign::at(ground.kafka.bootstrap());
    let theirs = [("message.timestamp.type", "LogAppendTime")];
    foreign.make(topic, 2, &theirs).await;
    keyless(&foreign, topic);
    assert_eq!(ground.provision().code, 0);
    let worker = ground.role("worker", &[]);
    judge((&ground, &foreign), &worker, namespace, topic).await;
    assert_eq!(worker.stop(), 0);
}
