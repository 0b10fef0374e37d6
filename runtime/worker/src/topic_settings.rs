//! The plan's topics in the words of the log.
use tidewheel_log::{Cleanup, TopicSettings};
use tidewheel_planner::topics::{self, Topic};

/// A topic of a plan as the embedded log is told to make it.
pub fn topic_settings(topic: &Topic) -> TopicSettings {
    TopicSettings {
        name: topic.name.clone(),
        partitions: i32::try_from(topic.partitions).unwrap_or(i32::MAX),
        cleanup: match topic.cleanup {
            topics::Cleanup::After(ms) => Cleanup::Retention { ms: Some(ms) },
            topics::Cleanup::Never => Cleanup::Retention { ms: None },
            topics::Cleanup::Compact => Cleanup::Compact,
        },
    }
}
