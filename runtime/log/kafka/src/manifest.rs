//! What a transaction says of itself: the partitions that it writes to, in a header of its record at home. Who takes over from a holder
//! whose transaction is neither committed nor aborted knows from it where to end it.
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use tidewheel_log::{Header, Home, NewRecord, Record};

/// The header's name.
const NAME: &str = "tidewheel-transaction";

/// The partitions of transactions, by topic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Manifest {
    partitions: BTreeMap<String, BTreeSet<i32>>,
}

impl Manifest {
    /// The partitions that records are for, each of which has one.
    pub(crate) fn of(records: &[NewRecord]) -> Self {
        let mut manifest = Self::default();
        for record in records {
            manifest.add(&record.topic, record.partition.unwrap_or(0));
        }
        manifest
    }

    pub(crate) fn add(&mut self, topic: &str, partition: i32) {
        if let Some(partitions) = self.partitions.get_mut(topic) {
            partitions.insert(partition);
        } else {
            let partitions = BTreeSet::from([partition]);
            self.partitions.insert(topic.to_owned(), partitions);
        }
    }

    /// Adds what a record at home says of its transaction.
    pub(crate) fn add_from(&mut self, record: &Record) {
        let headers = record.headers.iter();
        for header in headers.filter(|header| header.name == NAME) {
            let text = String::from_utf8_lossy(&header.value);
            for (topic, partitions) in text.split(' ').filter_map(|entry| entry.split_once(':')) {
                let partitions = partitions
                    .split(',')
                    .filter_map(|number| number.parse().ok());
                partitions.for_each(|partition| self.add(topic, partition));
            }
        }
    }

    /// `topic:0,1 other-topic:3`. No name of a topic holds a blank or a colon.
    fn header(&self) -> Header {
        let entries = self.partitions.iter().map(|(topic, partitions)| {
            let numbers: Vec<String> = partitions.iter().map(ToString::to_string).collect();
            format!("{topic}:{}", numbers.join(","))
        });
        Header {
            name: NAME.to_owned(),
            value: Bytes::from(entries.collect::<Vec<_>>().join(" ")),
        }
    }

    /// Lets the first record at home say so, if there are others.
    pub(crate) fn declare(&self, records: &mut [NewRecord], home: &Home) {
        if self
            .partitions()
            .all(|place| place == (home.topic.as_str(), home.partition))
        {
            return;
        }
        let at_home = records
            .iter_mut()
            .find(|record| record.topic == home.topic && record.partition == Some(home.partition));
        if let Some(record) = at_home {
            record.headers.push(self.header());
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.partitions.is_empty()
    }

    pub(crate) fn partitions(&self) -> impl Iterator<Item = (&str, i32)> {
        let of_topic = |(topic, partitions)| {
            let partitions: &BTreeSet<i32> = partitions;
            let topic: &String = topic;
            partitions
                .iter()
                .map(|partition| (topic.as_str(), *partition))
        };
        self.partitions.iter().flat_map(of_topic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(topic: &str, partition: i32) -> NewRecord {
        NewRecord {
            topic: topic.to_owned(),
            partition: Some(partition),
            ..NewRecord::default()
        }
    }

    fn home() -> Home {
        Home {
            topic: "state".to_owned(),
            partition: 2,
            undecided_from: 0,
        }
    }

    fn read(headers: Vec<Header>) -> Manifest {
        let mut manifest = Manifest::default();
        manifest.add_from(&Record {
            offset: 0,
            append_time_ms: 0,
            key: None,
            value: None,
            headers,
        });
        manifest
    }

    #[test]
    fn a_transaction_says_at_home_where_it_writes() {
        let mut records = vec![
            new("shop.sent", 10),
            new("shop.sent", 2),
            new("state", 2),
            new("state", 2),
            new("shop.clicks", 3),
        ];
        Manifest::of(&records).declare(&mut records, &home());
        let told: Vec<usize> = records.iter().map(|record| record.headers.len()).collect();
        assert_eq!(told, [0, 0, 1, 0, 0]);
        let header = records[2].headers[0].clone();
        assert_eq!(header.name, "tidewheel-transaction");
        assert_eq!(header.value, "shop.clicks:3 shop.sent:2,10 state:2");
        assert_eq!(read(vec![header]), Manifest::of(&records));
    }

    #[test]
    fn what_stays_at_home_says_nothing() {
        let mut records = vec![new("state", 2), new("state", 2)];
        Manifest::of(&records).declare(&mut records, &home());
        assert!(records.iter().all(|record| record.headers.is_empty()));
    }

    #[test]
    fn headers_of_others_and_nonsense_are_passed_over() {
        let header = |name: &str, value: &'static str| Header {
            name: name.to_owned(),
            value: Bytes::from(value),
        };
        let manifest = read(vec![header("other", "a:1"), header(NAME, "a:x,3 b c:")]);
        assert_eq!(manifest.partitions().collect::<Vec<_>>(), [("a", 3)]);
    }
}
