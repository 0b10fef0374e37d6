//! The log: embedded, or the Kafka that `--kafka` names, whose topics are made here as well.
use std::collections::BTreeMap;
use std::sync::Arc;

use tidewheel_log::{EmbeddedLog, Log};
use tidewheel_log_kafka::KafkaLog;
use tidewheel_planner::plan::Plan;
use tidewheel_planner::topics::Topic;
use tidewheel_provision::kafka::{TopicError, Topics};
use tidewheel_worker::topic_settings;

use crate::failure::Failure;
use crate::roles::kafka::KafkaPlace;

/// The log, and who makes its topics.
pub(crate) enum DevLog {
    Embedded(EmbeddedLog),
    Kafka { log: KafkaLog, topics: Topics },
}

impl DevLog {
    /// The log on Kafka.
    pub(crate) fn on_kafka(place: &KafkaPlace) -> Result<Self, Failure> {
        let connection = place.connection()?;
        Ok(Self::Kafka {
            topics: Topics::new(&connection)?,
            log: KafkaLog::new(connection)?,
        })
    }

    /// As everybody takes it.
    pub(crate) fn shared(&self) -> Arc<dyn Log> {
        match self {
            Self::Embedded(log) => Arc::new(log.clone()),
            Self::Kafka { log, .. } => Arc::new(log.clone()),
        }
    }

    /// Makes topics that are not there, and brings on Kafka those in line that are.
    pub(crate) async fn make(&self, wanted: &[Topic]) -> Result<(), Failure> {
        match self {
            Self::Embedded(log) => {
                for topic in wanted {
                    log.create_topic(&topic_settings(topic))?;
                }
            }
            Self::Kafka { topics, .. } => drop(topics.ensure(wanted).await?),
        }
        Ok(())
    }

    /// Looks for existing topics. Where nobody else can have made them, they are made.
    pub(crate) async fn find(&self, existing: &[Topic]) -> Result<(), Failure> {
        for topic in existing {
            match self {
                Self::Embedded(log) => {
                    if log.topic(&topic.name).await?.is_none() {
                        log.create_topic(&topic_settings(topic))?;
                    }
                }
                Self::Kafka { topics, .. } => {
                    if topics.find(&topic.name).await?.is_none() {
                        let topic = topic.name.clone();
                        return Err(TopicError::NotThere { topic }.into());
                    }
                }
            }
        }
        Ok(())
    }

    /// A plan with the partitions that the existing topics have which it reads.
    pub(crate) async fn with_existing(&self, plan: &Plan) -> Result<Plan, Failure> {
        let log = self.shared();
        let mut partitions = BTreeMap::new();
        for topic in plan.existing_topics() {
            if let Some(info) = log.topic(topic).await? {
                partitions.insert(topic.to_owned(), info.partitions.unsigned_abs());
            }
        }
        Ok(plan.with_partitions(&partitions))
    }

    /// Forgets what retention no longer keeps; Kafka does that by itself.
    pub(crate) fn tidy(&self) {
        if let Self::Embedded(log) = self
            && let Err(error) = log.maintain()
        {
            tracing::warn!(%error, "the log was not tidied up");
        }
    }
}
