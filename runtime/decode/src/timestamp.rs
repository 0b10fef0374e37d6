//! RFC 3339 times to microseconds since the epoch.

/// Why a text is no time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotATime {
    /// It does not look like one, or a part is beyond its range (month 13).
    Malformed,
    /// All but the zone is there.
    NoZone,
    /// The instant is outside the years 0001 to 9999 (UTC).
    OutOfRange,
}

/// 0001-01-01T00:00:00Z
const FIRST_SECOND: i64 = -62_135_596_800;
/// 9999-12-31T23:59:59Z
const LAST_SECOND: i64 = 253_402_300_799;
const SECONDS_A_DAY: i64 = 86_400;

/// Microseconds since the epoch of a number of milliseconds, within the years 0001 to 9999.
pub(crate) fn from_millis(millis: i64) -> Option<i64> {
    (FIRST_SECOND * 1000..=LAST_SECOND * 1000 + 999)
        .contains(&millis)
        .then(|| millis * 1000)
}

/// Microseconds since the epoch of an RFC 3339 time.
///
/// `T` and `Z` may be lower case and a space may stand for `T`. Of up to nine fractional digits six count, the rest is
/// cut off. A leap second (`23:59:60` UTC) is the first second of the next day, as in POSIX time.
pub(crate) fn from_rfc3339(text: &[u8]) -> Result<i64, NotATime> {
    let (date_time, rest) = text.split_first_chunk::<19>().ok_or(NotATime::Malformed)?;
    let (days, second_of_day) = date_and_time(date_time).ok_or(NotATime::Malformed)?;
    let (micros, rest) = fraction(rest)?;
    let local = days * SECONDS_A_DAY + second_of_day;
    let second = local - zone_offset(rest)?;
    let is_leap_second = date_time.ends_with(b"60");
    if is_leap_second && second % SECONDS_A_DAY != 0 {
        return Err(NotATime::Malformed);
    }
    if !(FIRST_SECOND..=LAST_SECOND).contains(&second) {
        return Err(NotATime::OutOfRange);
    }
    Ok(second * 1_000_000 + micros)
}

/// Days since the epoch and the second of the day of `YYYY-MM-DDThh:mm:ss`.
#[inline]
fn date_and_time(text: &[u8; 19]) -> Option<(i64, i64)> {
    let mut worst = 0;
    let mut digit = |at: usize| {
        let digit = text[at].wrapping_sub(b'0');
        worst = worst.max(digit);
        i64::from(digit)
    };
    let mut two = |at: usize| digit(at) * 10 + digit(at + 1);
    let year = two(0) * 100 + two(2);
    let (month, day) = (two(5), two(8));
    let (hour, minute, second) = (two(11), two(14), two(17));
    let is_punctuated = text[4] == b'-'
        && text[7] == b'-'
        && matches!(text[10], b'T' | b't' | b' ')
        && text[13] == b':'
        && text[16] == b':';
    let in_range = worst <= 9
        && (1..=12).contains(&month)
        && day >= 1
        && day <= days_in_month(year, month)
        && hour <= 23
        && minute <= 59
        && second <= 60;
    (is_punctuated && in_range).then(|| {
        (
            days_from_civil(year, month, day),
            hour * 3600 + minute * 60 + second,
        )
    })
}

/// Microseconds of `.123456789`, if that comes next, and what follows.
#[inline]
fn fraction(text: &[u8]) -> Result<(i64, &[u8]), NotATime> {
    let Some(digits) = text.strip_prefix(b".") else {
        return Ok((0, text));
    };
    let count = digits
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    if !(1..=9).contains(&count) {
        return Err(NotATime::Malformed);
    }
    let (digits, rest) = digits.split_at(count);
    let micros = (0..6).fold(0, |micros, at| {
        micros * 10 + digits.get(at).map_or(0, |digit| i64::from(digit - b'0'))
    });
    Ok((micros, rest))
}

/// Seconds east of UTC of `Z` or `+01:00`.
#[inline]
fn zone_offset(text: &[u8]) -> Result<i64, NotATime> {
    let (sign, digits) = match text {
        [] => return Err(NotATime::NoZone),
        [b'Z' | b'z'] => return Ok(0),
        [b'+', digits @ ..] => (1, digits),
        [b'-', digits @ ..] => (-1, digits),
        _ => return Err(NotATime::Malformed),
    };
    let &[h1, h2, b':', m1, m2] = digits else {
        return Err(NotATime::Malformed);
    };
    if ![h1, h2, m1, m2].iter().all(u8::is_ascii_digit) {
        return Err(NotATime::Malformed);
    }
    let two = |tens: u8, ones: u8| i64::from(tens - b'0') * 10 + i64::from(ones - b'0');
    let (hours, minutes) = (two(h1, h2), two(m1, m2));
    if hours > 23 || minutes > 59 {
        return Err(NotATime::Malformed);
    }
    Ok(sign * (hours * 3600 + minutes * 60))
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a date of the proleptic Gregorian calendar, years counted from March so that the leap day
/// comes last (Howard Hinnant's algorithm).
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}
