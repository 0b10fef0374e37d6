//! Why topics are not as they should be.
use rdkafka::{error::KafkaError, types::RDKafkaErrorCode};
use tidewheel_kafka::describe;
use tidewheel_planner::generations::{NewerPlan, UnreadableAllotment};

/// Why topics are not as they should be.
#[derive(Debug, thiserror::Error)]
pub enum TopicError {
    /// The connection's properties are not possible.
    #[error("{reason}")]
    Connection {
        /// Which, and why.
        reason: String,
    },
    /// The cluster cannot be reached or does not answer; try again.
    #[error("Kafka cannot be asked: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
    },
    /// The cluster refuses.
    #[error("topic {topic}: {refusal}")]
    Refused {
        /// The topic.
        topic: String,
        /// What it refuses, and what to do.
        refusal: String,
    },
    /// An existing topic that a source names does not exist.
    #[error(
        "topic {topic}, which an EventSource names, does not exist: it is somebody else's, so it is not made here"
    )]
    NotThere {
        /// The topic.
        topic: String,
    },
    /// A topic that an output names is there already, and was not made for it.
    #[error(
        "topic {topic}, which an output names, is there already with {differing}: it is somebody else's, so it is not changed; name another topic, or make it fit yourself where nobody else needs it as it is"
    )]
    SomebodyElses {
        /// The topic.
        topic: String,
        /// What is not as it would have been made.
        differing: String,
    },
    /// A newer plan has taken over.
    #[error(transparent)]
    NewerPlan(#[from] NewerPlan),
    /// The allotment of generations cannot be read.
    #[error(transparent)]
    Allotment(#[from] UnreadableAllotment),
}

impl TopicError {
    pub(crate) fn connection(error: &KafkaError) -> Self {
        Self::Connection {
            reason: describe(error),
        }
    }

    pub(crate) fn unavailable(error: &KafkaError) -> Self {
        Self::Unavailable {
            reason: describe(error),
        }
    }

    /// What a cluster means when it refuses something of a topic.
    pub(crate) fn refused(topic: &str, doing: &str, code: RDKafkaErrorCode) -> Self {
        let advice = match code {
            RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed => {
                ": grant Create, Alter, AlterConfigs, Describe and DescribeConfigs on it"
            }
            RDKafkaErrorCode::InvalidReplicationFactor => {
                ": the cluster has fewer brokers than its `default.replication.factor`"
            }
            RDKafkaErrorCode::InvalidTopic => {
                ": names have 1 to 249 letters, digits, `.`, `_` and `-`"
            }
            RDKafkaErrorCode::PolicyViolation => ": the cluster's policy forbids it",
            _ => "",
        };
        Self::Refused {
            topic: topic.to_owned(),
            refusal: format!("{doing} failed ({code}){advice}"),
        }
    }
}
