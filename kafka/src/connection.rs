//! The properties with which every client is made.
use std::{collections::BTreeMap, fmt};

use rdkafka::{ClientConfig, error::KafkaError, types::RDKafkaConfRes};

/// Names under which the servers may be given.
const SERVERS: [&str; 2] = ["bootstrap.servers", "metadata.broker.list"];

/// What each task decides for itself, or what the guarantees rest on.
const DECIDED: [&str; 12] = [
    "acks",
    "auto.offset.reset",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "isolation.level",
    "partition.assignment.strategy",
    "partitioner",
    "request.required.acks",
    "transactional.id",
];

/// How Kafka is reached: librdkafka's properties by name. Its `Debug` shows names only.
#[derive(Clone, PartialEq, Eq)]
pub struct Connection {
    properties: BTreeMap<String, String>,
}

/// Why properties are no connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionError {
    /// Nothing says where Kafka is.
    #[error("`bootstrap.servers` is missing: give the brokers as HOST:PORT, separated by commas")]
    NoServers,
    /// A property that is not the user's to set.
    #[error("the Kafka property `{name}` is decided by Tidewheel: leave it out")]
    Decided {
        /// The property.
        name: String,
    },
}

impl Connection {
    /// A connection with these properties. Whether librdkafka knows them shows when a client is made.
    ///
    /// # Errors
    /// No servers are given, or a property that Tidewheel decides.
    pub fn new<N: Into<String>, V: Into<String>>(
        properties: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self, ConnectionError> {
        let properties: BTreeMap<String, String> = properties
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        if let Some(name) = DECIDED.iter().find(|name| properties.contains_key(**name)) {
            return Err(ConnectionError::Decided {
                name: (*name).to_owned(),
            });
        }
        let has_servers = SERVERS
            .iter()
            .filter_map(|name| properties.get(*name))
            .any(|servers| !servers.trim().is_empty());
        if !has_servers {
            return Err(ConnectionError::NoServers);
        }
        Ok(Self { properties })
    }

    /// The value of a property, where the user gave one.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.properties.get(name).map(String::as_str)
    }

    /// The configuration of a client: `defaults`, which the user's properties override, and `decided`, which nothing does.
    #[must_use]
    pub fn config(&self, defaults: &[(&str, &str)], decided: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        let has_consumer_protocol = self.get("group.protocol") == Some("consumer");
        for (name, value) in defaults {
            // The newer protocol leaves these to the broker, and librdkafka refuses both together.
            let is_classic = matches!(
                *name,
                "session.timeout.ms" | "heartbeat.interval.ms" | "partition.assignment.strategy"
            );
            if !(is_classic && has_consumer_protocol) {
                config.set(*name, *value);
            }
        }
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        for (name, value) in decided {
            config.set(*name, *value);
        }
        config
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.properties.keys()).finish()
    }
}

/// What went wrong, for people, without the value of any property.
#[must_use]
pub fn describe(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, _, name, _) => {
            format!("there is no Kafka property `{name}`: look it up in librdkafka's list")
        }
        KafkaError::ClientConfig(_, _, name, _) => {
            format!("the Kafka property `{name}` cannot have the value that is given for it")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use rdkafka::consumer::BaseConsumer;

    #[test]
    fn the_users_properties_come_after_the_defaults_and_before_what_is_decided() {
        let connection =
            Connection::new([("bootstrap.servers", "a:1"), ("linger.ms", "9")]).unwrap();
        let config = connection.config(
            &[("linger.ms", "5"), ("fetch.wait.max.ms", "20")],
            &[("group.id", "g")],
        );
        assert_eq!(config.get("linger.ms"), Some("9"));
        assert_eq!(config.get("fetch.wait.max.ms"), Some("20"));
        assert_eq!(config.get("group.id"), Some("g"));
    }

    #[test]
    fn what_tidewheel_decides_cannot_be_given() {
        for (name, value) in [
            ("isolation.level", "read_uncommitted"),
            ("partition.assignment.strategy", "range"),
        ] {
            let refused = Connection::new([("bootstrap.servers", "a:1"), (name, value)]);
            assert_eq!(
                refused.unwrap_err().to_string(),
                format!("the Kafka property `{name}` is decided by Tidewheel: leave it out")
            );
        }
        let nowhere = Connection::new([("bootstrap.servers", " ")]);
        assert_eq!(nowhere.unwrap_err(), ConnectionError::NoServers);
    }

    #[test]
    fn the_newer_group_protocol_takes_nothing_of_the_classic_one_from_us() {
        let connection =
            Connection::new([("bootstrap.servers", "a:1"), ("group.protocol", "consumer")])
                .unwrap();
        let classic = [
            ("session.timeout.ms", "6000"),
            ("partition.assignment.strategy", "cooperative-sticky"),
        ];
        let config = connection.config(&classic, &[]);
        for (name, _) in classic {
            assert_eq!(config.get(name), None, "{name}");
        }
    }

    #[test]
    fn no_message_shows_a_value() {
        let secret = "hunter2";
        for name in ["sasl.passwort", "socket.timeout.ms", "ssl.key.pem"] {
            let connection =
                Connection::new([("bootstrap.servers", "a:1"), (name, secret)]).unwrap();
            assert!(!format!("{connection:?}").contains(secret));
            let made = connection.config(&[], &[]).create::<BaseConsumer>();
            if let Err(error) = made {
                let message = describe(&error);
                assert!(!message.contains(secret), "{message}");
                assert!(name == "ssl.key.pem" || message.contains(name), "{message}");
            } else {
                assert_eq!(name, "ssl.key.pem", "refused when it is used");
            }
        }
    }
}
