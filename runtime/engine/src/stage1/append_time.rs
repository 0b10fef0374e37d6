//! When records of a source partition count as appended.
//!
//! In topics of ours the log says it. In foreign ones the producers do, and their clocks disagree: there a record counts as appended at the
//! largest timestamp up to it. So append time never goes back, and every replay that knows the maximum before it agrees.
use tidewheel_log::Record;

/// The running maximum of timestamps, ms.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct AppendTime {
    pub(crate) current_ms: Option<i64>,
    /// What is known from progress: the offset from which it holds, and the maximum before that.
    known: Option<(i64, i64)>,
}

impl AppendTime {
    /// The maximum is `known_ms` before `offset`, where that is known.
    pub(crate) fn known(offset: i64, known_ms: Option<i64>) -> Self {
        Self {
            current_ms: None,
            known: known_ms.map(|known_ms| (offset, known_ms)),
        }
    }

    /// When a record that follows the last one counts as appended, ms.
    pub(crate) fn of(&mut self, record: &Record) -> i64 {
        if let Some((_, known_ms)) = self.known.take_if(|(from, _)| *from <= record.offset) {
            self.current_ms = self.current_ms.max(Some(known_ms));
        }
        let now_ms = self
            .current_ms
            .map_or(record.append_time_ms, |ms| ms.max(record.append_time_ms));
        self.current_ms = Some(now_ms);
        now_ms
    }

    /// The largest timestamp so far, what is known beforehand included, ms.
    pub(crate) fn newest_ms(&self) -> Option<i64> {
        self.current_ms.max(self.known.map(|(_, ms)| ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(offset: i64, append_time_ms: i64) -> Record {
        Record {
            offset,
            append_time_ms,
            key: None,
            value: None,
            headers: Vec::new(),
        }
    }

    #[test]
    fn a_clock_that_goes_back_does_not_take_append_time_with_it() {
        let mut append = AppendTime::default();
        let times: Vec<i64> = [(0, 50), (1, 40), (4, 70), (5, -1)]
            .map(|(offset, ms)| append.of(&record(offset, ms)))
            .to_vec();
        assert_eq!(times, [50, 50, 70, 70]);
    }

    #[test]
    fn what_is_known_of_an_offset_says_nothing_of_records_before_it() {
        let mut append = AppendTime::known(10, Some(100));
        assert_eq!(append.newest_ms(), Some(100));
        assert_eq!(append.of(&record(8, 30)), 30);
        assert_eq!(append.of(&record(9, 20)), 30);
        assert_eq!(append.of(&record(10, 90)), 100);
        assert_eq!(append.of(&record(11, 110)), 110);
    }
}
