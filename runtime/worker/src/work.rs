//! What was done for a task, counted.

/// What a worker has done for a task, in all attempts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Work {
    /// Attempts that were begun: one, and one more each time the task began again from its state.
    pub attempts: u64,
    /// Records that were taken. Those of an attempt that failed may be taken again.
    pub records: u64,
    /// How long commits took, to sinks and log together, waiting for a sink that does not answer included.
    pub commits: Durations,
}

/// How often something took how long.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Durations {
    /// How many took no longer than the bound of the same index, but longer than the one before; then those that took longer than all.
    counts: [u64; Self::BOUNDS_MS.len() + 1],
    sum_ms: u64,
}

impl Durations {
    /// Upper bounds, ms.
    pub const BOUNDS_MS: [u64; 12] = [
        2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 10_000, 60_000,
    ];

    /// Counts one.
    pub(crate) fn add(&mut self, took_ms: u64) {
        let place = Self::BOUNDS_MS.partition_point(|&bound_ms| bound_ms < took_ms);
        self.counts[place] += 1;
        self.sum_ms += took_ms;
    }

    /// Each upper bound, ms, with how many took no longer.
    pub fn cumulative(&self) -> impl Iterator<Item = (u64, u64)> {
        Self::BOUNDS_MS
            .iter()
            .zip(&self.counts)
            .scan(0, |total, (&bound_ms, count)| {
                *total += count;
                Some((bound_ms, *total))
            })
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How long they took together, ms.
    pub fn sum_ms(&self) -> u64 {
        self.sum_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_for_every_bound_that_it_does_not_exceed() {
        let mut durations = Durations::default();
        for took_ms in [0, 2, 3, 10_000, 60_001] {
            durations.add(took_ms);
        }
        let cumulative: Vec<_> = durations.cumulative().collect();
        assert_eq!(cumulative[..2], [(2, 2), (5, 3)]);
        assert_eq!(cumulative[9..], [(2_500, 3), (10_000, 4), (60_000, 4)]);
        assert_eq!((durations.count(), durations.sum_ms()), (5, 70_006));
    }
}
