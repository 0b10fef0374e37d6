//! What librdkafka counts, as plain values.
use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// How long a coordinator takes at most to tell a member what is for it, ms.
const SETTLED_MS: i64 = 1_000;

/// What a client is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Appends outside of transactions.
    Append,
    /// Asks for topics and offsets.
    Lookup,
    /// Is a member of a consumer group.
    Member,
    /// Reads partitions.
    Reader,
    /// Commits transactions.
    Transactions,
}

impl Role {
    /// The role as a label of metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Lookup => "lookup",
            Self::Member => "member",
            Self::Reader => "reader",
            Self::Transactions => "transactions",
        }
    }
}

/// What a client has done so far, as of its last report (every 5 s unless `statistics.interval.ms` says otherwise).
#[derive(Debug, Clone)]
pub struct ClientStatistics {
    /// What it is for.
    pub role: Role,
    /// Its transactional id or group; empty for the others.
    pub name: String,
    /// How old these figures are.
    pub age: Duration,
    /// Brokers that it has a connection to.
    pub brokers_connected: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Requests sent.
    pub requests: u64,
    /// Requests that failed to be sent, were answered with garbage, or not in time.
    pub request_failures: u64,
    /// Records sent.
    pub sent_records: u64,
    /// Records received.
    pub received_records: u64,
    /// Records that wait to be sent or acknowledged.
    pub queued_records: u64,
    /// Their size, bytes.
    pub queued_bytes: u64,
    /// The slowest broker's average time to answer, over the last interval.
    pub round_trip: Duration,
    /// How often its group was rebalanced; members only.
    pub rebalances: u64,
    /// Partitions that it reads.
    pub partitions: Vec<PartitionStatistics>,
}

/// What a client knows of a partition that it reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionStatistics {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// Records that were read ahead.
    pub prefetched_records: u64,
    /// Their size, bytes.
    pub prefetched_bytes: u64,
    /// How many offsets lie between the last record that was taken and the end of what is committed; none while unknown.
    pub lag: Option<u64>,
}

/// The meters of all clients of a log.
#[derive(Debug, Clone, Default)]
pub(crate) struct Statistics(Arc<Mutex<Vec<Weak<Meter>>>>);

/// Where a client leaves its statistics; gone with the client.
#[derive(Debug)]
pub(crate) struct Meter {
    role: Role,
    name: String,
    last: Mutex<Option<(Instant, Box<rdkafka::Statistics>)>>,
}

impl Statistics {
    pub(crate) fn register(&self, role: Role, name: &str) -> Arc<Meter> {
        let meter = Arc::new(Meter {
            role,
            name: name.to_owned(),
            last: Mutex::default(),
        });
        let mut meters = self.0.lock();
        meters.retain(|meter| meter.strong_count() > 0);
        meters.push(Arc::downgrade(&meter));
        meter
    }

    pub(crate) fn read(&self) -> Vec<ClientStatistics> {
        let meters = self.0.lock();
        meters
            .iter()
            .filter_map(|meter| meter.upgrade()?.read())
            .collect()
    }
}

impl Meter {
    pub(crate) fn keep(&self, statistics: rdkafka::Statistics) {
        *self.last.lock() = Some((Instant::now(), Box::new(statistics)));
    }

    /// Whether the client of a member has been in touch with its group's coordinator for a while.
    pub(crate) fn is_with_coordinator(&self) -> bool {
        let last = self.last.lock();
        let group = last.as_ref().and_then(|(_, last)| last.cgrp.as_ref());
        group.is_some_and(|group| group.state == "up" && group.stateage >= SETTLED_MS)
    }

    fn read(&self) -> Option<ClientStatistics> {
        let last = self.last.lock();
        let (at, statistics) = last.as_ref()?;
        let brokers = || statistics.brokers.values();
        let round_trip_us = brokers()
            .filter_map(|broker| Some(broker.rtt.as_ref()?.avg))
            .max();
        Some(ClientStatistics {
            role: self.role,
            name: self.name.clone(),
            age: at.elapsed(),
            brokers_connected: brokers().filter(|broker| broker.state == "UP").count() as u64,
            sent_bytes: count(statistics.tx_bytes),
            received_bytes: count(statistics.rx_bytes),
            requests: count(statistics.tx),
            request_failures: brokers()
                .map(|broker| broker.txerrs + broker.rxerrs + broker.req_timeouts)
                .sum(),
            sent_records: count(statistics.txmsgs),
            received_records: count(statistics.rxmsgs),
            queued_records: statistics.msg_cnt,
            queued_bytes: statistics.msg_size,
            round_trip: Duration::from_micros(count(round_trip_us.unwrap_or_default())),
            rebalances: statistics
                .cgrp
                .as_ref()
                .map_or(0, |group| count(group.rebalance_cnt)),
            partitions: partitions(statistics),
        })
    }
}

fn partitions(statistics: &rdkafka::Statistics) -> Vec<PartitionStatistics> {
    let topics = statistics.topics.values();
    let mut partitions: Vec<_> = topics
        .flat_map(|topic| topic.partitions.values().map(move |one| (topic, one)))
        .filter(|(_, partition)| partition.fetch_state == "active")
        .map(|(topic, partition)| PartitionStatistics {
            topic: topic.topic.clone(),
            partition: partition.partition,
            prefetched_records: count(partition.fetchq_cnt),
            prefetched_bytes: partition.fetchq_size,
            lag: (partition.ls_offset >= 0 && partition.app_offset >= 0)
                .then(|| count(partition.ls_offset - partition.app_offset)),
        })
        .collect();
    partitions.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
    partitions
}

/// librdkafka counts with signed numbers, of which the negative ones mean that nothing is known.
fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
