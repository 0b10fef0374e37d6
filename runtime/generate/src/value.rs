//! The values of one column.
use std::io::Write as _;

use chrono::{DateTime, SecondsFormat};
use rand::Rng;
use rand::distr::Distribution as _;
use rand::distr::weighted::WeightedIndex;
use rand_distr::{LogNormal, Normal, Zipf};
use tidewheel_crds::event_source::FieldType;
use tidewheel_crds::generator::{Choice, GeneratedField, Uniform, ValueKind};

/// Digits of a made-up double. Beyond them machines may disagree in what a logarithm is.
const SIGNIFICANT_DIGITS: usize = 9;

/// How the values of a column are made.
#[derive(Debug, Clone)]
pub(crate) struct Values {
    kind: Kind,
    absent: f64,
}

#[derive(Debug, Clone)]
enum Kind {
    /// JSON texts, one of which comes by its weight.
    Choices(WeightedIndex<f64>, Vec<String>),
    Whole(i64, i64),
    Real(f64, f64),
    Normal(Normal<f64>, Number),
    LogNormal(LogNormal<f64>, Number),
    Zipf(Ranks),
    /// A JSON text.
    Constant(String),
    Uuid,
    Time {
        jitter_ms: u64,
    },
}

/// Numbers from 1 on, the lower the more frequent.
#[derive(Debug, Clone)]
struct Ranks {
    zipf: Zipf<f64>,
    cardinality: u64,
    /// What stands before the number: for texts an opening quote and the prefix.
    before: String,
    after: &'static str,
}

#[derive(Debug, Clone, Copy)]
enum Number {
    Whole,
    Real,
}

impl Values {
    /// UUIDs in every event.
    pub(crate) fn uuids() -> Self {
        Self {
            kind: Kind::Uuid,
            absent: 0.0,
        }
    }

    /// What `field` declares for a column of `column_type`; the reason where that cannot be made.
    pub(crate) fn new(field: &GeneratedField, column_type: FieldType) -> Result<Self, String> {
        let kind = field.kind().ok_or(
            "say how its values are made, in one way: `oneOf`, `uniform`, `normal`, `logNormal`, `zipf`, `constant`, `uuid` or `time`",
        )?;
        Ok(Self {
            kind: Kind::new(kind, column_type)?,
            absent: field.null_probability,
        })
    }

    /// Appends a value as JSON, or nothing where it is absent. Returns whether it is there.
    pub(crate) fn write(&self, out: &mut Vec<u8>, random: &mut impl Rng, now_ms: i64) -> bool {
        if self.absent > 0.0 && random.random::<f64>() < self.absent {
            return false;
        }
        self.kind.write(out, random, now_ms);
        true
    }
}

impl Kind {
    fn new(kind: ValueKind<'_>, column_type: FieldType) -> Result<Self, String> {
        let number = match column_type {
            FieldType::Bigint => Number::Whole,
            _ => Number::Real,
        };
        let wrong = |error: &dyn std::fmt::Display| error.to_string();
        Ok(match kind {
            ValueKind::OneOf(choices) => Self::choices(choices)?,
            ValueKind::Uniform(bounds) => Self::uniform(bounds, number)?,
            ValueKind::Normal(normal) => {
                let normal = Normal::new(normal.mean, normal.stddev).map_err(|e| wrong(&e))?;
                Self::Normal(normal, number)
            }
            ValueKind::LogNormal(given) => {
                if given.median <= 0.0 {
                    return Err("the median must be greater than 0, such as 20".to_owned());
                }
                let normal =
                    LogNormal::new(given.median.ln(), given.sigma).map_err(|e| wrong(&e))?;
                Self::LogNormal(normal, number)
            }
            ValueKind::Zipf(given) => {
                let zipf =
                    Zipf::new(given.cardinality as f64, given.exponent).map_err(|e| wrong(&e))?;
                let (before, after) = match column_type {
                    FieldType::Bigint => (String::new(), ""),
                    _ => {
                        let mut quoted = serde_json::Value::from(given.prefix.as_str()).to_string();
                        quoted.pop(); // the closing quote comes after the number
                        (quoted, "\"")
                    }
                };
                Self::Zipf(Ranks {
                    zipf,
                    cardinality: given.cardinality,
                    before,
                    after,
                })
            }
            ValueKind::Constant(value) => Self::Constant(value.to_string()),
            ValueKind::Uuid => Self::Uuid,
            ValueKind::Time(time) => Self::Time {
                jitter_ms: time.jitter.as_millis(),
            },
        })
    }

    fn choices(choices: &[Choice]) -> Result<Self, String> {
        let weights = choices.iter().map(|choice| choice.weight);
        let index = WeightedIndex::new(weights)
            .map_err(|_| "at least one weight must be greater than 0, and none less".to_owned())?;
        let texts = choices.iter().map(|choice| choice.value.to_string());
        Ok(Self::Choices(index, texts.collect()))
    }

    fn uniform(bounds: &Uniform, number: Number) -> Result<Self, String> {
        let Uniform { min, max } = *bounds;
        if !(min.is_finite() && max.is_finite() && min <= max) {
            return Err("min must not be greater than max".to_owned());
        }
        match number {
            Number::Real => Ok(Self::Real(min, max)),
            Number::Whole if min.ceil() <= max.floor() => {
                Ok(Self::Whole(min.ceil() as i64, max.floor() as i64))
            }
            Number::Whole => Err(format!(
                "there is no whole number between {min} and {max}, and the column is a bigint: widen the bounds"
            )),
        }
    }

    fn write(&self, out: &mut Vec<u8>, random: &mut impl Rng, now_ms: i64) {
        match self {
            Self::Choices(index, texts) => {
                if let Some(text) = texts.get(index.sample(random)) {
                    out.extend_from_slice(text.as_bytes());
                }
            }
            Self::Whole(min, max) => json(out, &random.random_range(*min..=*max)),
            Self::Real(min, max) => {
                let value = rounded(random.random_range(*min..=*max));
                json(out, &value.clamp(*min, *max));
            }
            Self::Normal(normal, number) => number.write(out, normal.sample(random)),
            Self::LogNormal(normal, number) => number.write(out, normal.sample(random)),
            Self::Zipf(ranks) => {
                out.extend_from_slice(ranks.before.as_bytes());
                // The last rank may round up to one beyond.
                json(
                    out,
                    &(ranks.zipf.sample(random) as u64).min(ranks.cardinality),
                );
                out.extend_from_slice(ranks.after.as_bytes());
            }
            Self::Constant(text) => out.extend_from_slice(text.as_bytes()),
            Self::Uuid => {
                let id = uuid::Builder::from_random_bytes(random.random()).into_uuid();
                let mut buffer = [0; uuid::fmt::Hyphenated::LENGTH];
                json(out, &*id.hyphenated().encode_lower(&mut buffer));
            }
            Self::Time { jitter_ms } => {
                let delay_ms = random.random_range(0..=*jitter_ms);
                write_time(
                    out,
                    now_ms.saturating_sub(i64::try_from(delay_ms).unwrap_or(i64::MAX)),
                );
            }
        }
    }
}

impl Number {
    fn write(self, out: &mut Vec<u8>, value: f64) {
        match self {
            Self::Whole => json(out, &(value.round() as i64)), // saturates
            // Neither JSON nor a double has infinity.
            Self::Real => json(out, &rounded(value.clamp(-1e300, 1e300))),
        }
    }
}

/// RFC 3339 with milliseconds, which sorts and reads well; as a number where the year has not four digits.
fn write_time(out: &mut Vec<u8>, time_ms: i64) {
    match DateTime::from_timestamp_millis(time_ms) {
        Some(time) => json(out, &time.to_rfc3339_opts(SecondsFormat::Millis, true)),
        None => json(out, &time_ms),
    }
}

fn rounded(value: f64) -> f64 {
    let text = format!("{value:.*e}", SIGNIFICANT_DIGITS - 1);
    text.parse().unwrap_or(value)
}

fn json<T: serde::Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    // Numbers and texts always serialize, and memory always takes them.
    if serde_json::to_writer(&mut *out, value).is_err() {
        let _ = out.write_all(b"null");
    }
}
