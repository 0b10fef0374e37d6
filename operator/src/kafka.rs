//! How Kafka is reached from a namespace.
use std::collections::BTreeMap;

use parking_lot::Mutex;
use tidewheel_kafka::Connection;
use tidewheel_planner::topics::Topic;
use tidewheel_provision::kafka::{TopicError, Topics};

use crate::children::KafkaAccess;
use crate::conditions::{Aspect, Finding, Reason};
use crate::context::Context;
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

    /// Drops the clients of namespaces that have no Secret of their own any more: each has threads and connections.
    pub(crate) fn retain(&self, has_secret: impl Fn(&str) -> bool) {
        let is_used = |namespace: &Option<String>| namespace.as_deref().is_none_or(&has_secret);
        self.0.lock().retain(|namespace, _| is_used(namespace));
    }
}

/// How Kafka is reached to delete data: as it was last, where the Secret that said so is gone already.
fn to_delete<K: Declared>(resource: &K, context: &Context) -> Result<Kafka, Finding> {
    let (settings, namespace) = (&context.settings, resource.namespace());
    let uid = resource.uid();
    let is_there = context
        .world
        .secret(namespace, &settings.kafka_secret)
        .is_some();
    let before = context.reached.kafka(uid).filter(|before| {
        let was_secret = matches!(before.access, KafkaAccess::Secret(_));
        was_secret && !is_there
    });
    before.map_or_else(|| of_namespace(&context.world, settings, namespace), Ok)
}

/// A client for the Kafka that has the topics of a resource, to delete them; why there is none.
pub(crate) async fn client_to_delete<K: Declared>(
    resource: &K,
    context: &Context,
) -> Result<Topics, String> {
    let kafka = to_delete(resource, context).map_err(|finding| finding.message)?;
    let client = context.kafka.topics(resource.namespace(), &kafka);
    let client = client.map_err(|error| error.to_string())?;
    let met = cluster(resource, &client).await;
    met.map_err(|finding| finding.message)?;
    Ok(client)
}

/// The id of the cluster that a client leads to; what is wrong where the topics of the resource are in another one.
pub(crate) async fn cluster<K: Declared>(resource: &K, client: &Topics) -> Result<String, Finding> {
    let now = client.cluster().await.map_err(|error| finding(&error))?;
    match resource.status().shared.kafka_cluster {
        Some(before) if before != now => {
            let message = format!(
                "this is another Kafka (cluster id {now}) than the one with its topics and progress ({before}), so nothing is made or read there: have the namespace reach that one again; or delete the resource and make it again, to begin anew"
            );
            Err(Finding::new(Aspect::Topics, Reason::KafkaChanged, message))
        }
        _ => Ok(now),
    }
}

/// Those of a resource's topics that were there before it; nothing where Kafka was asked that before.
pub(crate) async fn adopted<K: Declared>(
    resource: &K,
    client: &Topics,
    topics: &[Topic],
) -> Result<Vec<String>, Finding> {
    if resource.status().shared.kafka_cluster.is_some() {
        return Ok(Vec::new());
    }
    let there = client.existing(topics).await;
    let there = there.map_err(|error| finding(&error))?;
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_without_a_secret_of_its_own_has_no_client_of_its_own() {
        let servers = "127.0.0.1:1".to_owned();
        let connection = Connection::new([("bootstrap.servers", servers.clone())]);
        let connection = connection.unwrap();
        let (all, own) = (
            KafkaAccess::Servers(servers),
            KafkaAccess::Secret("kafka".to_owned()),
        );
        let of = |access: &KafkaAccess| Kafka {
            access: access.clone(),
            connection: connection.clone(),
        };
        let clients = Clients::default();
        for (namespace, access) in [("a", &all), ("b", &own), ("c", &own)] {
            clients.topics(namespace, &of(access)).unwrap();
        }
        clients.retain(|namespace| namespace == "c");
        let kept: Vec<Option<String>> = clients.0.lock().keys().cloned().collect();
        assert_eq!(kept, [None, Some("c".to_owned())]);
    }
}
