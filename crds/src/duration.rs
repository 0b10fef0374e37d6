//! Durations as people write them: `10s`, `1h30m`, `250ms`, `7d`.
use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A non-negative span of time with millisecond resolution.
///
/// Written as a sequence of a whole number and a unit (`d`, `h`, `m`, `s`, `ms`), largest first: `1h30m`.
///
/// ```
/// use tidewheel_crds::Duration;
///
/// let d: Duration = "1h30m".parse()?;
/// assert_eq!(d.as_millis(), 5_400_000);
/// assert_eq!(d.to_string(), "1h30m");
/// # Ok::<(), tidewheel_crds::duration::DurationError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Duration {
    millis: u64,
}

/// What a duration looks like. The same text stands in the CRDs, so the API server and [`Duration::from_str`] accept the same.
///
/// The API server reads `format: duration` with Go's parser and, where that fails, with one that also knows days; both take what this pattern lets
/// through, so CEL rules compare durations natively (literals in rules are pure Go: hours at most). It counts nanoseconds in 64 bits and does not notice
/// an overflow at 292 years: the digits allowed here add up to less.
pub const PATTERN: &str =
    "^([0-9]{1,4}d)?([0-9]{1,6}h)?([0-9]{1,7}m)?([0-9]{1,9}s)?([0-9]{1,12}ms)?$";

/// Units, largest first: name, length in milliseconds, most digits before it.
const UNITS: [(&str, u64, u32); 5] = [
    ("d", 86_400_000, 4),
    ("h", 3_600_000, 6),
    ("m", 60_000, 7),
    ("s", 1_000, 9),
    ("ms", 1, 12),
];

/// Why a text is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Not a sequence of number and unit, largest unit first.
    #[error(
        "`{0}` is not a duration: write whole numbers with units, largest first, such as `250ms`, `10s`, `1h30m` or `7d`"
    )]
    Malformed(String),
    /// More digits than fit.
    #[error(
        "`{0}` is too long a duration: at most 9999d, 999999h, 9999999m, 999999999s or 999999999999ms"
    )]
    TooLong(String),
}

impl Duration {
    /// No time at all.
    pub const ZERO: Self = Self { millis: 0 };

    /// A duration of `millis` milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self { millis }
    }

    /// A duration of `seconds` seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self {
            millis: seconds * 1_000,
        }
    }

    /// A duration of `days` days of 24 hours.
    pub const fn from_days(days: u64) -> Self {
        Self {
            millis: days * 86_400_000,
        }
    }

    /// The duration in milliseconds.
    pub const fn as_millis(self) -> u64 {
        self.millis
    }
}

impl From<Duration> for std::time::Duration {
    fn from(duration: Duration) -> Self {
        Self::from_millis(duration.millis)
    }
}

impl FromStr for Duration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = || DurationError::Malformed(text.to_owned());
        let mut rest = text;
        let mut units = UNITS.iter();
        let mut millis: u64 = 0;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let letters = rest
                .bytes()
                .skip(digits)
                .take_while(u8::is_ascii_alphabetic)
                .count();
            let (number, unit) = (&rest[..digits], &rest[digits..digits + letters]);
            // The iterator only moves on, so a unit that is repeated or out of order is not found.
            let (_, factor, max_digits) = units
                .find(|(name, _, _)| *name == unit)
                .ok_or_else(malformed)?;
            if digits > *max_digits as usize {
                return Err(DurationError::TooLong(text.to_owned()));
            }
            let number: u64 = number.parse().map_err(|_| malformed())?;
            // Cannot overflow: the most digits of every unit add up to less than 292 years.
            millis += number * factor;
            rest = &rest[digits + letters..];
        }
        if text.is_empty() {
            return Err(malformed());
        }
        Ok(Self { millis })
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.millis == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.millis;
        for (unit, factor, max_digits) in UNITS {
            // What has no room in a unit's digits goes to the next smaller one, so that the text can be read again.
            let most = if factor == 1 {
                u64::MAX
            } else {
                10_u64.pow(max_digits) - 1
            };
            let number = (rest / factor).min(most);
            if number > 0 {
                write!(f, "{number}{unit}")?;
                rest -= number * factor;
            }
        }
        Ok(())
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Duration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": "duration", "pattern": PATTERN, "minLength": 2, "maxLength": 32})
    }
}
