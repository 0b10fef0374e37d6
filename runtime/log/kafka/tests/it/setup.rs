//! A broker and a log on it.
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    types::RDKafkaErrorCode,
};
use tidewheel_e2e::kafka::Kafka;
use tidewheel_kafka::Connection;
use tidewheel_log::{Cleanup, Log, TopicSettings};
use tidewheel_log_contract::Subject;
use tidewheel_log_kafka::KafkaLog;

/// A log on a broker, and the administrator's side of that.
pub(crate) struct OnKafka {
    pub(crate) log: KafkaLog,
    admin: AdminClient<DefaultClientContext>,
}

/// A log on the broker that all tests share.
pub(crate) async fn shared() -> OnKafka {
    let kafka = tokio::task::spawn_blocking(|| Kafka::shared().map_err(ToString::to_string));
    OnKafka::at(kafka.await.unwrap().unwrap().bootstrap())
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

#[async_trait]
impl Subject for OnKafka {
    fn log(&self) -> &dyn Log {
        &self.log
    }

    fn name(&self, stem: &str) -> String {
        static NAMES: AtomicU32 = AtomicU32::new(0);
        format!("{stem}-{}", NAMES.fetch_add(1, Ordering::Relaxed))
    }

    async fn create_topic(&self, settings: &TopicSettings) {
        let options = AdminOptions::new();
        let cleanup = match settings.cleanup {
            Cleanup::Retention { .. } => "delete",
            Cleanup::Compact => "compact",
        };
        let new = NewTopic::new(
            &settings.name,
            settings.partitions,
            TopicReplication::Fixed(1),
        )
        .set("message.timestamp.type", "LogAppendTime")
        .set("cleanup.policy", cleanup)
        .set("max.message.bytes", "8400000");
        let made = self.admin.create_topics([&new], &options).await.unwrap();
        match &made[0] {
            Ok(_) => {}
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {
                let more = NewPartitions::new(&settings.name, settings.partitions as usize);
                let grown = self
                    .admin
                    .create_partitions([&more], &options)
                    .await
                    .unwrap();
                grown[0].as_ref().unwrap();
            }
            Err(error) => panic!("{error:?}"),
        }
        // Topics and partitions are there a moment after they were made.
        while self
            .log
            .topic(&settings.name)
            .await
            .unwrap()
            .is_none_or(|info| info.partitions != settings.partitions)
        {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }

    fn too_large_bytes(&self) -> usize {
        9_000_000
    }
}
