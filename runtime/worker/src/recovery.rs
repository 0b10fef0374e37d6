//! Reads what tasks left in the log.
use std::collections::BTreeMap;

use bytes::Bytes;
use tidewheel_log::{Log, LogError, read_to_end};

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
