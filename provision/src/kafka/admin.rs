//! The client with which the cluster is asked and told.
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rdkafka::{
    ClientContext,
    admin::{
        AdminClient, AdminOptions, AlterConfig, ConfigEntry, NewPartitions, NewTopic,
        ResourceSpecifier, TopicReplication,
    },
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext},
    error::KafkaError,
    types::RDKafkaErrorCode,
};
use tidewheel_kafka::{Connection, log_line};
use tidewheel_planner::topics::Topic;

use crate::kafka::{TopicError, settings::Setting, topics::Found};

/// How long the cluster may take to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// What a topic says when nothing is said about how many replicas: the cluster's own default.
const REPLICAS_OF_THE_CLUSTER: i32 = -1;

/// A topic that no cluster lacks once somebody reads in a group; to ask for one that is not there does not make it.
const ALWAYS_THERE: &str = "__consumer_offsets";

#[derive(Default)]
pub(crate) struct Context {
    /// What the client said last about a connection that failed.
    trouble: Mutex<Option<String>>,
}

impl Context {
    /// An error with what the client said: `Local: Broker transport failure` does not tell a wrong certificate from a broker that is away.
    pub(crate) fn unavailable(&self, error: &KafkaError) -> TopicError {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        match (TopicError::unavailable(error), trouble.as_ref()) {
            (TopicError::Unavailable { reason }, Some(trouble)) => TopicError::Unavailable {
                reason: format!("{reason}: {trouble}"),
            },
            (error, _) => error,
        }
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log_line("provision", level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "kafka", client = "provision", %error, "{reason}");
        // What is said last is that all brokers are down, which tells less.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
            *trouble = Some(reason.to_owned());
        }
    }
}

impl ConsumerContext for Context {}

/// Asks and tells the cluster. Each call is one request.
#[derive(Clone)]
pub(crate) struct Admin {
    client: Arc<AdminClient<Context>>,
    /// Asks for topics: a client for administration does not pass on why it cannot connect.
    asking: Arc<BaseConsumer<Context>>,
}

impl Admin {
    pub(crate) fn new(connection: &Connection) -> Result<Self, TopicError> {
        let config = connection.config(&[("client.id", "tidewheel")], &[]);
        let connection = |error: KafkaError| TopicError::connection(&error);
        let client = config.create_with_context(Context::default());
        let asking = config.create_with_context(Context::default());
        Ok(Self {
            client: Arc::new(client.map_err(connection)?),
            asking: Arc::new(asking.map_err(connection)?),
        })
    }

    /// A topic as it is; none where it does not exist.
    pub(crate) async fn find(&self, topic: &str) -> Result<Option<Found>, TopicError> {
        let (asking, name) = (self.asking.clone(), topic.to_owned());
        let asked = tokio::task::spawn_blocking(move || {
            let metadata = asking
                .fetch_metadata(Some(&name), PATIENCE)
                .inspect_err(|_| serve(&asking))?;
            let topic = metadata.topics().iter().find(|topic| topic.name() == name);
            let Some(topic) = topic else {
                return Ok(None);
            };
            let partitions = topic.partitions();
            match topic.error().map(RDKafkaErrorCode::from) {
                None => Ok(Some(Found {
                    partitions: u32::try_from(partitions.len()).unwrap_or(u32::MAX),
                    replicas: partitions
                        .iter()
                        .map(|partition| partition.replicas().len())
                        .min()
                        .unwrap_or_default(),
                })),
                Some(
                    RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic,
                ) => Ok(None),
                Some(code) => Err(KafkaError::MetadataFetch(code)),
            }
        });
        let found = asked.await.unwrap_or(Err(KafkaError::Canceled));
        found.map_err(|error| match error.rdkafka_error_code() {
            Some(
                code
                @ (RDKafkaErrorCode::InvalidTopic | RDKafkaErrorCode::TopicAuthorizationFailed),
            ) => TopicError::refused(topic, "asking for it", code),
            _ => self.context().unavailable(&error),
        })
    }

    fn context(&self) -> &Context {
        self.asking.context()
    }

    /// The answer about the only thing that was asked about.
    fn first<T>(&self, answers: Result<Vec<T>, KafkaError>) -> Result<T, TopicError> {
        let mut answers = answers.map_err(|error| self.context().unavailable(&error))?;
        answers.pop().ok_or_else(|| TopicError::Unavailable {
            reason: "the cluster did not answer".to_owned(),
        })
    }

    /// Makes a topic; whether it was not there.
    pub(crate) async fn create(
        &self,
        topic: &Topic,
        settings: &[Setting],
    ) -> Result<bool, TopicError> {
        let replication = TopicReplication::Fixed(REPLICAS_OF_THE_CLUSTER);
        let partitions = i32::try_from(topic.partitions).unwrap_or(i32::MAX);
        let mut new = NewTopic::new(&topic.name, partitions, replication);
        for (name, value) in settings {
            new = new.set(name, value);
        }
        let created = self.client.create_topics([&new], &options()).await;
        match self.first(created)? {
            Ok(_) => Ok(true),
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => Ok(false),
            Err((_, code)) => Err(TopicError::refused(&topic.name, "making it", code)),
        }
    }

    /// Adds partitions up to `partitions`.
    pub(crate) async fn grow(&self, topic: &str, partitions: u32) -> Result<(), TopicError> {
        let more = NewPartitions::new(topic, partitions as usize);
        let grown = self.client.create_partitions([&more], &options()).await;
        match self.first(grown)? {
            Ok(_) => Ok(()),
            Err((_, code)) => Err(TopicError::refused(topic, "adding partitions", code)),
        }
    }

    /// The names of all topics.
    pub(crate) async fn names(&self) -> Result<Vec<String>, TopicError> {
        let asking = self.asking.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let metadata = asking
                .fetch_metadata(None, PATIENCE)
                .inspect_err(|_| serve(&asking))?;
            let names = metadata
                .topics()
                .iter()
                .map(|topic| topic.name().to_owned());
            Ok(names.collect())
        });
        let names = asked.await.unwrap_or(Err(KafkaError::Canceled));
        names.map_err(|error| self.context().unavailable(&error))
    }

    /// The id of the cluster.
    pub(crate) async fn cluster(&self) -> Result<String, TopicError> {
        let asking = self.asking.clone();
        let asked = tokio::task::spawn_blocking(move || {
            // The client remembers whom it has met: this makes it ask.
            asking
                .fetch_metadata(Some(ALWAYS_THERE), PATIENCE)
                .inspect_err(|_| serve(&asking))?;
            Ok(asking.client().fetch_cluster_id(PATIENCE))
        });
        let id = asked.await.unwrap_or(Err(KafkaError::Canceled));
        let id = id.map_err(|error| self.context().unavailable(&error))?;
        id.ok_or_else(|| TopicError::Unavailable {
            reason: "the cluster does not say its id".to_owned(),
        })
    }

    /// Deletes a topic; whether it was there.
    pub(crate) async fn delete(&self, topic: &str) -> Result<bool, TopicError> {
        let deleted = self.client.delete_topics(&[topic], &options()).await;
        match self.first(deleted)? {
            Ok(_) => Ok(true),
            Err((
                _,
                RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic,
            )) => Ok(false),
            Err((_, code)) => Err(TopicError::refused(topic, "deleting it", code)),
        }
    }

    /// Deletes a consumer group; whether it was there.
    pub(crate) async fn delete_group(&self, group: &str) -> Result<bool, TopicError> {
        let deleted = self.client.delete_groups(&[group], &options()).await;
        match self.first(deleted)? {
            Ok(_) => Ok(true),
            Err((_, RDKafkaErrorCode::GroupIdNotFound)) => Ok(false),
            Err((_, code)) => Err(TopicError::refused(
                group,
                "deleting the consumer group",
                code,
            )),
        }
    }

    /// The settings of a topic as they are in effect.
    pub(crate) async fn settings(&self, topic: &str) -> Result<Vec<ConfigEntry>, TopicError> {
        let topics = [ResourceSpecifier::Topic(topic)];
        let described = self.client.describe_configs(&topics, &options()).await;
        match self.first(described)? {
            Ok(resource) => Ok(resource.entries),
            Err(code) => Err(TopicError::refused(topic, "reading its settings", code)),
        }
    }

    /// Gives a topic these settings, and takes all others from it that were given to it.
    pub(crate) async fn replace_settings(
        &self,
        topic: &str,
        settings: &[(&str, &str)],
    ) -> Result<(), TopicError> {
        let mut altered = AlterConfig::new(ResourceSpecifier::Topic(topic));
        for (name, value) in settings {
            altered = altered.set(name, value);
        }
        let altered = self.client.alter_configs([&altered], &options()).await;
        match self.first(altered)? {
            Ok(_) => Ok(()),
            Err((_, code)) => Err(TopicError::refused(topic, "changing its settings", code)),
        }
    }
}

fn options() -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(PATIENCE))
        .operation_timeout(Some(PATIENCE))
}

/// Has a client tell its context what it has to say. Each poll takes one thing.
fn serve(client: &BaseConsumer<Context>) {
    const AT_ONCE: usize = 64;
    for _ in 0..AT_ONCE {
        client.poll(Duration::ZERO);
    }
}
