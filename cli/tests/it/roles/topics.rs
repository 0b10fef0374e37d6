//! Topics that one pipeline fills and another one reads, by workers that are killed in mid-stream.
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use crate::program::root;
use crate::roles::foreign::{Foreign, ForeignProducer, In, Isolation, Out};
use crate::roles::ground::{Ground, Role};

const ORDERS: &str = "orders.v1";
const LARGE: &str = "large-orders.v1";
const REVENUE: &str = "revenue-per-minute.v1";
const CHANNELS: [Option<&str>; 3] = [Some("web"), Some("shop"), None];
/// How often each worker is killed.
const KILLS: usize = 5;
const BURSTS_BETWEEN_KILLS: usize = 4;
const ORDERS_IN_A_BURST: usize = 250;
const PARTITIONS: i32 = 3;

/// An order as its producer knows it.
#[derive(Debug, Clone)]
struct Order {
    id: usize,
    channel: Option<&'static str>,
    customer: usize,
    cents: i64,
    /// Seconds after the first.
    at: i64,
}

impl Order {
    /// Orders come up to eight minutes after the time that they claim.
    fn new(id: usize, random: &mut u64) -> Self {
        let mut pick = |below: u64| {
            *random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (*random >> 33) % below
        };
        let (now, behind) = (id as i64 / 12, pick(10) == 0);
        Self {
            id,
            channel: CHANNELS[pick(3) as usize],
            customer: pick(40) as usize,
            cents: 100 + pick(20_000) as i64,
            at: (now - if behind { pick(480) as i64 } else { 0 }).max(0),
        }
    }

    fn ts(&self) -> String {
        let (hours, minutes, seconds) = (self.at / 3600, self.at / 60 % 60, self.at % 60);
        format!("2026-01-01T{hours:02}:{minutes:02}:{seconds:02}Z")
    }

    fn minute(&self) -> String {
        format!("{}00Z", &self.ts()[..17])
    }

    fn record(&self) -> Out {
        let value = json!({
            "ordered_at": self.ts(), "customer": format!("c{}", self.customer), "cents": self.cents,
            "items": [self.id, {"n": 1}],
        });
        let header = |channel: &str| ("channel", Some(channel.as_bytes().to_vec()));
        Out {
            key: Some(format!("o-{}", self.id).into_bytes()),
            value: Some(value.to_string().into_bytes()),
            headers: self.channel.map(header).into_iter().collect(),
            ..Out::default()
        }
    }
}

/// Orders that close every window before them, one for each partition of the source, of so many customers that each partition of the
/// large ones gets some too.
fn later() -> Vec<Out> {
    let later = |index: i32| {
        let value = json!({"ordered_at": "2026-01-04T00:00:00Z", "customer": format!("later{index}"), "cents": 90_000});
        Out {
            partition: Some(index % PARTITIONS),
            key: Some(format!("later-{index}").into_bytes()),
            value: Some(value.to_string().into_bytes()),
            ..Out::default()
        }
    };
    (0..60).map(later).collect()
}

/// What producers have sent, and what is to come of it.
struct Stream {
    plain: ForeignProducer,
    transactional: ForeignProducer,
    orders: Vec<Order>,
    random: u64,
}

impl Stream {
    fn new(foreign: &Foreign) -> Self {
        let id = [("transactional.id", "somebody.orders")];
        Self {
            plain: foreign.producer(&[("compression.type", "lz4")]),
            transactional: foreign.producer(&id).init(),
            orders: Vec::new(),
            random: 17,
        }
    }

    /// Orders, some of them twice, and between them what nobody can read, and a transaction that is given up.
    fn burst(&mut self) {
        let mut records = Vec::new();
        for _ in 0..ORDERS_IN_A_BURST {
            let order = Order::new(self.orders.len(), &mut self.random);
            records.push(order.record());
            if order.id % 20 == 7 {
                let again = Order {
                    cents: order.cents + 50_000,
                    ..order.clone()
                };
                records.push(again.record());
            }
            if order.id % 50 == 9 {
                records.push(Out {
                    value: None,
                    ..records[0].clone()
                });
            }
            self.orders.push(order);
        }
        // Of orders that come later: were they read, those would be duplicates.
        let mut ahead = self.random;
        let next = self.orders.len();
        let given_up: Vec<Out> = (next..next + ORDERS_IN_A_BURST)
            .map(|id| Order::new(id, &mut ahead).record())
            .collect();
        self.transactional.transact(ORDERS, &given_up, false);
        if (self.orders.len() / ORDERS_IN_A_BURST).is_multiple_of(2) {
            self.plain.send(ORDERS, &records);
        } else {
            self.transactional.transact(ORDERS, &records, true);
        }
    }

    fn large(&self) -> impl Iterator<Item = &Order> {
        self.orders.iter().filter(|order| order.cents >= 10_000)
    }
}

struct Topics {
    ground: Ground,
    foreign: Foreign,
}

impl Topics {
    fn worker(&self, pipeline: &str) -> Role {
        self.ground.role(
            "worker",
            &["--pipeline", &format!("roles-topics/{pipeline}")],
        )
    }

    fn committed(&self, topic: &str) -> Vec<In> {
        self.foreign.read(topic, Isolation::Committed)
    }

    /// Waits until a topic has more committed records than `before`. How many it has.
    async fn more_than(&self, before: usize, topic: &str) -> usize {
        loop {
            let now = self.committed(topic).len();
            if now > before {
                return now;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn made_hours(&self) -> Vec<Value> {
        self.ground.rows(
            "SELECT customer, sum(orders)::bigint AS orders, sum(cents)::bigint AS cents FROM large_by_customer
             WHERE customer NOT LIKE 'later%' GROUP BY customer ORDER BY customer",
        )
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_to_topics_is_there_once_and_read_once_however_often_workers_are_killed() {
    let example = root().join("examples/orders");
    let ground = Ground::with(&example, &[("namespace: shop", "namespace: roles-topics")]);
    for (name, value) in [
        ("session.timeout.ms", "3000"),
        ("heartbeat.interval.ms", "500"),
        ("topic.metadata.refresh.interval.ms", "1000"),
    ] {
        ground.set_property(name, value);
    }
    let foreign = Foreign::at(ground.kafka.bootstrap());
    foreign.make(ORDERS, PARTITIONS, &[]).await;
    let made = ground.provision();
    assert_eq!(made.code, 0, "{}", made.stderr);
    for text in [
        "topic large-orders.v1 was made with 3 partitions",
        "topic revenue-per-minute.v1 was made with 2 partitions",
    ] {
        assert!(made.stdout.contains(text), "{}", made.stdout);
    }
    assert!(!made.stdout.contains("topic orders.v1"), "{}", made.stdout);
    let again = ground.provision();
    assert_eq!(again.stdout, "everything is as it has to be\n");
    let topics = Topics { ground, foreign };

    let mut stream = Stream::new(&topics.foreign);
    let (mut writer, mut reader) = (topics.worker("orders"), topics.worker("customers"));
    let mut before = 0;
    for kill in 0..KILLS {
        (0..BURSTS_BETWEEN_KILLS).for_each(|_| stream.burst());
        before = topics.more_than(before, LARGE).await;
        // There is more to come when it is killed: a moment ago it had not all.
        stream.burst();
        drop(writer);
        if kill % 2 == 1 {
            drop(reader);
            reader = topics.worker("customers");
        }
        writer = topics.worker("orders");
    }
    let large = stream.large().count();
    while topics.committed(LARGE).len() < large {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    stream.plain.send(ORDERS, &later());
    topics
        .ground
        .until(
            "SELECT coalesce(sum(orders), 0) FROM large_by_customer WHERE customer NOT LIKE 'later%'",
            &large.to_string(),
        )
        .await;
    rows_are_there_once(&stream, &topics.committed(LARGE));
    windows_can_be_followed(&stream, &topics).await;
    let mut expected = BTreeMap::<String, (i64, i64)>::new();
    for order in stream.large() {
        let of = expected.entry(format!("c{}", order.customer)).or_default();
        *of = (of.0 + 1, of.1 + order.cents);
    }
    let expected: Vec<Value> = expected
        .into_iter()
        .map(|(customer, (orders, cents))| json!({"customer": customer, "orders": orders, "cents": cents}))
        .collect();
    assert_eq!(topics.made_hours(), expected);
    assert_eq!((writer.stop(), reader.stop()), (0, 0));
    assert_eq!(topics.ground.open_transactions("roles-topics."), []);
}

/// Every large order is one record, with its key, its header, its place and its JSON.
fn rows_are_there_once(stream: &Stream, records: &[In]) {
    let is_later = |record: &&In| record.key.as_ref().unwrap().starts_with("later");
    let records: Vec<&In> = records.iter().filter(|record| !is_later(record)).collect();
    let mut expected: Vec<String> = stream
        .large()
        .map(|order| {
            let (id, customer) = (format!("o-{}", order.id), format!("c{}", order.customer));
            let channel = order.channel.map_or("null".to_owned(), |channel| format!("\"{channel}\""));
            format!(
                r#"{customer} {:?} {{"order_id":"{id}","customer":"{customer}","channel":{channel},"cents":{},"ts":"{}","items":[{},{{"n":1}}]}}"#,
                order.channel, order.cents, order.ts(), order.id
            )
        })
        .collect();
    let mut found: Vec<String> = records
        .iter()
        .map(|record| {
            let value = std::str::from_utf8(record.value.as_ref().unwrap()).unwrap();
            let key = record.key.as_ref().unwrap();
            format!("{key} {:?} {value}", record.header("channel"))
        })
        .collect();
    expected.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, expected);
    let place =
        |record: &&In| ["_partition", "_offset", "_ordinal"].map(|name| record.number(name));
    let places: BTreeSet<[i64; 3]> = records.iter().map(place).collect();
    assert_eq!(places.len(), records.len());
    assert!(
        records
            .iter()
            .all(|record| record.number("_generation") == 1)
    );
    in_order(&records);
}

/// A customer's orders are in one partition, and those of one partition of the source in their order.
fn in_order(records: &[&In]) {
    let mut last = BTreeMap::<(&str, i64), (i32, i64)>::new();
    for record in records {
        let of = (record.key.as_deref().unwrap(), record.number("_partition"));
        let place = (record.partition, record.number("_offset"));
        let before = last.insert(of, place);
        assert!(
            before.is_none_or(|before| before.0 == place.0 && before.1 < place.1),
            "{of:?}: {place:?} after {before:?}"
        );
    }
}

/// The newest record of each key is the window; those before it count up to it, each once.
async fn windows_can_be_followed(stream: &Stream, topics: &Topics) {
    let mut expected = BTreeMap::<(String, Option<&str>), (i64, i64)>::new();
    for order in &stream.orders {
        let of = expected.entry((order.minute(), order.channel)).or_default();
        *of = (of.0 + 1, of.1 + order.cents);
    }
    let expected: BTreeMap<String, Value> = expected
        .into_iter()
        .map(|((minute, channel), (orders, cents))| {
            let key = json!([minute, channel]).to_string();
            (
                key,
                json!({"channel": channel, "orders": orders, "cents": cents}),
            )
        })
        .collect();
    loop {
        let records = topics.committed(REVENUE);
        let (newest, amended) = followed(&records);
        if newest == expected {
            assert!(amended > 0, "late orders have amended windows");
            return;
        }
        assert!(newest.len() <= expected.len(), "{newest:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// What a consumer has of windows, by message key, and how many records have replaced others.
fn followed(records: &[In]) -> (BTreeMap<String, Value>, usize) {
    let (mut newest, mut places, mut amended) = (BTreeMap::new(), BTreeMap::new(), 0);
    for record in records {
        let key = record.key.clone().unwrap();
        let place = (
            record.partition,
            record.number("_offset"),
            record.number("_revision"),
        );
        let before: Option<(i32, i64, i64)> = places.insert(key.clone(), place);
        match before {
            None => assert_eq!(place.2, 1, "{key} was emitted once"),
            Some(before) => {
                amended += 1;
                assert_eq!(before.0, place.0, "{key}");
                assert!(
                    before.1 < place.1 && before.2 < place.2,
                    "{key}: {before:?}, then {place:?}"
                );
            }
        }
        let mut row = record.json().unwrap();
        let start = row["window_start"].take();
        assert!(key.contains(start.as_str().unwrap()), "{key}");
        let row =
            json!({"channel": row["channel"], "orders": row["orders"], "cents": row["cents"]});
        newest.insert(key, row);
    }
    (newest, amended)
}
