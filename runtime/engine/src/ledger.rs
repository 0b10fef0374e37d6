//! The ledger: where every record went.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::wire::dead_letter::Reason;

/// The fates of what one output was offered: of records in stage 1, of contributions (rows that went into windows) in stage 2.
///
/// `read` is counted where something comes in and the fates where it goes out, so that [`Ledger::balance`] can fail.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    /// What came in.
    pub read: u64,
    /// Reached the output (in stage 1 of a window output: was added to a window).
    pub written: u64,
    /// Left out by a WHERE or HAVING, by step.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub filtered: BTreeMap<String, u64>,
    /// A record without a value in a topic of somebody else's, which says that its key was deleted: there is no event in it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tombstone: u64,
    /// Left out by a deduplication.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub duplicate: u64,
    /// Too late, and dropped by the step's policy.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub late: u64,
    /// Belongs to a window that an earlier generation of the step has written.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub earlier_generation: u64,
    /// Was sent again for somebody else: another pipeline, or another step or output of this one.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skipped: u64,
    /// Was deleted before it was read, and counted when somebody acknowledged that: of a source's records by their offsets.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lost: u64,
    /// Became a dead letter, by reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dead_lettered: BTreeMap<String, u64>,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Ledger {
    /// `read` minus all fates: what is in flight, or, where nothing can be in flight, what is missing.
    pub fn balance(&self) -> i64 {
        self.read as i64 - self.settled() as i64
    }

    /// The sum of all fates.
    pub fn settled(&self) -> u64 {
        self.written
            + self.filtered.values().sum::<u64>()
            + self.tombstone
            + self.duplicate
            + self.late
            + self.earlier_generation
            + self.skipped
            + self.lost
            + self.dead_lettered.values().sum::<u64>()
    }

    /// Counts records that will never be read.
    pub(crate) fn lose(&mut self, records: u64) {
        self.read += records;
        self.lost += records;
    }

    /// The count of dead letters for `reason`.
    pub(crate) fn dead_lettered(&mut self, reason: Reason) -> &mut u64 {
        self.dead_lettered
            .entry(reason.as_str().to_owned())
            .or_default()
    }

    /// Adds another task's counts.
    pub fn add(&mut self, other: &Self) {
        self.read += other.read;
        self.written += other.written;
        self.tombstone += other.tombstone;
        self.duplicate += other.duplicate;
        self.late += other.late;
        self.earlier_generation += other.earlier_generation;
        self.skipped += other.skipped;
        self.lost += other.lost;
        for (step, count) in &other.filtered {
            *self.filtered.entry(step.clone()).or_default() += count;
        }
        for (reason, count) in &other.dead_lettered {
            *self.dead_lettered.entry(reason.clone()).or_default() += count;
        }
    }
}
