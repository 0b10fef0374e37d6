//! The watermark of a source partition: the running maximum of event time minus `maxOutOfOrder`, lifted by decrees.
use std::collections::{BTreeMap, VecDeque};

use crate::wire::watermark::WatermarkRecord;

/// The watermark of one source partition as its log is read.
#[derive(Debug, Clone, Default)]
pub(crate) struct PartitionWatermark {
    /// By events and decrees, ms.
    pub(crate) current_ms: Option<i64>,
    /// By events alone, ms.
    pub(crate) by_events_ms: Option<i64>,
    /// Decrees that are not reached yet: the offset from which each holds, and the watermark. Ascending.
    decrees: VecDeque<(i64, i64)>,
}

impl PartitionWatermark {
    /// The watermark at `current_ms`, with the decrees of this partition that lie ahead of `next_offset`.
    pub(crate) fn new(
        current_ms: Option<i64>,
        by_events_ms: Option<i64>,
        next_offset: i64,
        decrees: &[(i64, i64)],
    ) -> Self {
        let mut ahead: Vec<_> = decrees
            .iter()
            .copied()
            .filter(|(from, _)| *from >= next_offset)
            .collect();
        ahead.sort_unstable();
        let mut watermark = Self {
            current_ms,
            by_events_ms,
            decrees: ahead.into(),
        };
        watermark.reach(next_offset);
        watermark
    }

    /// Applies the decrees that hold from `offset` or before it.
    pub(crate) fn reach(&mut self, offset: i64) {
        while let Some(&(from, watermark_ms)) = self.decrees.front() {
            if from > offset {
                break;
            }
            self.current_ms = self.current_ms.max(Some(watermark_ms));
            self.decrees.pop_front();
        }
    }

    /// Takes note of an event.
    pub(crate) fn advance(&mut self, watermark_ms: i64) {
        self.by_events_ms = self.by_events_ms.max(Some(watermark_ms));
        self.current_ms = self.current_ms.max(Some(watermark_ms));
    }
}

/// A watermark at `offset` with the decrees that hold there, ms.
pub(crate) fn lifted(
    watermark_ms: Option<i64>,
    offset: i64,
    decrees: &[(i64, i64)],
) -> Option<i64> {
    let holding = decrees.iter().filter(|(from, _)| *from <= offset);
    watermark_ms.max(holding.map(|(_, ms)| *ms).max())
}

/// Decides when this partition is idle and how far its watermark may be lifted then.
#[derive(Debug, Clone)]
pub(crate) struct Idleness {
    idle_after_ms: i64,
    own: (String, i32),
    /// The sources whose partitions' watermarks count, those that feed an aggregate step together with this one, and how many
    /// partitions each is known to have.
    partitions: BTreeMap<String, i32>,
    told: BTreeMap<(String, i32), WatermarkRecord>,
    at_end_since_ms: Option<i64>,
}

impl Idleness {
    pub(crate) fn new(
        idle_after_ms: u64,
        own: (String, i32),
        partitions: BTreeMap<String, i32>,
    ) -> Self {
        Self {
            idle_after_ms: i64::try_from(idle_after_ms).unwrap_or(i64::MAX),
            own,
            partitions,
            told: BTreeMap::new(),
            at_end_since_ms: None,
        }
    }

    /// Takes note of what another partition tells, which may have been added since this task began.
    pub(crate) fn observe(&mut self, record: WatermarkRecord) {
        let partition = (record.source.clone(), record.partition);
        if partition == self.own {
            return;
        }
        if let Some(partitions) = self.partitions.get_mut(&record.source) {
            *partitions = (*partitions).max(record.partition.saturating_add(1));
            self.told.insert(partition, record);
        }
    }

    /// Whether every other partition that is known of has told something.
    fn all_have_told(&self) -> bool {
        let (own_source, own_partition) = &self.own;
        self.partitions.iter().all(|(source, &partitions)| {
            (0..partitions).all(|partition| {
                let is_own = source == own_source && partition == *own_partition;
                is_own || self.told.contains_key(&(source.clone(), partition))
            })
        })
    }

    /// A record came.
    pub(crate) fn wake(&mut self) {
        self.at_end_since_ms = None;
    }

    /// The partition was fetched at its end at `clock_ms`; whether it is idle by now.
    pub(crate) fn at_end(&mut self, clock_ms: i64) -> bool {
        let since_ms = *self.at_end_since_ms.get_or_insert(clock_ms);
        clock_ms - since_ms >= self.idle_after_ms
    }

    /// The watermark that this idle partition is lifted to: the lowest of those that are active; when all are idle the highest of
    /// all by their events, plus the time since the last of them was appended to. None while that is not known.
    pub(crate) fn target(&self, own: &WatermarkRecord, clock_ms: i64) -> Option<i64> {
        if !self.all_have_told() {
            return None;
        }
        let mut active = self.told.values().filter(|record| !record.idle).peekable();
        if active.peek().is_some() {
            return active
                .map(|record| record.event_watermark_ms)
                .min()
                .flatten();
        }
        let all = || self.told.values().chain([own]);
        let newest_ms = all().filter_map(|record| record.event_watermark_ms).max()?;
        let last_append_ms = all().filter_map(|record| record.last_append_ms).max()?;
        Some(newest_ms.saturating_add((clock_ms - last_append_ms).max(0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Partition 0 of source `s`, of which `partitions` are known.
    fn first_of(partitions: i32) -> Idleness {
        let own = ("s".to_owned(), 0);
        Idleness::new(30, own, BTreeMap::from([("s".to_owned(), partitions)]))
    }

    fn told(
        partition: i32,
        idle: bool,
        event_watermark_ms: Option<i64>,
        last_append_ms: Option<i64>,
    ) -> WatermarkRecord {
        WatermarkRecord {
            idle,
            event_watermark_ms,
            last_append_ms,
            ..WatermarkRecord::active("s", partition, 0)
        }
    }

    #[test]
    fn a_decree_holds_from_its_offset_in_every_replay() {
        let mut watermark = PartitionWatermark::new(None, None, 0, &[(5, 900), (2, 300)]);
        watermark.reach(1);
        assert_eq!(watermark.current_ms, None);
        watermark.reach(2);
        assert_eq!(watermark.current_ms, Some(300));
        watermark.advance(400);
        watermark.reach(9);
        assert_eq!(
            (watermark.current_ms, watermark.by_events_ms),
            (Some(900), Some(400))
        );
    }

    #[test]
    fn an_idle_partition_follows_the_slowest_active_one() {
        let mut idleness = first_of(3);
        idleness.observe(told(1, false, Some(500), Some(1)));
        assert_eq!(
            idleness.target(&told(0, true, None, None), 9),
            None,
            "one has not spoken"
        );
        idleness.observe(told(2, false, Some(400), Some(1)));
        assert_eq!(
            idleness.target(&told(0, true, Some(100), None), 9),
            Some(400)
        );
    }

    #[test]
    fn who_feeds_other_steps_is_not_waited_for() {
        let mut idleness = first_of(2);
        idleness.observe(told(1, false, Some(500), Some(1)));
        idleness.observe(WatermarkRecord {
            source: "t".to_owned(),
            ..told(0, false, Some(400), Some(1))
        });
        let target_ms = idleness.target(&told(0, true, None, None), 9);
        assert_eq!(target_ms, Some(500));
    }

    #[test]
    fn a_partition_that_was_added_is_waited_for_from_when_it_speaks() {
        let mut idleness = first_of(2);
        let own = told(0, true, None, None);
        idleness.observe(own.clone());
        idleness.observe(told(1, false, Some(500), Some(1)));
        idleness.observe(told(3, false, Some(300), Some(1)));
        assert_eq!(idleness.target(&own, 9), None, "partition 2 must be there");
        idleness.observe(told(2, false, Some(400), Some(1)));
        assert_eq!(idleness.target(&own, 9), Some(300));
    }

    #[test]
    fn when_all_are_idle_time_passes_by_the_clock() {
        let mut idleness = first_of(2);
        idleness.observe(told(1, true, Some(500), Some(1_000)));
        assert_eq!(
            idleness.target(&told(0, true, Some(100), Some(900)), 1_040),
            Some(540)
        );
        assert!(!idleness.at_end(1_000));
        assert!(idleness.at_end(1_030));
        idleness.wake();
        assert!(!idleness.at_end(1_040));
    }
}
