//! What the Kafka clients of this process do, as librdkafka counts it.
use std::collections::BTreeMap;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{MetricFamily, MetricType};
use tidewheel_log_kafka::{ClientStatistics, KafkaLog};

use super::family::Declared;

/// A number of a client.
type Value = fn(&ClientStatistics) -> f64;
/// How the numbers of clients with the same labels become one.
type Fold = fn(f64, f64) -> f64;

const VALUES: [(Declared, Value, Fold); 8] = [
    (
        gauge(
            "tidewheel_kafka_brokers_connected",
            "Brokers that the client has a connection to.",
        ),
        |client| client.brokers_connected as f64,
        f64::min,
    ),
    (
        counter("tidewheel_kafka_sent_bytes_total", "Bytes sent."),
        |client| client.sent_bytes as f64,
        plus,
    ),
    (
        counter("tidewheel_kafka_received_bytes_total", "Bytes received."),
        |client| client.received_bytes as f64,
        plus,
    ),
    (
        counter("tidewheel_kafka_requests_total", "Requests sent."),
        |client| client.requests as f64,
        plus,
    ),
    (
        counter(
            "tidewheel_kafka_request_failures_total",
            "Requests that failed to be sent, or were not answered properly or in time.",
        ),
        |client| client.request_failures as f64,
        plus,
    ),
    (
        gauge(
            "tidewheel_kafka_queued_records",
            "Records that wait to be sent or acknowledged.",
        ),
        |client| client.queued_records as f64,
        plus,
    ),
    (
        gauge(
            "tidewheel_kafka_round_trip_seconds",
            "The slowest broker's average time to answer, over the last interval.",
        ),
        |client| client.round_trip.as_secs_f64(),
        f64::max,
    ),
    (
        counter(
            "tidewheel_kafka_rebalances_total",
            "How often the consumer group was rebalanced.",
        ),
        |client| client.rebalances as f64,
        plus,
    ),
];

const fn counter(name: &'static str, help: &'static str) -> Declared {
    declared(name, help, MetricType::COUNTER)
}

const fn gauge(name: &'static str, help: &'static str) -> Declared {
    declared(name, help, MetricType::GAUGE)
}

const fn declared(name: &'static str, help: &'static str, kind: MetricType) -> Declared {
    Declared {
        name,
        help,
        kind,
        labels: &["role", "name"],
    }
}

fn plus(a: f64, b: f64) -> f64 {
    a + b
}

/// What the Kafka clients of this process do.
pub(crate) struct KafkaMetrics {
    log: KafkaLog,
    descs: Vec<Desc>,
}

impl KafkaMetrics {
    pub(crate) fn new(log: KafkaLog) -> prometheus::Result<Self> {
        let descs = VALUES.iter().map(|(declared, ..)| declared.desc());
        Ok(Self {
            log,
            descs: descs.collect::<Result<_, _>>()?,
        })
    }
}

impl Collector for KafkaMetrics {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let clients = self.log.statistics();
        let family = |(declared, value, fold): &(Declared, Value, Fold)| {
            // Readers have no names of their own.
            let mut series: BTreeMap<(&str, &str), f64> = BTreeMap::new();
            for client in &clients {
                let value = value(client);
                series
                    .entry((client.role.label(), &client.name))
                    .and_modify(|other| *other = fold(*other, value))
                    .or_insert(value);
            }
            let series = series.iter();
            let series = series.map(|((role, name), value)| declared.value(&[role, name], *value));
            declared.family(series.collect())
        };
        let families = VALUES.iter().map(family);
        families
            .filter(|family| !family.get_metric().is_empty())
            .collect()
    }
}
