//! Somebody else's programs on the same Kafka. They know nothing of Tidewheel.
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::admin::{
    AdminClient, AdminOptions, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Headers as _, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

/// How long Kafka may take to do anything.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Which records a consumer wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Isolation {
    Committed,
    Uncommitted,
}

/// A record to be written.
#[derive(Debug, Clone, Default)]
pub(crate) struct Out {
    pub(crate) partition: Option<i32>,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(&'static str, Option<Vec<u8>>)>,
    pub(crate) timestamp_ms: Option<i64>,
}

/// A record as a consumer gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct In {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) timestamp_ms: Option<i64>,
    pub(crate) key: Option<String>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, String)>,
}

impl In {
    /// The value of the last header of that name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter().rev();
        let (_, value) = headers.find(|(own, _)| own == name)?;
        Some(value)
    }

    /// A header that is a number.
    pub(crate) fn number(&self, name: &str) -> i64 {
        self.header(name).unwrap().parse().unwrap()
    }

    pub(crate) fn json(&self) -> Option<serde_json::Value> {
        let value = self.value.as_ref()?;
        Some(serde_json::from_slice(value).unwrap())
    }
}

/// What a topic is: its partitions, and the settings that are in effect, by name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Described {
    pub(crate) partitions: usize,
    pub(crate) settings: BTreeMap<String, Option<String>>,
}

pub(crate) struct Foreign {
    servers: String,
    admin: AdminClient<DefaultClientContext>,
}

impl Foreign {
    pub(crate) fn at(servers: &str) -> Self {
        let admin = ClientConfig::new()
            .set("bootstrap.servers", servers)
            .create()
            .unwrap();
        Self {
            servers: servers.to_owned(),
            admin,
        }
    }

    fn config(&self, properties: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.servers);
        for (name, value) in properties {
            config.set(*name, *value);
        }
        config
    }

    pub(crate) async fn make(&self, topic: &str, partitions: i32, settings: &[(&str, &str)]) {
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        let new = settings
            .iter()
            .fold(new, |new, (name, value)| new.set(name, value));
        let made = self.admin.create_topics([&new], &AdminOptions::new()).await;
        made.unwrap()[0].as_ref().unwrap();
        self.until_it_has(topic, partitions as usize).await;
    }

    pub(crate) async fn grow(&self, topic: &str, partitions: usize) {
        let more = NewPartitions::new(topic, partitions);
        let options = AdminOptions::new();
        let grown = self.admin.create_partitions([&more], &options).await;
        grown.unwrap()[0].as_ref().unwrap();
        self.until_it_has(topic, partitions).await;
    }

    async fn until_it_has(&self, topic: &str, partitions: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.partitions(topic) < partitions {
            assert!(Instant::now() < deadline, "{topic} is not there");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn partitions(&self, topic: &str) -> usize {
        let metadata = self.admin.inner().fetch_metadata(Some(topic), PATIENCE);
        let metadata = metadata.unwrap();
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        found.map_or(0, |found| found.partitions().len())
    }

    pub(crate) async fn describe(&self, topic: &str) -> Described {
        let topics = [ResourceSpecifier::Topic(topic)];
        let described = self.admin.describe_configs(&topics, &AdminOptions::new());
        let entries = described.await.unwrap().remove(0).unwrap().entries;
        let settings = entries.into_iter().map(|entry| (entry.name, entry.value));
        Described {
            partitions: self.partitions(topic),
            settings: settings.collect(),
        }
    }

    /// A producer with properties of its own.
    pub(crate) fn producer(&self, properties: &[(&str, &str)]) -> ForeignProducer {
        ForeignProducer(self.config(properties).create().unwrap())
    }

    /// Everything that a topic holds now, partition by partition.
    pub(crate) fn read(&self, topic: &str, isolation: Isolation) -> Vec<In> {
        let isolation = match isolation {
            Isolation::Committed => "read_committed",
            Isolation::Uncommitted => "read_uncommitted",
        };
        let consumer: BaseConsumer = self
            .config(&[
                ("group.id", "somebody-elses"),
                ("isolation.level", isolation),
                ("enable.auto.commit", "false"),
                ("enable.partition.eof", "true"),
            ])
            .create()
            .unwrap();
        let partitions = self.partitions(topic);
        let mut from_the_beginning = TopicPartitionList::new();
        for partition in 0..partitions {
            let place =
                from_the_beginning.add_partition_offset(topic, partition as i32, Offset::Beginning);
            place.unwrap();
        }
        consumer.assign(&from_the_beginning).unwrap();
        let (mut records, mut ended) = (Vec::new(), 0);
        while ended < partitions {
            match consumer.poll(PATIENCE).expect("the consumer gets nothing") {
                Ok(message) => records.push(received(&message)),
                Err(KafkaError::PartitionEOF(_)) => ended += 1,
                Err(error) => panic!("{error}"),
            }
        }
        records.sort_by_key(|record| (record.partition, record.offset));
        records
    }
}

fn received(message: &rdkafka::message::BorrowedMessage<'_>) -> In {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers = message.headers().into_iter();
    let headers = headers.flat_map(|headers| headers.iter());
    In {
        partition: message.partition(),
        offset: message.offset(),
        timestamp_ms: message.timestamp().to_millis(),
        key: message.key().map(text),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers
            .map(|header| {
                (
                    header.key.to_owned(),
                    text(header.value.unwrap_or_default()),
                )
            })
            .collect(),
    }
}

pub(crate) struct ForeignProducer(BaseProducer);

impl ForeignProducer {
    /// Writes records and waits until Kafka has them.
    pub(crate) fn send(&self, topic: &str, records: &[Out]) {
        records.iter().for_each(|record| self.begin(topic, record));
        self.0.flush(PATIENCE).unwrap();
    }

    /// Begins the life of a transactional producer.
    pub(crate) fn init(self) -> Self {
        self.0.init_transactions(PATIENCE).unwrap();
        self
    }

    /// Writes records in a transaction, and ends it.
    pub(crate) fn transact(&self, topic: &str, records: &[Out], commits: bool) {
        self.0.begin_transaction().unwrap();
        self.send(topic, records);
        let ended = match commits {
            true => self.0.commit_transaction(PATIENCE),
            false => self.0.abort_transaction(PATIENCE),
        };
        ended.unwrap();
    }

    fn begin(&self, topic: &str, record: &Out) {
        let mut base: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic);
        base.partition = record.partition;
        base.key = record.key.as_deref();
        base.payload = record.value.as_deref();
        base.timestamp = record.timestamp_ms;
        if !record.headers.is_empty() {
            let headers = record.headers.iter().map(|(key, value)| Header {
                key,
                value: value.as_deref(),
            });
            base.headers = Some(headers.fold(OwnedHeaders::new(), OwnedHeaders::insert));
        }
        let mut outcome = self.0.send(base);
        while let Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), base)) = outcome
        {
            self.0.poll(LOOK_EVERY);
            outcome = self.0.send(base);
        }
        outcome.map_err(|(error, _)| error).unwrap();
    }
}
