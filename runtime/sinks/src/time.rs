//! How timestamps and dates are written down.
//!
//! A timestamp is RFC 3339 in UTC with the suffix `+00:00` and no more digits than it needs: `2015-05-17T10:00:00+00:00`,
//! `2015-05-17T10:00:00.250+00:00`. With `+`, which sorts before `.` and before every digit, the order of the text is the order in time
//! whatever the precision; with `Z` it would not be. SQLite's date functions read this form.
use std::ops::RangeInclusive;

use chrono::{DateTime, Duration, NaiveDate, SecondsFormat};

/// The years 1 to 9999 in µs and in days since the epoch: those that four digits can hold, without the year zero that PostgreSQL does not know.
const MICROS: RangeInclusive<i64> = -62_135_596_800_000_000..=253_402_300_799_999_999;
const DAYS: RangeInclusive<i32> = -719_162..=2_932_896;

/// Whether a timestamp (µs since the epoch) lies in the years 1 to 9999.
pub(crate) fn timestamp_fits(micros: i64) -> bool {
    MICROS.contains(&micros)
}

/// Whether a date (days since the epoch) lies in the years 1 to 9999.
pub(crate) fn date_fits(days: i32) -> bool {
    DAYS.contains(&days)
}

/// The text of a timestamp (µs since the epoch); none outside the years 1 to 9999.
pub(crate) fn timestamp_text(micros: i64) -> Option<String> {
    let time = DateTime::from_timestamp_micros(micros).filter(|_| timestamp_fits(micros))?;
    Some(time.to_rfc3339_opts(SecondsFormat::AutoSi, false))
}

/// The text that a time (ms since the epoch) has or would have: what lies outside the years 1 to 9999 compares as lower or higher than all that can be stored.
pub(crate) fn bound_text(millis: i64) -> String {
    let text = millis.checked_mul(1000).and_then(timestamp_text);
    text.unwrap_or_else(|| {
        if millis < 0 {
            String::new()
        } else {
            ":".to_owned()
        }
    })
}

/// The text of a date (days since the epoch); none outside the years 1 to 9999.
pub(crate) fn date_text(days: i32) -> Option<String> {
    let epoch = NaiveDate::from_ymd_opt(1970, 1, 1).filter(|_| date_fits(days))?;
    Some(
        epoch
            .checked_add_signed(Duration::days(i64::from(days)))?
            .to_string(),
    )
}

/// The form that readers of JSON expect: with `Z`.
pub(crate) fn with_z(stored: &str) -> String {
    match stored.strip_suffix("+00:00") {
        Some(time) => format!("{time}Z"),
        None => stored.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_sort_as_the_times_do_at_every_precision() {
        let times = [
            -62_135_596_800_000_000,
            -1,
            0,
            1,
            1_000,
            250_000,
            250_001,
            999_999,
            1_000_000,
            253_402_300_799_999_999,
        ];
        let texts: Vec<_> = times.iter().filter_map(|t| timestamp_text(*t)).collect();
        assert_eq!(texts.len(), times.len());
        assert!(texts.is_sorted(), "{texts:?}");
        assert_eq!(texts[2], "1970-01-01T00:00:00+00:00");
        assert_eq!(texts[5], "1970-01-01T00:00:00.250+00:00");
    }

    #[test]
    fn years_that_four_digits_cannot_hold_have_no_text() {
        for micros in [
            i64::MIN,
            -62_135_596_800_000_001,
            253_402_300_800_000_000,
            i64::MAX,
        ] {
            assert_eq!(timestamp_text(micros), None);
        }
        for days in [i32::MIN, -719_163, 2_932_897, i32::MAX] {
            assert_eq!(date_text(days), None);
        }
        assert_eq!(date_text(-719_162).as_deref(), Some("0001-01-01"));
        assert_eq!(date_text(2_932_896).as_deref(), Some("9999-12-31"));
    }

    #[test]
    fn bounds_outside_of_time_lie_below_or_above_every_text() {
        let first = "0001-01-01T00:00:00+00:00".to_owned();
        assert!(
            bound_text(i64::MIN) < first
                && *bound_text(i64::MAX) > *"9999-12-31T23:59:59.999999+00:00"
        );
        assert_eq!(bound_text(-62_135_596_800_000), first);
    }
}
