//! Deduplication state: when each key was last appended, for a horizon of append time.
//!
//! A key is 96 bits of xxh3-128, so that an entry takes 16 bytes: two different keys of ten million meet with a probability of 10^-15.
//! Entries that are past the horizon are swept when the table would have to grow, so memory stays within twice of what the horizon needs.
use hashbrown::HashTable;

use crate::sabotage::{self, Bug};

/// The longest horizon: append times are kept as 32-bit distances in ms.
pub const MAX_WITHIN_MS: u64 = 1 << 31;

#[derive(Debug, Clone, Copy)]
struct Entry {
    high: u64,
    low: u32,
    /// Append time as ms since `Deduplication::base_ms`.
    seen: u32,
}

/// Which keys were appended lately.
#[derive(Debug)]
pub struct Deduplication {
    within_ms: u32,
    base_ms: i64,
    entries: HashTable<Entry>,
}

impl Deduplication {
    /// State for a horizon of `within_ms`, capped at [`MAX_WITHIN_MS`].
    pub fn new(within_ms: u64) -> Self {
        Self {
            within_ms: within_ms.min(MAX_WITHIN_MS) as u32,
            base_ms: i64::MIN,
            entries: HashTable::new(),
        }
    }

    /// Whether a key appended at `now_ms` was appended within the horizon before; remembers it in either case.
    /// `now_ms` never decreases from call to call.
    pub fn seen(&mut self, key: u128, now_ms: i64) -> bool {
        self.seen_but(&[], key, now_ms)
    }

    /// As [`Self::seen`], but an appearance at one of `own_ms` is none: it is of the same event.
    pub fn seen_but(&mut self, own_ms: &[i64], key: u128, now_ms: i64) -> bool {
        let (high, low) = ((key >> 64) as u64, key as u32);
        let now = self.distance(now_ms);
        let base_ms = self.base_ms;
        if let Some(entry) = self
            .entries
            .find_mut(high, |entry| entry.high == high && entry.low == low)
        {
            let is_own = own_ms.contains(&(base_ms + i64::from(entry.seen)));
            let duplicate = !is_own && now - entry.seen <= self.within_ms;
            if !(duplicate && sabotage::is(Bug::DuplicateOfKeptOnly)) {
                entry.seen = now;
            }
            return duplicate;
        }
        if self.entries.len() == self.entries.capacity() {
            self.sweep(now);
        }
        self.entries.insert_unique(
            high,
            Entry {
                high,
                low,
                seen: now,
            },
            |entry| entry.high,
        );
        false
    }

    /// Keys in memory, those past the horizon included until they are swept.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no key is in memory.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn sweep(&mut self, now: u32) {
        let within = self.within_ms;
        self.entries.retain(|entry| now - entry.seen <= within);
        let (kept, capacity) = (self.entries.len(), self.entries.capacity());
        if kept > capacity / 2 {
            // Room for as many again, or the next sweep would come after a handful of keys.
            self.entries.reserve(kept, |entry| entry.high);
        } else if kept < capacity / 4 {
            self.entries.shrink_to(kept * 2, |entry| entry.high);
        }
    }

    /// Ms since the base; moves the base when the distance would no longer fit.
    fn distance(&mut self, now_ms: i64) -> u32 {
        if self.base_ms == i64::MIN {
            self.base_ms = now_ms;
        }
        let distance = now_ms - self.base_ms;
        if distance <= i64::from(u32::MAX) {
            return distance.max(0) as u32;
        }
        let base_ms = now_ms - i64::from(self.within_ms);
        let shift = base_ms - self.base_ms;
        self.entries.retain(|entry| {
            let seen = i64::from(entry.seen) - shift;
            entry.seen = seen.max(0) as u32;
            seen >= 0
        });
        self.base_ms = base_ms;
        self.within_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeat_counts_from_the_last_appearance_kept_or_not() {
        let mut keys = Deduplication::new(10);
        assert!(!keys.seen(1, 100));
        assert!(keys.seen(1, 110));
        assert!(
            keys.seen(1, 120),
            "within 10 of the repeat at 110, though not of the first"
        );
        assert!(!keys.seen(1, 131));
    }

    #[test]
    fn memory_follows_the_horizon_and_not_the_number_of_keys() {
        let mut keys = Deduplication::new(1_000);
        for key in 0..1_000_000u128 {
            assert!(!keys.seen(key * 0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835, key as i64));
        }
        assert!(keys.len() < 10_000, "{}", keys.len());
    }

    #[test]
    fn months_of_append_time_pass() {
        let mut keys = Deduplication::new(1_000);
        let day_ms = 86_400_000;
        for day in 0..200 {
            assert!(!keys.seen(7, day * day_ms));
            assert!(keys.seen(7, day * day_ms + 1_000));
        }
    }
}
