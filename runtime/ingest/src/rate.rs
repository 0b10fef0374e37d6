//! How many events a key may send.
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// A token bucket that may be overdrawn.
///
/// It fills at `per_second` events a second, up to one second's worth. A request is let in while the balance is positive and
/// then pays for all its events, so a batch larger than the bucket passes, and what follows waits until it is paid back: over
/// any longer time the rate holds.
#[derive(Debug)]
pub(crate) struct Bucket {
    per_second: f64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    balance: f64,
    at: Instant,
}

/// The balance is used up; it is positive again after this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Overdrawn(pub(crate) Duration);

impl Bucket {
    pub(crate) fn new(events_per_second: u32, now: Instant) -> Self {
        let per_second = f64::from(events_per_second.max(1));
        Self {
            per_second,
            state: Mutex::new(State {
                balance: per_second,
                at: now,
            }),
        }
    }

    /// Pays for `events` if the balance is positive. Zero events only ask.
    pub(crate) fn take(&self, events: usize, now: Instant) -> Result<(), Overdrawn> {
        let mut state = self.state.lock();
        let elapsed = now.saturating_duration_since(state.at);
        state.balance =
            (state.balance + elapsed.as_secs_f64() * self.per_second).min(self.per_second);
        state.at = state.at.max(now);
        if state.balance <= 0.0 {
            // A whole event must fit again, or clients would come back a moment too early.
            return Err(Overdrawn(Duration::from_secs_f64(
                (1.0 - state.balance) / self.per_second,
            )));
        }
        state.balance -= events as f64;
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_batch_larger_than_the_bucket_passes_and_is_paid_back() {
        let start = Instant::now();
        let bucket = Bucket::new(10, start);
        bucket.take(25, start).unwrap();
        let Overdrawn(wait) = bucket.take(1, start).unwrap_err();
        assert_eq!(wait, Duration::from_millis(1600));
        assert!(bucket.take(1, start + Duration::from_millis(1400)).is_err());
        bucket.take(1, start + wait).unwrap();
    }

    #[test]
    fn the_average_rate_holds_whatever_the_batch_size() {
        for batch in [1, 7, 100, 1000] {
            let start = Instant::now();
            let bucket = Bucket::new(100, start);
            let passed: usize = (0..60_000u64)
                .filter(|ms| {
                    bucket
                        .take(batch, start + Duration::from_millis(*ms))
                        .is_ok()
                })
                .count()
                * batch;
            assert!(
                (6_000..=6_100 + batch).contains(&passed),
                "{passed} events of batches of {batch} in a minute at 100/s"
            );
        }
    }

    #[test]
    fn an_idle_bucket_saves_up_one_second_only() {
        let start = Instant::now();
        let bucket = Bucket::new(10, start);
        let later = start + Duration::from_secs(3600);
        assert_eq!(
            (0..20).filter(|_| bucket.take(1, later).is_ok()).count(),
            10
        );
    }
}
