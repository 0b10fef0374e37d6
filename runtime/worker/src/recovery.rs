//! Reads what tasks left in the log, and leaves word there of what keeps a task from going on.
use std::collections::BTreeMap;

use bytes::Bytes;
use tidewheel_engine::EngineError;
use tidewheel_engine::wire::acknowledgement::Acknowledgement;
use tidewheel_log::{Log, LogError, Producer, read_to_end};

use crate::error::AttemptError;

/// The newest value of every key of a partition of a compacted topic, read to its end.
pub(crate) async fn read_compacted(
    log: &dyn Log,
    topic: &str,
    partition: i32,
) -> Result<BTreeMap<Bytes, Bytes>, LogError> {
    let mut values = BTreeMap::new();
    read_to_end(log, topic, partition, |record| {
        let Some(key) = record.key else { return };
        match record.value {
            Some(value) => values.insert(key, value),
            None => values.remove(&key),
        };
    })
    .await?;
    Ok(values)
}

/// Where a task cannot begin before something is acknowledged, leaves word of that in its state, once: whoever is to acknowledge it finds it
/// there. Passes the failure on.
pub(crate) async fn leave_word<T>(
    begun: Result<T, EngineError>,
    producer: &mut dyn Producer,
    state_topic: &str,
    known: &Acknowledgement,
) -> Result<T, AttemptError> {
    if let Err(EngineError::Unacknowledged(waits)) = &begun
        && let Some(word) = known.wait(state_topic, &waits.place, &waits.missing)
    {
        producer.commit(vec![word]).await?;
    }
    Ok(begun?)
}
