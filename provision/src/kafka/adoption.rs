//! Topics that are there already under a name that a user chose for an output: whether they are as one that was made for it.
use rdkafka::admin::ConfigEntry;
use tidewheel_planner::topics::Topic;

use crate::kafka::{Found, TopicError, settings::Setting};

/// What is never corrected on such topics: what records are kept, and whose time they have.
const TELLING: [&str; 2] = ["cleanup.policy", "message.timestamp.type"];

/// Refuses a topic of an output that is not as it would have been made: it is somebody else's, who would lose records or meaning.
pub(crate) fn refuse_others(
    topic: &Topic,
    found: Found,
    declared: &[Setting],
    entries: &[ConfigEntry],
) -> Result<(), TopicError> {
    let declared = declared.iter();
    let telling = declared.filter(|(name, _)| TELLING.contains(name));
    let mut differing: Vec<String> = telling
        .filter_map(|(name, wanted)| {
            let entry = entries.iter().find(|entry| entry.name == *name);
            let is = entry.and_then(|entry| entry.value.as_deref());
            let is = is.unwrap_or("the broker's default");
            (is != wanted).then(|| format!("{name}={is} in place of {wanted}"))
        })
        .collect();
    // More of them would move keys to other partitions.
    if found.partitions < topic.partitions {
        let (is, wanted) = (found.partitions, topic.partitions);
        differing.push(format!("partitions={is} in place of {wanted}"));
    }
    if differing.is_empty() {
        return Ok(());
    }
    Err(TopicError::SomebodyElses {
        topic: topic.name.clone(),
        differing: differing.join(", "),
    })
}
