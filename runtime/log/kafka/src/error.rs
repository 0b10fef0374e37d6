//! What librdkafka's errors mean for the log.
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tidewheel_kafka::describe;
use tidewheel_log::LogError;

/// Everything that may be better later.
pub(crate) fn unavailable(error: &KafkaError) -> LogError {
    LogError::Unavailable {
        reason: describe(error),
    }
}

/// What a call that blocks cannot say, because the runtime ended it.
pub(crate) fn ended(error: &tokio::task::JoinError) -> LogError {
    LogError::Unavailable {
        reason: format!("the call to Kafka was ended: {error}"),
    }
}

/// An error of a transaction or of its client.
pub(crate) fn of_transaction(error: &KafkaError, transactional_id: &str) -> LogError {
    match error.rdkafka_error_code() {
        Some(
            RDKafkaErrorCode::Fenced
            | RDKafkaErrorCode::ProducerFenced
            | RDKafkaErrorCode::InvalidProducerEpoch,
        ) => LogError::Fenced {
            transactional_id: transactional_id.to_owned(),
        },
        Some(RDKafkaErrorCode::TransactionalIdAuthorizationFailed) => LogError::Unavailable {
            reason: format!(
                "the user may not write under the transactional id {transactional_id}: grant Write and Describe on it"
            ),
        },
        _ => unavailable(error),
    }
}

/// Why a record was not stored.
pub(crate) fn of_record(
    code: RDKafkaErrorCode,
    topic: &str,
    partition: i32,
    size_bytes: usize,
    limit_bytes: usize,
) -> LogError {
    match code {
        RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidMessageSize => {
            LogError::TooLarge {
                size_bytes,
                limit_bytes,
            }
        }
        RDKafkaErrorCode::UnknownTopicOrPartition
        | RDKafkaErrorCode::UnknownTopic
        | RDKafkaErrorCode::UnknownPartition => LogError::UnknownPartition {
            topic: topic.to_owned(),
            partition,
        },
        RDKafkaErrorCode::InvalidRecord => LogError::Invalid {
            reason: format!(
                "topic {topic} refuses a record: if it is compacted, every record needs a key"
            ),
        },
        RDKafkaErrorCode::InvalidTopic => LogError::Invalid {
            reason: format!(
                "topic name {topic:?} is not possible: use 1 to 249 letters, digits, `.`, `_` and `-`"
            ),
        },
        RDKafkaErrorCode::TopicAuthorizationFailed => LogError::Unavailable {
            reason: format!(
                "the user may not write to topic {topic}: grant Write and Describe on it"
            ),
        },
        code => LogError::Unavailable {
            reason: format!("a record for {topic} was not stored: {code}"),
        },
    }
}
