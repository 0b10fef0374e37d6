//! Reads what tasks left in the log.
use std::collections::BTreeMap;

use bytes::Bytes;
use tidewheel_engine::wire::watermark::WatermarkRecord;
use tidewheel_log::{Log, LogError, read_to_end};

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

/// What the watermarks topic says: the newest record of every partition, the decrees of ours, and where the next read begins.
pub(crate) struct Watermarks {
    pub(crate) newest: BTreeMap<Bytes, WatermarkRecord>,
    pub(crate) decrees: Vec<(i64, i64)>,
    pub(crate) next_offset: i64,
}

pub(crate) async fn read_watermarks(
    log: &dyn Log,
    topic: &str,
    source: &str,
    partition: i32,
) -> Result<Watermarks, AttemptError> {
    let mut newest = BTreeMap::new();
    let mut decrees = Vec::new();
    let mut damaged = None;
    let next_offset = read_to_end(log, topic, 0, |record| {
        match WatermarkRecord::decode(record.value.as_deref().unwrap_or_default()) {
            Ok(told) => {
                if told.source == source && told.partition == partition {
                    decrees.extend(
                        told.decree_ms
                            .map(|decree_ms| (told.next_offset, decree_ms)),
                    );
                }
                newest.insert(told.key(), told);
            }
            Err(error) => damaged = Some(error),
        }
    })
    .await?;
    match damaged {
        Some(error) => Err(error.into()),
        None => Ok(Watermarks {
            newest,
            decrees,
            next_offset,
        }),
    }
}
