//! What a transaction says of itself: the partitions that it writes to, in a header of its records at home. Who takes over from a holder
//! whose transaction is neither committed nor aborted knows from it where to end it. In another header it says the same of the one before,
//! where it is not certain that the broker has ended that.
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use tidewheel_log::{Header, Home, NewRecord};

/// The header of a transaction's own partitions.
const NAME: &str = "tidewheel-transaction";
/// That of those of the one before.
const BEFORE: &str = "tidewheel-transaction-before";

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
    pub(crate) fn add_from(&mut self, headers: &[Header]) {
        self.add_named(NAME, headers);
    }

    /// Adds what a record at home says of the transaction before.
    pub(crate) fn add_before_from(&mut self, headers: &[Header]) {
        self.add_named(BEFORE, headers);
    }

    fn add_named(&mut self, name: &str, headers: &[Header]) {
        for header in headers.iter().filter(|header| header.name == name) {
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
    fn header(&self, name: &str) -> Header {
        let entries = self.partitions.iter().map(|(topic, partitions)| {
            let numbers: Vec<String> = partitions.iter().map(ToString::to_string).collect();
            format!("{topic}:{}", numbers.join(","))
        });
        Header {
            name: name.to_owned(),
            value: Bytes::from(entries.collect::<Vec<_>>().join(" ")),
        }
    }

    /// Whether there is nothing elsewhere.
    pub(crate) fn stays_at(&self, home: &Home) -> bool {
        self.partitions()
            .all(|place| place == (home.topic.as_str(), home.partition))
    }

    /// Lets records at home say so, and what those of the transaction `before` are, each if there are others: the first, which is there
    /// before the others are, and the last, which is there for as long as nothing newer is.
    pub(crate) fn declare(&self, before: &Self, records: &mut [NewRecord], home: &Home) {
        let told = [(self, NAME), (before, BEFORE)];
        let told = told.into_iter().filter(|(of, _)| !of.stays_at(home));
        let headers: Vec<Header> = told.map(|(of, name)| of.header(name)).collect();
        let mut at_home = records.iter_mut().filter(|record| {
            record.topic == home.topic && record.partition == Some(home.partition)
        });
        let (first, last) = (at_home.next(), at_home.next_back());
        for record in first.into_iter().chain(last) {
            record.headers.extend_from_slice(&headers);
        }
    }

    pub(crate) fn has(&self, topic: &str, partition: i32) -> bool {
        let partitions = self.partitions.get(topic);
        partitions.is_some_and(|partitions| partitions.contains(&partition))
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
            newest_headers: Vec::new(),
        }
    }

    fn read(headers: &[Header]) -> Manifest {
        let mut manifest = Manifest::default();
        manifest.add_from(headers);
        manifest
    }

    #[test]
    fn a_transaction_says_at_home_where_it_writes() {
        let mut records = vec![
            new("shop.sent", 10),
            new("shop.sent", 2),
            new("state", 2),
            new("state", 2),
            new("state", 2),
            new("shop.clicks", 3),
        ];
        let none = Manifest::default();
        Manifest::of(&records).declare(&none, &mut records, &home());
        let told: Vec<usize> = records.iter().map(|record| record.headers.len()).collect();
        assert_eq!(told, [0, 0, 1, 0, 1, 0]);
        assert_eq!(records[2].headers, records[4].headers);
        let header = &records[2].headers[0];
        assert_eq!(header.name, "tidewheel-transaction");
        assert_eq!(header.value, "shop.clicks:3 shop.sent:2,10 state:2");
        assert_eq!(read(&records[2].headers), Manifest::of(&records));
    }

    #[test]
    fn a_transaction_says_where_the_one_before_wrote() {
        let before = Manifest::of(&[new("shop.sent", 1), new("state", 2)]);
        let mut records = vec![new("state", 2)];
        Manifest::of(&records).declare(&before, &mut records, &home());
        let header = &records[0].headers[0];
        assert_eq!(records[0].headers.len(), 1);
        assert_eq!(header.name, "tidewheel-transaction-before");
        assert_eq!(header.value, "shop.sent:1 state:2");
        let mut told = Manifest::default();
        told.add_before_from(&records[0].headers);
        assert_eq!(told, before);
        assert_eq!(read(&records[0].headers), Manifest::default());
    }

    #[test]
    fn what_stays_at_home_says_nothing() {
        let mut records = vec![new("state", 2), new("state", 2)];
        let manifest = Manifest::of(&records);
        manifest.declare(&manifest, &mut records, &home());
        assert!(records.iter().all(|record| record.headers.is_empty()));
    }

    #[test]
    fn headers_of_others_and_nonsense_are_passed_over() {
        let header = |name: &str, value: &'static str| Header {
            name: name.to_owned(),
            value: Bytes::from(value),
        };
        let manifest = read(&[header("other", "a:1"), header(NAME, "a:x,3 b c:")]);
        assert_eq!(manifest.partitions().collect::<Vec<_>>(), [("a", 3)]);
    }
}
