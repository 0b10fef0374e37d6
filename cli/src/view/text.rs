//! Numbers and times as people read them.
use chrono::{DateTime, SecondsFormat};

/// `1234567` as `1,234,567`.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Events a second: whole, or with a decimal where there are few.
pub(super) fn rate(per_second: f64) -> String {
    if per_second > 0.0 && per_second < 9.95 {
        format!("{per_second:.1}")
    } else {
        count(per_second.round() as u64)
    }
}

/// A time of the day, with the date where it is not that of `now_ms`.
pub(super) fn time(ms: i64, now_ms: i64) -> String {
    let (Some(time), now) = (
        DateTime::from_timestamp_millis(ms),
        DateTime::from_timestamp_millis(now_ms),
    ) else {
        return format!("{ms} ms");
    };
    if now.is_some_and(|now| now.date_naive() == time.date_naive()) {
        time.format("%H:%M:%S").to_string()
    } else {
        time.format("%Y-%m-%d %H:%M:%S").to_string()
    }
}

/// A time as it is written in events.
pub(crate) fn timestamp(ms: i64) -> String {
    DateTime::from_timestamp_millis(ms)
        .unwrap_or_default()
        .to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// `1 row`, `1,204 rows`.
pub(crate) fn rows(n: u64) -> String {
    format!("{} row{}", count(n), plural(n))
}

/// The end of a noun that there are so many of.
pub(crate) fn plural(n: u64) -> &'static str {
    if n == 1 { "" } else { "s" }
}

/// A duration in its two largest units: `2h 5m`, `41s`.
pub(super) fn duration(ms: i64) -> String {
    let seconds = ms.unsigned_abs().div_ceil(1_000);
    let units = [
        (31_536_000, "y"),
        (86_400, "d"),
        (3_600, "h"),
        (60, "m"),
        (1, "s"),
    ];
    let first = units
        .iter()
        .position(|(size, _)| seconds >= *size)
        .unwrap_or(units.len() - 1);
    let mut left = seconds;
    let mut parts = Vec::new();
    for (size, unit) in units.iter().skip(first).take(2) {
        if left / size > 0 || parts.is_empty() {
            parts.push(format!("{}{unit}", left / size));
        }
        left %= size;
    }
    parts.join(" ")
}

/// Counts by reason, the most frequent first: `WrongType 3, Late 1`.
pub(super) fn reasons<'a>(counts: impl IntoIterator<Item = (&'a String, &'a u64)>) -> String {
    let mut counts: Vec<_> = counts.into_iter().filter(|(_, n)| **n > 0).collect();
    counts.sort_by(|(a, m), (b, n)| n.cmp(m).then(a.cmp(b)));
    let texts: Vec<_> = counts
        .iter()
        .map(|(reason, n)| format!("{reason} {}", count(**n)))
        .collect();
    texts.join(", ")
}
