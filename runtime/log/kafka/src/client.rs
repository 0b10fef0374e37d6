//! What all clients have in common: how their lines are logged and their statistics kept.
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rdkafka::{
    ClientConfig, ClientContext, TopicPartitionList,
    config::{FromClientConfig, FromClientConfigAndContext, RDKafkaLogLevel},
    consumer::ConsumerContext,
    error::{KafkaError, RDKafkaErrorCode},
};
use tidewheel_kafka::{describe, log_line};
use tidewheel_log::LogError;

use crate::statistics::{Meter, Role, Statistics};

/// How long what a client said about a broker explains what does not work.
const RECENT: Duration = Duration::from_secs(30);

/// The context of a client, and what else its kind needs to know.
pub(crate) struct Context<K> {
    name: String,
    meter: Arc<Meter>,
    /// What the client said last about why it cannot reach a broker.
    trouble: Mutex<Option<(Instant, String)>>,
    pub(crate) kind: K,
}

impl<K: Send + Sync> Context<K> {
    pub(crate) fn new(statistics: &Statistics, role: Role, name: &str, kind: K) -> Self {
        Self {
            name: name.to_owned(),
            meter: statistics.register(role, name),
            trouble: Mutex::default(),
            kind,
        }
    }

    /// See [`Meter::is_with_coordinator`].
    pub(crate) fn is_with_coordinator(&self) -> bool {
        self.meter.is_with_coordinator()
    }

    /// Adds to an error that a call gave up on what the client said meanwhile: `Timed out` alone does not tell a wrong
    /// password from a broker that is away.
    pub(crate) fn explain(&self, error: LogError) -> LogError {
        let trouble = self.trouble.lock();
        match (error, trouble.as_ref()) {
            (LogError::Unavailable { reason }, Some((at, trouble))) if at.elapsed() < RECENT => {
                LogError::Unavailable {
                    reason: format!("{reason}: {trouble}"),
                }
            }
            (error, _) => error,
        }
    }
}

impl<K: Send + Sync> ClientContext for Context<K> {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log_line(&self.name, level, facility, line);
    }

    fn stats(&self, statistics: rdkafka::Statistics) {
        self.meter.keep(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code();
        if code == Some(RDKafkaErrorCode::PartitionEOF) {
            return;
        }
        tracing::debug!(target: "kafka", client = self.name, %error, "{reason}");
        let says_why = matches!(
            code,
            Some(
                RDKafkaErrorCode::Authentication
                    | RDKafkaErrorCode::SSL
                    | RDKafkaErrorCode::Resolve
                    | RDKafkaErrorCode::BrokerTransportFailure
            )
        );
        if says_why {
            *self.trouble.lock() = Some((Instant::now(), reason.to_owned()));
        }
    }
}

/// A client that asks or reads and is in no group.
#[derive(Default)]
pub(crate) struct Plain;

impl ConsumerContext for Context<Plain> {}

/// Makes a client.
pub(crate) fn create<K, T>(config: &ClientConfig, context: Context<K>) -> Result<T, LogError>
where
    K: Send + Sync,
    T: FromClientConfigAndContext<Context<K>>,
{
    config
        .create_with_context(context)
        .map_err(|error| LogError::Invalid {
            reason: describe(&error),
        })
}

/// Makes a client whose lines and statistics nobody keeps.
pub(crate) fn create_bare<T: FromClientConfig>(config: &ClientConfig) -> Result<T, LogError> {
    config.create().map_err(|error| LogError::Invalid {
        reason: describe(&error),
    })
}

/// A list of one partition.
pub(crate) fn one(topic: &str, partition: i32) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(1);
    list.add_partition(topic, partition);
    list
}
