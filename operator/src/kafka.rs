//! How Kafka is reached from a namespace.
use std::collections::BTreeMap;

use parking_lot::Mutex;
use tidewheel_kafka::Connection;
use tidewheel_planner::topics::Topic;
use tidewheel_provision::kafka::{TopicError, Topics};

use crate::children::KafkaAccess;
use crate::conditions::{Aspect, Finding, Reason};
use crate::resource::Declared;
use crate::secrets;
use crate::settings::Settings;
use crate::world::World;

/// How Kafka is reached.
#[derive(Debug, Clone)]
pub(crate) struct Kafka {
    /// By pods.
    pub(crate) access: KafkaAccess,
    /// By the operator.
    pub(crate) connection: Connection,
}

/// How Kafka is reached from a namespace: as its Secret says, or as the installation does.
pub(crate) fn of_namespace(
    world: &World,
    settings: &Settings,
    namespace: &str,
) -> Result<Kafka, Finding> {
    let name = &settings.kafka_secret;
    let finding = |reason, message: String| Finding::new(Aspect::Topics, reason, message);
    let (access, properties) = match (world.secret(namespace, name), &settings.kafka_servers) {
        (Some(secret), _) => {
            let properties = secrets::properties(&secret);
            let properties =
                properties.map_err(|error| finding(Reason::SecretInvalid, error.to_string()))?;
            (KafkaAccess::Secret(name.clone()), properties)
        }
        (None, Some(servers)) => (
            KafkaAccess::Servers(servers.clone()),
            [("bootstrap.servers".to_owned(), servers.clone())].into(),
        ),
        (None, None) => {
            let message = format!(
                "nothing says where Kafka is: make a Secret `{name}` in the namespace with the key `bootstrap.servers`, or install the chart with `kafka.bootstrapServers`"
            );
            return Err(finding(Reason::KafkaUnknown, message));
        }
    };
    let connection = Connection::new(properties).map_err(|error| {
        finding(
            Reason::SecretInvalid,
            format!("the Secret `{name}`: {error}"),
        )
    })?;
    Ok(Kafka { access, connection })
}

/// Clients of Kafka: one for each namespace that has a Secret of its own, and one for all others.
#[derive(Default)]
pub(crate) struct Clients(Mutex<BTreeMap<Option<String>, (Connection, Topics)>>);

impl Clients {
    /// The client for a namespace; a new one where it is reached in another way than before.
    pub(crate) fn topics(&self, namespace: &str, kafka: &Kafka) -> Result<Topics, TopicError> {
        let key = match kafka.access {
            KafkaAccess::Secret(_) => Some(namespace.to_owned()),
            KafkaAccess::Servers(_) => None,
        };
        let mut clients = self.0.lock();
        if let Some((connection, topics)) = clients.get(&key)
            && *connection == kafka.connection
        {
            return Ok(topics.clone());
        }
        let topics = Topics::new(&kafka.connection)?;
        clients.insert(key, (kafka.connection.clone(), topics.clone()));
        Ok(topics)
    }
}

/// Those of a resource's topics that were there before it; nothing where that was written down already.
pub(crate) async fn adopted<K: Declared>(
    resource: &K,
    client: &Topics,
    topics: &[Topic],
) -> Result<Vec<String>, TopicError> {
    if resource.status().shared.adopted.is_some() {
        return Ok(Vec::new());
    }
    let there = client.existing(topics).await?;
    Ok(there.iter().map(|name| format!("topic {name}")).collect())
}

/// What an error of topics means.
pub(crate) fn finding(error: &TopicError) -> Finding {
    let reason = match error {
        TopicError::Connection { .. } => Reason::SecretInvalid,
        TopicError::Unavailable { .. } => Reason::KafkaUnavailable,
        TopicError::Refused { .. }
        | TopicError::NotThere { .. }
        | TopicError::SomebodyElses { .. }
        | TopicError::NewerPlan(_)
        | TopicError::Allotment(_) => Reason::TopicsRefused,
    };
    Finding::new(Aspect::Topics, reason, error.to_string())
}
