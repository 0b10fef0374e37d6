//! What is in a topic, read as any program would read it.
use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

const PATIENCE: Duration = Duration::from_secs(30);

/// A record of it.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) appended_at_ms: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: BTreeMap<String, String>,
}

impl Found {
    /// Whether it says nothing, and only ended a transaction that the broker had forgotten to end: `docs/kafka.md` tells users of it.
    fn only_ends(&self) -> bool {
        self.value.is_none() && self.headers.contains_key("tidewheel-ended")
    }

    /// A header that says a number.
    pub(crate) fn number(&self, header: &str) -> i64 {
        self.headers[header].parse().unwrap()
    }
}

impl From<&BorrowedMessage<'_>> for Found {
    fn from(message: &BorrowedMessage<'_>) -> Self {
        let headers = message
            .headers()
            .into_iter()
            .flat_map(|headers| headers.iter());
        let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap().to_vec()).unwrap();
        Self {
            partition: message.partition(),
            offset: message.offset(),
            appended_at_ms: message.timestamp().to_millis().unwrap(),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers: headers
                .map(|header| (header.key.to_owned(), text(header.value)))
                .collect(),
        }
    }
}

/// A client that reads what is committed.
pub(crate) fn consumer(bootstrap: &str) -> BaseConsumer {
    ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "tests")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("isolation.level", "read_committed")
        .set("fetch.wait.max.ms", "20")
        .set("reconnect.backoff.max.ms", "200")
        .set("log_level", "0")
        .create()
        .unwrap()
}

/// How many partitions a topic has.
pub(crate) fn partitions(consumer: &BaseConsumer, topic: &str) -> Result<usize, KafkaError> {
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE)?;
    Ok(metadata.topics()[0].partitions().len())
}

/// All committed records of a topic that say something, each partition in its order.
pub(crate) fn read(bootstrap: &str, topic: &str) -> Vec<Found> {
    let consumer = consumer(bootstrap);
    let mut left = partitions(&consumer, topic).unwrap();
    let mut all = TopicPartitionList::new();
    for partition in 0..left {
        let partition = i32::try_from(partition).unwrap();
        all.add_partition_offset(topic, partition, Offset::Beginning)
            .unwrap();
    }
    consumer.assign(&all).unwrap();
    let mut found = Vec::new();
    while left > 0 {
        let message = consumer.poll(PATIENCE);
        match message.unwrap_or_else(|| panic!("{topic} is not read to its end")) {
            Ok(message) => found.push(Found::from(&message)),
            Err(KafkaError::PartitionEOF(_)) => left -= 1,
            Err(error) => panic!("{topic}: {error}"),
        }
    }
    let all = found.len();
    found.retain(|record| !record.only_ends());
    if found.len() < all {
        println!("{topic}: {} transactions were ended", all - found.len());
    }
    found.sort_by_key(|record| (record.partition, record.offset));
    found
}
