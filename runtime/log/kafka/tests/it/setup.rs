//! A broker and a log on it.
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    types::RDKafkaErrorCode,
};
use tidewheel_e2e::kafka::{Kafka, Options};
use tidewheel_kafka::Connection;
use tidewheel_log::{Cleanup, Log, Record, TopicSettings, read_to_end};
use tidewheel_log_contract::Subject;
pub(crate) use tidewheel_log_contract::record;
use tidewheel_log_kafka::KafkaLog;

/// A log on a broker, and the administrator's side of that.
pub(crate) struct OnKafka {
    pub(crate) log: KafkaLog,
    admin: AdminClient<DefaultClientContext>,
}

/// A log on the broker that all tests share.
pub(crate) async fn shared() -> OnKafka {
    OnKafka::at(shared_broker().await)
}

/// The same, whose groups use the newer protocol.
pub(crate) async fn with_newer_groups() -> OnKafka {
    let servers = shared_broker().await;
    let properties = [
        ("bootstrap.servers", servers),
        ("group.protocol", "consumer"),
    ];
    OnKafka::with(properties, servers)
}

async fn shared_broker() -> &'static str {
    let kafka = tokio::task::spawn_blocking(|| Kafka::shared().map_err(ToString::to_string));
    kafka.await.unwrap().unwrap().bootstrap()
}

impl OnKafka {
    pub(crate) fn at(bootstrap: &str) -> Self {
        Self::with([("bootstrap.servers", bootstrap)], bootstrap)
    }

    /// With properties of the test's own; topics are made without them.
    pub(crate) fn with<'a>(
        properties: impl IntoIterator<Item = (&'a str, &'a str)>,
        bootstrap: &str,
    ) -> Self {
        let quick = [("topic.metadata.refresh.interval.ms", "1000")];
        let connection = Connection::new(quick.into_iter().chain(properties)).unwrap();
        let admin = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .create()
            .unwrap();
        Self {
            log: KafkaLog::new(connection).unwrap(),
            admin,
        }
    }
}

impl OnKafka {
    /// Makes or grows a topic with settings of the test's own.
    pub(crate) async fn create_topic_with(&self, topic: &TopicSettings, more: &[(&str, &str)]) {
        let options = AdminOptions::new();
        let cleanup = match topic.cleanup {
            Cleanup::Retention { .. } => "delete",
            Cleanup::Compact => "compact",
        };
        let new = NewTopic::new(&topic.name, topic.partitions, TopicReplication::Fixed(1))
            .set("message.timestamp.type", "LogAppendTime")
            .set("cleanup.policy", cleanup)
            .set("max.message.bytes", "8400000");
        let new = more
            .iter()
            .fold(new, |new, (name, value)| new.set(name, value));
        let made = self.admin.create_topics([&new], &options).await.unwrap();
        match &made[0] {
            Ok(_) => {}
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {
                let grown = NewPartitions::new(&topic.name, topic.partitions as usize);
                let grown = self.admin.create_partitions([&grown], &options).await;
                grown.unwrap()[0].as_ref().unwrap();
            }
            Err(error) => panic!("{error:?}"),
        }
        // Topics and partitions are there a moment after they were made.
        let is_there = || async {
            let found = self.log.topic(&topic.name).await.unwrap();
            found.is_some_and(|info| info.partitions == topic.partitions)
        };
        while !is_there().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// A new topic that keeps everything.
    pub(crate) async fn topic(&self, partitions: i32) -> String {
        let topic = TopicSettings {
            name: self.name("topic"),
            partitions,
            cleanup: Cleanup::Retention { ms: None },
        };
        self.create_topic(&topic).await;
        topic.name
    }

    /// Waits until everything up to before an offset of a partition is decided.
    pub(crate) async fn await_end(&self, topic: &str, partition: i32, end: i64) {
        let ended = async {
            while self.log.offsets(topic, partition).await.unwrap().end < end {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let ended = tokio::time::timeout(Duration::from_secs(30), ended).await;
        ended.expect("nothing ends it");
    }

    /// All records of a partition, and where the next one will be read.
    pub(crate) async fn all(&self, topic: &str, partition: i32) -> (Vec<Record>, i64) {
        let mut records = Vec::new();
        let each = |record| records.push(record);
        let next_offset = read_to_end(&self.log, topic, partition, each)
            .await
            .unwrap();
        (records, next_offset)
    }

    /// All values of a partition.
    pub(crate) async fn values(&self, topic: &str, partition: i32) -> Vec<String> {
        let (records, _) = self.all(topic, partition).await;
        records.iter().map(|record| text(&record.value)).collect()
    }
}

pub(crate) fn text(bytes: &Option<Bytes>) -> String {
    String::from_utf8(bytes.as_ref().unwrap().to_vec()).unwrap()
}

/// A broker of a test's own.
pub(crate) async fn own_broker(options: Options) -> Kafka {
    let started = tokio::task::spawn_blocking(move || Kafka::start(options));
    started.await.unwrap().unwrap()
}

#[async_trait]
impl Subject for OnKafka {
    fn log(&self) -> &dyn Log {
        &self.log
    }

    async fn create_topic(&self, settings: &TopicSettings) {
        self.create_topic_with(settings, &[]).await;
    }

    fn too_large_bytes(&self) -> usize {
        9_000_000
    }
}
