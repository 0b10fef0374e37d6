//! When a source task tells its watermark to partitions of partials topics that it has nothing else for.
//!
//! Live, a window ends now and then, and every partition is told at once. Who catches up passes the ends of windows with each batch: to tell
//! every partition every time would cost a record for each pair of partitions, and nobody waits for windows of the past that closely. All
//! are told where there is nothing to read.
/// Records that the log had for so long, in ms, are of the past.
const BEHIND_MS: i64 = 10_000;
/// How often, in ms of the driver's clock, all partitions are told while a task catches up.
const TELL_EVERY_MS: i64 = 5_000;

/// Whether all are told.
#[derive(Debug, Default)]
pub(super) struct Speaking {
    /// When all were told, by the driver's clock.
    told_at_ms: Option<i64>,
    is_brief: bool,
}

impl Speaking {
    /// Takes note of a batch: when the newest record so far was appended, none where nothing was read; and of the time.
    pub(super) fn begin(&mut self, newest_ms: Option<i64>, clock_ms: i64) {
        let past = 0..clock_ms.saturating_sub(BEHIND_MS);
        let is_past = newest_ms.is_some_and(|newest_ms| past.contains(&newest_ms));
        let was_told = |told_at_ms| (0..TELL_EVERY_MS).contains(&(clock_ms - told_at_ms));
        self.is_brief = is_past && self.told_at_ms.is_some_and(was_told);
        if !self.is_brief {
            self.told_at_ms = Some(clock_ms);
        }
    }

    /// Only those are told who get partials.
    pub(super) fn is_brief(&self) -> bool {
        self.is_brief
    }

    /// From now on all are told.
    pub(super) fn speak_up(&mut self) {
        self.is_brief = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_told_now_and_then_while_the_past_is_read_and_at_once_after_that() {
        let mut speaking = Speaking::default();
        let mut tells = |append_time_ms: i64, clock_ms: i64| {
            speaking.begin(Some(append_time_ms), clock_ms);
            !speaking.is_brief()
        };
        let past = 50_000;
        assert!(tells(past, 100_000), "at first");
        assert!(!tells(past, 104_999));
        assert!(tells(past, 105_000));
        assert!(!tells(past, 105_001));
        assert!(tells(100_000, 105_002), "live");
        assert!(!tells(past, 105_003));
        assert!(tells(past, 90_000), "the clock was set back");
        assert!(tells(-1, 90_001), "nobody knows when it was appended");
        speaking.begin(None, 90_002);
        assert!(!speaking.is_brief(), "nothing was read");
    }
}
