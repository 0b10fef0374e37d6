//! What the events must become, and how a result differs from it.
use std::collections::BTreeMap;

use bytes::Bytes;
use chrono::DateTime;
use serde::Deserialize;

use crate::Failure;
use crate::contest::Verdict;

pub(super) const WINDOW_MS: i64 = 10_000;

/// How many events each window has of each method. Windows are named by their begin, ms since the epoch.
pub(super) type Windows = BTreeMap<(i64, String), u64>;

/// The result of the events.
#[derive(Debug)]
pub(super) struct Truth {
    windows: Windows,
    /// Events in all windows.
    pub(super) events: u64,
    /// Rows of the table of every event: also those that only close windows.
    pub(super) rows: u64,
    /// All windows are before this, ms since the epoch.
    pub(super) end_ms: i64,
}

/// What a table of every event has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows {
    pub(super) all: u64,
    pub(super) different: u64,
}

#[derive(Deserialize)]
struct Event<'a> {
    timestamp: &'a str,
    attributes: Attributes<'a>,
}

#[derive(Deserialize)]
struct Attributes<'a> {
    method: &'a str,
}

impl Truth {
    /// The result of events, after which come `closing` more that are later than all of them.
    pub(super) fn of(events: &[Bytes], closing: u32) -> Result<Self, Failure> {
        let mut windows = Windows::new();
        let mut end_ms = i64::MIN;
        for event in events {
            let event: Event<'_> = serde_json::from_slice(event)?;
            let at_ms = DateTime::parse_from_rfc3339(event.timestamp)?.timestamp_millis();
            let begin_ms = at_ms.div_euclid(WINDOW_MS) * WINDOW_MS;
            end_ms = end_ms.max(begin_ms + WINDOW_MS);
            let key = (begin_ms, event.attributes.method.to_owned());
            *windows.entry(key).or_default() += 1;
        }
        Ok(Self {
            windows,
            events: events.len() as u64,
            rows: events.len() as u64 + u64::from(closing),
            end_ms,
        })
    }

    /// How a result differs; rows only where the job has them.
    pub(super) fn judge(&self, found: &Windows, rows: Option<Rows>) -> Verdict {
        let mut verdict = Verdict::default();
        for key in self
            .windows
            .keys()
            .chain(found.keys().filter(|key| !self.windows.contains_key(key)))
        {
            let count = |windows: &Windows| windows.get(key).copied().unwrap_or(0);
            verdict.counts_lost += count(&self.windows).saturating_sub(count(found));
            verdict.counts_doubled += count(found).saturating_sub(count(&self.windows));
        }
        if let Some(rows) = rows {
            verdict.rows_lost = self.rows.saturating_sub(rows.different);
            verdict.rows_doubled = rows.all - rows.different;
        }
        verdict
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{Rows, Truth, Windows};
    use crate::contest::Verdict;

    fn truth() -> Truth {
        let event = |second, method| {
            Bytes::from(format!(
                r#"{{"timestamp":"2026-01-01T00:00:{second}Z","attributes":{{"method":"{method}"}}}}"#
            ))
        };
        let events = [
            event("09.999", "GET"),
            event("10.000", "GET"),
            event("11.000", "GET"),
            event("11.000", "PUT"),
        ];
        Truth::of(&events, 2).unwrap()
    }

    fn windows(counts: &[(i64, &str, u64)]) -> Windows {
        let start_ms = 1_767_225_600_000;
        counts
            .iter()
            .map(|(second, method, count)| {
                ((start_ms + second * 1_000, (*method).to_owned()), *count)
            })
            .collect()
    }

    #[test]
    fn what_is_right_has_no_fault() {
        let found = windows(&[(0, "GET", 1), (10, "GET", 2), (10, "PUT", 1)]);
        let rows = Rows {
            all: 6,
            different: 6,
        };
        assert_eq!(truth().judge(&found, Some(rows)), Verdict::default());
        assert_eq!(truth().end_ms, 1_767_225_620_000);
    }

    #[test]
    fn what_one_window_lacks_does_not_make_up_for_what_another_has_too_many() {
        let found = windows(&[(0, "GET", 3), (10, "GET", 1), (20, "PUT", 1)]);
        let rows = Rows {
            all: 8,
            different: 5,
        };
        let verdict = Verdict {
            rows_lost: 1,
            rows_doubled: 3,
            counts_lost: 2,
            counts_doubled: 3,
        };
        assert_eq!(truth().judge(&found, Some(rows)), verdict);
    }
}
