//! Where reading begins when nothing was read before.
use std::{borrow::Cow, fmt, str::FromStr};

use chrono::{DateTime, SecondsFormat, Utc};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a start looks like.
pub const PATTERN: &str = "^(Earliest|Latest|[0-9]{4}-[0-9]{2}-[0-9]{2}T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9]))$";

/// Where reading begins when nothing was read before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Start {
    /// The oldest retained event.
    #[default]
    Earliest,
    /// Only what arrives from now on.
    Latest,
    /// The first event that arrived at or after this time (ms since the epoch).
    At(i64),
}

/// Why a text says no start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no start: write `Earliest`, `Latest` or a time with its zone such as `2026-01-31T00:00:00Z`"
)]
pub struct StartError(String);

impl FromStr for Start {
    type Err = StartError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "Earliest" => Ok(Self::Earliest),
            "Latest" => Ok(Self::Latest),
            time => DateTime::parse_from_rfc3339(time)
                .map(|time| Self::At(time.timestamp_millis()))
                .map_err(|_| StartError(text.to_owned())),
        }
    }
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Earliest => f.write_str("Earliest"),
            Self::Latest => f.write_str("Latest"),
            Self::At(millis) => match DateTime::<Utc>::from_timestamp_millis(*millis) {
                Some(time) => f.write_str(&time.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
                None => Err(fmt::Error),
            },
        }
    }
}

impl Serialize for Start {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Start {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Start {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Start".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": PATTERN, "maxLength": 40})
    }
}
