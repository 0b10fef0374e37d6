//! What the holders of a transactional id leave to each other, in a partition of a compacted topic that is theirs alone.
use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{Home, Log, LogError, Producer, Record, read_to_end};

/// Takes a transactional id over, with each record that is committed in its home: what earlier holders did not commit never will be.
///
/// # Errors
/// Those of the log; [`LogError::Unavailable`]: take it over again.
pub async fn take_over(
    log: &dyn Log,
    transactional_id: &str,
    (topic, partition): (&str, i32),
    mut each: impl FnMut(Record),
) -> Result<Box<dyn Producer>, LogError> {
    let mut producer = log.producer(transactional_id).await?;
    let (mut undecided_from, mut newest_headers) = (0, Vec::new());
    read_to_end(log, topic, partition, |record| {
        undecided_from = record.offset + 2; // the marker of its transaction comes right behind it
        newest_headers.clone_from(&record.headers);
        each(record);
    })
    .await?;
    let home = Home {
        topic: topic.to_owned(),
        partition,
        undecided_from,
        newest_headers,
    };
    producer.settle(home).await?;
    Ok(producer)
}

/// Keeps the newest value of a record's key, as compaction does. What has no key is passed over.
pub fn keep_newest(values: &mut BTreeMap<Bytes, Bytes>, record: Record) {
    let Some(key) = record.key else { return };
    match record.value {
        Some(value) => values.insert(key, value),
        None => values.remove(&key),
    };
}
