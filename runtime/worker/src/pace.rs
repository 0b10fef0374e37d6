//! How many records a task takes at once.
use std::time::Duration;

use tidewheel_engine::Effects;

use crate::timer::Timer;

/// With how many records a task begins that does not know yet what they cost: a SQL step may need seconds for as many as others get done
/// in a few ms.
const FIRST: usize = 1_024;

/// How long a task may compute for one batch. A task that is told to stop ends with its batch, and others wait for that.
const AT_MOST: Duration = Duration::from_millis(500);

/// The size of a task's next batch: doubled while batches take little time, and cut down to what takes [`AT_MOST`].
pub(crate) struct Pace {
    records: usize,
    most: usize,
}

impl Pace {
    /// Batches of at most so many records.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            records: most.min(FIRST),
            most,
        }
    }

    pub(crate) fn records(&self) -> usize {
        self.records
    }

    /// Has a task compute for a batch, which is given the time, and takes note of how long that took.
    pub(crate) fn measure<E>(
        &mut self,
        timer: &dyn Timer,
        process: impl FnOnce(i64) -> Result<Effects, E>,
    ) -> Result<Effects, E> {
        let began_ms = timer.now_ms();
        let effects = process(began_ms)?;
        self.took(effects.consumed, timer.now_ms() - began_ms);
        Ok(effects)
    }

    /// Computing for so many records took so long.
    fn took(&mut self, records: usize, took_ms: i64) {
        let at_most_ms = i64::try_from(AT_MOST.as_millis()).unwrap_or(i64::MAX);
        if took_ms > at_most_ms {
            let share = at_most_ms as f64 / took_ms as f64;
            self.records = ((records as f64 * share) as usize).clamp(1, self.most);
        } else if records >= self.records && took_ms <= at_most_ms / 2 {
            self.records = (self.records * 2).min(self.most);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sizes of the batches of a task whose records cost so much each, while more wait than it takes.
    fn sizes(pace: &mut Pace, us_each: usize, batches: usize) -> Vec<usize> {
        let batches = 0..batches;
        batches
            .map(|_| {
                let records = pace.records();
                pace.took(records, i64::try_from(records * us_each / 1_000).unwrap());
                records
            })
            .collect()
    }

    #[test]
    fn cheap_records_are_soon_taken_by_the_most() {
        let sizes = sizes(&mut Pace::new(16_384), 2, 6);
        assert_eq!(sizes, [1_024, 2_048, 4_096, 8_192, 16_384, 16_384]);
    }

    #[test]
    fn costly_records_are_taken_by_as_many_as_fit_into_the_time() {
        let mut pace = Pace::new(16_384);
        assert_eq!(sizes(&mut pace, 2_000, 3), [1_024, 250, 250]);
        assert_eq!(sizes(&mut pace, 2_000_000, 3), [250, 1, 1]);
        let again = sizes(&mut pace, 20, 20);
        assert_eq!(again.first(), Some(&1));
        assert_eq!(again.last(), Some(&16_384));
    }

    #[test]
    fn few_records_tell_nothing_of_many() {
        let mut pace = Pace::new(16_384);
        pace.took(3, 0);
        assert_eq!(pace.records(), 1_024);
    }

    #[test]
    fn clocks_that_are_set_do_no_harm() {
        let mut pace = Pace::new(16_384);
        pace.took(1_024, -3_600_000);
        assert_eq!(pace.records(), 2_048);
        pace.took(0, 3_600_000);
        assert_eq!(pace.records(), 1);
    }
}
