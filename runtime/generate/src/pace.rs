//! When events are due. No I/O, and no clock of its own.

/// How long making may lag behind its rate and still catch up, in ms.
const CATCHES_UP_MS: i64 = 1_000;

/// Spaces events evenly in time.
///
/// Event `n` is due `n / rate` seconds after the first, so rates are exact over any time. After a pause of more than a second it
/// starts anew instead of making up for it: a machine that slept does not wake up to a flood.
#[derive(Debug, Clone)]
pub struct Pacer {
    events_per_second: u64,
    /// When the first event of the second under way is due.
    second_began_ms: i64,
    /// Events of that second that were due.
    taken: u64,
}

impl Pacer {
    /// The first event is due at `now_ms`.
    pub fn new(events_per_second: u32, now_ms: i64) -> Self {
        Self {
            events_per_second: u64::from(events_per_second).max(1),
            second_began_ms: now_ms,
            taken: 0,
        }
    }

    /// When the next event is due, ms.
    pub fn next_due_ms(&self) -> i64 {
        let after_ms = self.taken * 1_000 / self.events_per_second;
        self.second_began_ms + after_ms as i64
    }

    /// Takes the next event if it is due by `now_ms`: the time at which it was due.
    pub fn take(&mut self, now_ms: i64) -> Option<i64> {
        let ahead_ms = self.next_due_ms().saturating_sub(now_ms);
        // The clock went back where the next event is further ahead than events are apart.
        if !(-CATCHES_UP_MS..=CATCHES_UP_MS + 1_000).contains(&ahead_ms) {
            *self = Self {
                second_began_ms: now_ms,
                taken: 0,
                ..*self
            };
        }
        let due_ms = self.next_due_ms();
        if due_ms > now_ms {
            return None;
        }
        self.taken += 1;
        if self.taken == self.events_per_second {
            self.second_began_ms += 1_000;
            self.taken = 0;
        }
        Some(due_ms)
    }
}
