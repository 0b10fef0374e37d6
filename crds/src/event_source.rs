//! `EventSource`: where events come from, and their contract.
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Duration, generator::Generator};

/// Where events come from, and their contract.
#[derive(CustomResource, JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "tidewheel.dev",
    version = "v1alpha1",
    kind = "EventSource",
    namespaced,
    derive = "PartialEq",
    doc = "Where events come from, and their contract.",
    shortname = "evs",
    category = "tidewheel"
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EventSourceSpec {
    /// The columns of an event. Every SQL step, key and table is checked against them.
    pub schema: Schema,
    /// Which column says when an event happened, and how far its order may be trusted.
    pub event_time: EventTime,
    /// Columns whose values make the message key. Events of equal key stay in order, in one partition. Without a key, events are spread evenly.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key: Vec<String>,
    /// The topic that holds the events.
    #[serde(default)]
    pub topic: Topic,
    /// Events are posted over HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<Http>,
    /// Events are made up at a declared rate, the same ones for the same seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generator: Option<Generator>,
}

/// The columns of an event.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Schema {
    /// The columns, in the order in which `SELECT *` shows them.
    pub fields: Vec<Field>,
    /// What becomes of members that no column takes.
    #[serde(default)]
    pub unknown_fields: UnknownFields,
}

/// A column.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Field {
    /// Name of the column in SQL and in tables. Names that begin with `_` are reserved.
    pub name: String,
    /// Type of the column.
    #[serde(rename = "type")]
    pub type_: FieldType,
    /// Where the value is in the JSON event, members separated by dots: `attributes.user_id`. The column's name if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Whether an event without a value here is refused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
    /// How a value is made at ingest when the event has none. Who sends its own may retry safely.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generate: Option<Generate>,
}

/// Type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FieldType {
    /// A string.
    Text,
    /// A whole number of 64 bits.
    Bigint,
    /// A floating-point number of 64 bits.
    Double,
    /// `true` or `false`.
    Boolean,
    /// A point in time: RFC 3339 text with a zone, or whole milliseconds since 1970. Kept in UTC, in microseconds.
    Timestamp,
    /// A UUID.
    Uuid,
    /// Any JSON value, kept as its text.
    Json,
}

/// What becomes of members that no column takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum UnknownFields {
    /// They are kept as JSON in the column `_extra`.
    #[default]
    Keep,
    /// They are dropped.
    Drop,
    /// An event that has one is refused.
    Reject,
}

/// How a value is made at ingest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Generate {
    /// A new UUID of version 7.
    Uuid,
}

/// Event time.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EventTime {
    /// A required column of type timestamp that says when the event happened.
    pub field: String,
    /// How far behind the newest event an event may come and still be on time.
    #[serde(default = "EventTime::default_max_out_of_order")]
    pub max_out_of_order: Duration,
    /// How far ahead of its arrival an event may claim to be. What is further ahead is a dead letter.
    #[serde(default = "EventTime::default_max_future")]
    pub max_future: Duration,
    /// After how long without events a partition no longer holds back the windows of the others.
    #[serde(default = "EventTime::default_idle_after")]
    pub idle_after: Duration,
}

impl EventTime {
    fn default_max_out_of_order() -> Duration {
        Duration::ZERO
    }
    fn default_max_future() -> Duration {
        Duration::from_secs(60)
    }
    fn default_idle_after() -> Duration {
        Duration::from_secs(30)
    }
}

/// The topic that holds the events.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Topic {
    /// Number of partitions: the most tasks that can share the work. It may grow, never shrink.
    #[serde(default = "Topic::default_partitions")]
    pub partitions: i32,
    /// How long events are kept.
    #[serde(default = "Topic::default_retention")]
    pub retention: Duration,
}

impl Topic {
    fn default_partitions() -> i32 {
        6
    }
    fn default_retention() -> Duration {
        Duration::from_days(7)
    }
}

impl Default for Topic {
    fn default() -> Self {
        Self { partitions: Self::default_partitions(), retention: Self::default_retention() }
    }
}

/// Ingestion over HTTP.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Http {
    /// Who may send events. Everybody if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// Which web pages may send events from a browser. None if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cors: Option<Cors>,
    /// How much may be sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
}

/// Who may send events.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Auth {
    /// Senders show a key, in the header `X-API-Key` or as a bearer token.
    pub api_keys: ApiKeys,
}

/// Where the API keys are.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApiKeys {
    /// The Secret that holds them. Each of its values is a key, plain or as `sha256:` and 64 hexadecimal digits.
    pub secret_ref: SecretRef,
}

/// A Secret in the same namespace.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretRef {
    /// Name of the Secret.
    pub name: String,
}

/// Cross-origin requests.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cors {
    /// Origins of the pages, such as `https://shop.example`; `*` stands for all.
    pub origins: Vec<String>,
}

/// Limits of ingestion.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// Events a second for each API key (for all senders together where there are no keys). No limit if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events_per_second_per_key: Option<u32>,
}

/// Where the events of an EventSource come from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Origin<'a> {
    /// Posted over HTTP.
    Http(&'a Http),
    /// Made up.
    Generator(&'a Generator),
}

impl EventSourceSpec {
    /// Where the events come from; none where the spec does not say exactly one.
    pub fn origin(&self) -> Option<Origin<'_>> {
        match (&self.http, &self.generator) {
            (Some(http), None) => Some(Origin::Http(http)),
            (None, Some(generator)) => Some(Origin::Generator(generator)),
            _ => None,
        }
    }
}

impl Field {
    /// Where the value is in the JSON event.
    pub fn path(&self) -> &str {
        self.path.as_deref().unwrap_or(&self.name)
    }
}
