//! Where the embedded log reads the time, so that a simulation can supply its own.
use std::time::{SystemTime, UNIX_EPOCH};

/// A clock. It decides append times, retention and session timeouts.
pub trait Clock: Send + Sync + 'static {
    /// Now, in ms since the epoch. May go back: append times do not follow it there.
    fn now_ms(&self) -> i64;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(_) => 0, // before 1970: the partitions' own running maximum takes over
        }
    }
}
