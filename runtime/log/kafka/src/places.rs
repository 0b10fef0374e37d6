//! Partitions, each with an offset in it: where a transaction began to write.
use std::collections::BTreeMap;

use crate::manifest::Manifest;

/// Partitions by topic, each with an offset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Places {
    offsets: BTreeMap<String, BTreeMap<i32, i64>>,
}

impl Places {
    /// Adds a partition. Of several offsets in it the first counts.
    pub(crate) fn add(&mut self, topic: &str, partition: i32, offset: i64) {
        if let Some(partitions) = self.offsets.get_mut(topic) {
            let first = partitions.entry(partition).or_insert(offset);
            *first = offset.min(*first);
        } else {
            let partitions = BTreeMap::from([(partition, offset)]);
            self.offsets.insert(topic.to_owned(), partitions);
        }
    }

    /// Adds all of `others`.
    pub(crate) fn add_all(&mut self, others: &Self) {
        for (topic, partition, offset) in others.iter() {
            self.add(topic, partition, offset);
        }
    }

    /// The offset in a partition.
    pub(crate) fn get(&self, topic: &str, partition: i32) -> Option<i64> {
        self.offsets.get(topic)?.get(&partition).copied()
    }

    /// Those that `wanted` picks of topic, partition and offset.
    pub(crate) fn filter(&self, wanted: impl Fn(&str, i32, i64) -> bool) -> Self {
        let mut some = Self::default();
        let all = self.iter();
        for (topic, partition, offset) in
            all.filter(|&(topic, at, offset)| wanted(topic, at, offset))
        {
            some.add(topic, partition, offset);
        }
        some
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// Topic, partition and offset of each.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, i32, i64)> {
        let of_topic = |(topic, partitions)| {
            let partitions: &BTreeMap<i32, i64> = partitions;
            let topic: &String = topic;
            partitions
                .iter()
                .map(|(&partition, &offset)| (topic.as_str(), partition, offset))
        };
        self.offsets.iter().flat_map(of_topic)
    }

    /// Which partitions these are.
    pub(crate) fn manifest(&self) -> Manifest {
        let mut manifest = Manifest::default();
        for (topic, partition, _) in self.iter() {
            manifest.add(topic, partition);
        }
        manifest
    }
}
