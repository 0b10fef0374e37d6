//! Rows that an earlier generation of a step has written to a topic and that this generation makes anew: a task that begins removes them, as a
//! table is cut.
use std::collections::BTreeSet;

use arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use bytes::Bytes;
use tidewheel_log::Record;

/// Which rows of an output's topic a task of a new generation removes: those that its predecessors have written, which it has fenced.
#[derive(Debug)]
pub struct Outdated {
    generation: i64,
    cut_ms: i64,
    partition: i32,
    partitions: i32,
    keys: BTreeSet<Bytes>,
}

impl Outdated {
    /// For the task of `partition` of `partitions`: windows that start before `cut_ms` stay.
    pub fn new(generation: i64, cut_ms: i64, partition: i32, partitions: i32) -> Self {
        Self {
            generation,
            cut_ms,
            partition,
            partitions,
            keys: BTreeSet::new(),
        }
    }

    /// Looks at a record of the topic. Those of a key come in their order.
    pub fn see(&mut self, record: &Record) {
        let Some(key) = &record.key else { return };
        if self.is_ours_to_remove(record, key) {
            self.keys.insert(key.clone());
        } else {
            self.keys.remove(key);
        }
    }

    /// The keys of what is to be removed.
    pub fn into_keys(self) -> Vec<Bytes> {
        self.keys.into_iter().collect()
    }

    fn is_ours_to_remove(&self, record: &Record, key: &[u8]) -> bool {
        let number = |name: &str| {
            let header = record.headers.iter().find(|header| header.name == name)?;
            std::str::from_utf8(&header.value).ok()?.parse::<i64>().ok()
        };
        let (Some(generation), Some(partition)) = (number("_generation"), number("_partition"))
        else {
            return false;
        };
        // Where there were more partitions than now, somebody has to do it for those that are gone.
        let is_ours = partition == i64::from(self.partition)
            || (self.partition == 0 && partition >= i64::from(self.partitions));
        record.value.is_some()
            && generation < self.generation
            && is_ours
            && window_start_ms(key).is_some_and(|start_ms| start_ms >= self.cut_ms)
    }
}

/// The start of the window of a message key: its first or only column.
fn window_start_ms(key: &[u8]) -> Option<i64> {
    let first = match key.first()? {
        b'[' => serde_json::from_slice::<Vec<serde_json::Value>>(key)
            .ok()?
            .first()?
            .as_str()?
            .to_owned(),
        _ => std::str::from_utf8(key).ok()?.to_owned(),
    };
    let nanos = string_to_timestamp_nanos(&first).ok()?;
    Some(nanos.div_euclid(1_000_000))
}

#[cfg(test)]
mod tests {
    use tidewheel_log::Header;

    use super::*;

    fn record(key: &str, value: Option<&str>, generation: i64, partition: i64) -> Record {
        let header = |name: &str, value: i64| Header {
            name: name.to_owned(),
            value: value.to_string().into(),
        };
        Record {
            offset: 0,
            append_time_ms: 0,
            key: Some(Bytes::copy_from_slice(key.as_bytes())),
            value: value.map(|value| Bytes::copy_from_slice(value.as_bytes())),
            headers: vec![
                header("_generation", generation),
                header("_partition", partition),
            ],
        }
    }

    fn keys(partition: i32, partitions: i32, records: &[Record]) -> Vec<Bytes> {
        let mut outdated = Outdated::new(3, 60_000, partition, partitions);
        records.iter().for_each(|record| outdated.see(record));
        outdated.into_keys()
    }

    const EARLIER: &str = r#"["1970-01-01T00:00:59Z","a"]"#;
    const FIRST: &str = r#"["1970-01-01T00:01:00Z","a"]"#;
    const ALONE: &str = "1970-01-01T00:02:00Z";

    #[test]
    fn windows_before_the_cut_stay() {
        let records = [EARLIER, FIRST, ALONE].map(|key| record(key, Some("{}"), 2, 0));
        assert_eq!(keys(0, 2, &records), [ALONE, FIRST]);
    }

    #[test]
    fn what_was_removed_or_made_anew_stays_as_it_is() {
        let records = [
            record(FIRST, Some("{}"), 2, 0),
            record(ALONE, Some("{}"), 1, 0),
            record(FIRST, None, 2, 0),
            record(ALONE, Some("{}"), 3, 0),
        ];
        assert!(keys(0, 2, &records).is_empty());
    }

    #[test]
    fn every_row_is_removed_by_one_task() {
        let records = [
            record(FIRST, Some("{}"), 2, 1),
            record(ALONE, Some("{}"), 2, 7),
        ];
        assert_eq!(keys(0, 2, &records), [ALONE]);
        assert_eq!(keys(1, 2, &records), [FIRST]);
    }
}
