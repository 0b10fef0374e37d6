//! The way in.
use std::sync::Arc;

use async_trait::async_trait;
use rdkafka::{consumer::BaseConsumer, producer::BaseProducer};
use tidewheel_kafka::Connection;
use tidewheel_log::{
    Appended, Log, LogError, Member, NewRecord, Offsets, Producer, Reader, TopicInfo,
};
use tokio::sync::OnceCell;

use crate::{
    append::Appender,
    client::create_bare,
    close,
    leftovers::Leftovers,
    lookup::Lookup,
    member::KafkaMember,
    pool::Pool,
    reader::KafkaReader,
    settings::{self, Isolation},
    statistics::{ClientStatistics, Statistics},
    transaction::KafkaProducer,
    uncommitted::Uncommitted,
};

/// The log on a Kafka cluster. Clones are the same log, with the same clients.
///
/// Lives in a tokio runtime. What blocks in librdkafka runs on the runtime's threads for blocking calls.
#[derive(Clone)]
pub struct KafkaLog {
    shared: Arc<Shared>,
}

struct Shared {
    connection: Connection,
    statistics: Statistics,
    lookup: Arc<Lookup>,
    pool: Arc<Pool>,
    uncommitted: Arc<Uncommitted>,
    appender: OnceCell<Appender>,
}

impl KafkaLog {
    /// The log that a connection leads to. Does not wait for a broker: calls fail as unavailable while there is none.
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`LogError::Invalid`] for properties that librdkafka does not know or take.
    pub fn new(connection: Connection) -> Result<Self, LogError> {
        let statistics = Statistics::default();
        let lookup = Lookup::new(&connection, &statistics, Isolation::Committed)?;
        lookup.tend();
        let pool = Pool::new(&connection, &statistics, Isolation::Committed);
        let uncommitted = Uncommitted::new(&connection, &statistics);
        Ok(Self {
            shared: Arc::new(Shared {
                connection,
                statistics,
                lookup: Arc::new(lookup),
                pool: Arc::new(pool),
                uncommitted: Arc::new(uncommitted),
                appender: OnceCell::new(),
            }),
        })
    }

    /// Whether librdkafka takes the properties for what tasks need: members of groups, and transactions. Asks no broker.
    ///
    /// # Errors
    /// [`LogError::Invalid`] for properties that contradict each other there.
    pub fn check_for_tasks(&self) -> Result<(), LogError> {
        let connection = &self.shared.connection;
        let member: BaseConsumer = create_bare(&settings::member(connection, "tidewheel"))?;
        drop(close::elsewhere(member));
        let producer = settings::transactional(connection, "tidewheel");
        let producer: BaseProducer = create_bare(&producer)?;
        drop(close::elsewhere(producer));
        Ok(())
    }

    /// What each of the log's clients has done, as it reported last. A client that has just been made is not among them yet.
    #[must_use]
    pub fn statistics(&self) -> Vec<ClientStatistics> {
        self.shared.statistics.read()
    }
}

#[async_trait]
impl Log for KafkaLog {
    async fn topic(&self, topic: &str) -> Result<Option<TopicInfo>, LogError> {
        self.shared.lookup.topic(topic).await
    }

    async fn append(&self, records: Vec<NewRecord>) -> Result<Vec<Appended>, LogError> {
        let shared = &self.shared;
        shared.lookup.check_all(&records).await?;
        let appender = shared
            .appender
            .get_or_try_init(|| async { Appender::new(&shared.connection, &shared.statistics) });
        appender.await?.append(&records).await
    }

    async fn producer(&self, transactional_id: &str) -> Result<Box<dyn Producer>, LogError> {
        let shared = &self.shared;
        let producer = KafkaProducer::take_over(
            &shared.connection,
            &shared.statistics,
            shared.lookup.clone(),
            Leftovers::new(shared.lookup.clone(), shared.uncommitted.clone()),
            transactional_id,
        );
        Ok(Box::new(producer.await?))
    }

    async fn reader(
        &self,
        topic: &str,
        partition: i32,
        from: i64,
    ) -> Result<Box<dyn Reader>, LogError> {
        let shared = &self.shared;
        let reader = KafkaReader::open(shared.lookup.clone(), &shared.pool, topic, partition, from);
        Ok(Box::new(reader.await?))
    }

    async fn offsets(&self, topic: &str, partition: i32) -> Result<Offsets, LogError> {
        self.shared.lookup.offsets(topic, partition).await
    }

    async fn offset_at(
        &self,
        topic: &str,
        partition: i32,
        append_time_ms: i64,
    ) -> Result<i64, LogError> {
        self.shared
            .lookup
            .offset_at(topic, partition, append_time_ms)
            .await
    }

    async fn join(&self, group: &str, topic: &str) -> Result<Box<dyn Member>, LogError> {
        let shared = &self.shared;
        shared.lookup.check(topic, 0).await?;
        let member = KafkaMember::join(&shared.connection, &shared.statistics, group, topic)?;
        Ok(Box::new(member))
    }

    async fn delete_below(&self, topic: &str, partition: i32, offset: i64) -> Result<(), LogError> {
        self.shared
            .lookup
            .delete_below(topic, partition, offset)
            .await
    }
}
