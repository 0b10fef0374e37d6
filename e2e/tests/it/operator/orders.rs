//! The example that reads a topic of others, writes topics for others, and reads one of these.
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::Duration,
};

use futures::executor::block_on;
use rdkafka::{
    ClientConfig, Message as _,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer as _},
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use serde_json::{Value, json};

use super::shop::Shop;
use crate::charts::path;

const THEIRS: &str = "orders.v1";
const LARGE: &str = "large-orders.v1";
const REVENUE: &str = "revenue-per-minute.v1";
const CHANNELS: [&str; 2] = ["web", "shop"];
/// Orders of a later hour, which end every window of the example: as many as it takes to reach every partition. Not of a later day: a
/// partition of large orders holds those of several workers' tasks, and the reader amends its windows for a day.
const CLOSING: usize = 60;
const CLOSING_TIME: &str = "2026-03-02T13:00:00Z";

fn client(shop: &Shop) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", shop.cluster.kafka());
    config
}

/// The orders of the file, and later ones, with the channel of each.
fn orders() -> Vec<(Value, &'static str)> {
    let text = fs::read_to_string(path("examples/orders/orders.ndjson")).unwrap();
    let mut orders: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for number in 0..CLOSING {
        orders.push(json!({
            "order_id": format!("closing-{number}"), "ordered_at": CLOSING_TIME,
            "customer": format!("closing-{number}"), "cents": 20_000, "items": [],
        }));
    }
    // What comes twice has the same channel both times.
    let channel = |order: &Value| {
        let id = order["order_id"].as_str().unwrap();
        CHANNELS[usize::from(id.bytes().next_back().unwrap()) % CHANNELS.len()]
    };
    orders
        .into_iter()
        .map(|order| (order.clone(), channel(&order)))
        .collect()
}

/// Makes the topic of others, and writes orders to it as they do: the id is the message key, the channel a header.
fn send(shop: &Shop, orders: &[(Value, &'static str)]) {
    let config = client(shop);
    let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
    let topic = NewTopic::new(THEIRS, 3, TopicReplication::Fixed(1));
    let made = block_on(admin.create_topics([&topic], &AdminOptions::new())).unwrap();
    assert!(made.iter().all(Result::is_ok), "{made:?}");
    let producer: BaseProducer = config.create().unwrap();
    for (order, channel) in orders {
        let mut value = order.clone();
        let id = value.as_object_mut().unwrap().remove("order_id").unwrap();
        let value = value.to_string();
        let header = Header {
            key: "channel",
            value: Some(*channel),
        };
        let record = BaseRecord::to(THEIRS)
            .key(id.as_str().unwrap())
            .payload(&value)
            .headers(OwnedHeaders::new().insert(header));
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(Duration::from_secs(30)).unwrap();
}

/// What a topic holds by now, as whoever reads committed records sees it: keys and values, in the order of each partition.
fn records(shop: &Shop, topic: &str) -> Vec<(Vec<u8>, Option<Value>)> {
    let consumer: BaseConsumer = client(shop)
        .set("group.id", "tidewheel-test.orders")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .set("enable.auto.commit", "false")
        .create()
        .unwrap();
    let found = consumer.fetch_metadata(Some(topic), Duration::from_secs(30));
    let count = found.unwrap().topics()[0].partitions().len();
    let mut list = rdkafka::TopicPartitionList::new();
    for partition in 0..count {
        let partition = i32::try_from(partition).unwrap();
        list.add_partition_offset(topic, partition, rdkafka::Offset::Beginning)
            .unwrap();
    }
    consumer.assign(&list).unwrap();
    let (mut ended, mut records) = (BTreeSet::new(), Vec::new());
    while ended.len() < count {
        match consumer.poll(Duration::from_secs(30)) {
            Some(Ok(record)) => {
                let value = record.payload();
                let value = value.map(|value| serde_json::from_slice(value).unwrap());
                records.push((record.key().unwrap_or_default().to_vec(), value));
            }
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(partition))) => {
                ended.insert(partition);
            }
            Some(Err(error)) => panic!("{error}"),
            None => panic!("{topic} does not end"),
        }
    }
    records
}

/// How many orders, and how many cents, in each group.
fn grouped<'a>(
    orders: impl Iterator<Item = &'a (Value, &'static str)>,
    by: impl Fn(&(Value, &'static str)) -> String,
) -> BTreeMap<String, (i64, i64)> {
    let mut groups = BTreeMap::<String, (i64, i64)>::new();
    for order in orders {
        let group = groups.entry(by(order)).or_default();
        *group = (group.0 + 1, group.1 + order.0["cents"].as_i64().unwrap());
    }
    groups
}

#[test]
fn orders_of_others_become_topics_for_others_and_a_table() {
    let shop = Shop::new("orders");
    let orders = orders();
    send(&shop, &orders);
    for file in ["sinks.yaml", "source.yaml", "orders.yaml", "customers.yaml"] {
        let text = fs::read_to_string(path("examples/orders").join(file)).unwrap();
        assert!(text.contains("namespace: shop"), "{file}");
        shop.apply(&text.replace("namespace: shop", "namespace: web"));
    }
    shop.secret(shop.cluster.postgres_in_pods());
    for what in [
        "eventsource/orders",
        "pipeline/orders",
        "eventsource/large",
        "pipeline/customers",
    ] {
        shop.wait_for(what, "Ready");
    }

    let mut once = orders.clone();
    let mut seen = BTreeSet::new();
    once.retain(|(order, _)| seen.insert(order["order_id"].as_str().unwrap().to_owned()));
    assert!(once.len() < orders.len(), "some come twice");
    let is_large = |order: &&(Value, &str)| order.0["cents"].as_i64().unwrap() >= 10_000;
    let large: BTreeSet<String> = once
        .iter()
        .filter(is_large)
        .map(|(order, _)| order["order_id"].as_str().unwrap().to_owned())
        .collect();
    shop.until("every large order is in its topic", || {
        records(&shop, LARGE).len() >= large.len()
    });
    let ids: Vec<String> = records(&shop, LARGE)
        .into_iter()
        .map(|(_, value)| value.unwrap()["order_id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids.len(), large.len(), "each once");
    assert_eq!(ids.into_iter().collect::<BTreeSet<_>>(), large);

    let is_of_example = |order: &&(Value, &str)| order.0["ordered_at"] != CLOSING_TIME;
    let hour = |order: &Value| order["ordered_at"].as_str().unwrap()[..13].to_owned();
    let by_customer = grouped(
        once.iter().filter(is_large).filter(is_of_example),
        |(order, _)| format!("{}|{}", hour(order), order["customer"].as_str().unwrap()),
    );
    let hours = || -> BTreeMap<String, (i64, i64)> {
        // The Sink of the example names no schema.
        let found = shop.sql(
            "SELECT to_char(window_start AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24'), customer, orders, cents \
             FROM public.large_by_customer WHERE window_start < '2026-03-02 12:00Z'",
        );
        let row = |line: &str| {
            let columns: Vec<&str> = line.split('|').collect();
            let number = |column: &str| column.parse().unwrap();
            let group = format!("{}|{}", columns[0], columns[1]);
            (group, (number(columns[2]), number(columns[3])))
        };
        found.lines().map(row).collect()
    };
    shop.until(
        "every hour of a customer is a row, with all its orders",
        || hours() == by_customer,
    );

    // Of each key the newest record counts.
    let minute = |order: &Value| order["ordered_at"].as_str().unwrap()[..16].to_owned();
    let by_minute = grouped(once.iter().filter(is_of_example), |(order, channel)| {
        format!("{}|{channel}", minute(order))
    });
    let minutes = || -> BTreeMap<String, (i64, i64)> {
        let newest: BTreeMap<_, _> = records(&shop, REVENUE).into_iter().collect();
        let row = |row: Value| {
            let start = row["window_start"].as_str().unwrap();
            let group = format!("{}|{}", &start[..16], row["channel"].as_str().unwrap());
            let number = |name: &str| row[name].as_i64().unwrap();
            (group, (number("orders"), number("cents")))
        };
        let rows = newest.into_values().flatten().map(row);
        // When nobody sends any more, that of the closing orders ends as well.
        rows.filter(|(group, _)| !group.starts_with(&CLOSING_TIME[..16]))
            .collect()
    };
    shop.until("every minute of a channel is in its topic", || {
        minutes() == by_minute
    });
}
