//! `generator` of an EventSource: made-up events, the same ones for the same seed.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Duration;

/// Made-up events, the same ones for the same seed.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Generator {
    /// How many events are made in a second.
    pub events_per_second: u32,
    /// How many events are made in all. Without end if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<i64>,
    /// Decides every value but the time: equal seeds make equal events.
    #[serde(default)]
    pub seed: i64,
    /// How the value of each column is made. A column that is not listed and not required is left out.
    pub fields: Vec<GeneratedField>,
}

/// How the value of a column is made: exactly one of the kinds.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GeneratedField {
    /// Name of the column.
    pub field: String,
    /// One of several values, each as likely as its weight says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub one_of: Option<Vec<Choice>>,
    /// A number between two bounds, each equally likely. Whole for bigint columns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uniform: Option<Uniform>,
    /// A number of a normal distribution. Rounded for bigint columns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normal: Option<Normal>,
    /// A positive number of a log-normal distribution, as durations and prices have. Rounded for bigint columns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_normal: Option<LogNormal>,
    /// One of many names or numbers of which few are frequent, as users, pages and products are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zipf: Option<Zipf>,
    /// Always the same value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub constant: Option<Constant>,
    /// A UUID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<UuidValue>,
    /// The time at which the event is made, less a delay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<TimeValue>,
    /// The share of events in which the value is absent.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub null_probability: f64,
}

fn is_zero(probability: &f64) -> bool {
    *probability == 0.0
}

/// One of several values.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Choice {
    /// The value: JSON of the column's type.
    #[schemars(schema_with = "any_json")]
    pub value: Value,
    /// How often it comes, in proportion to the weights of the others.
    #[serde(default = "Choice::default_weight")]
    pub weight: f64,
}

impl Choice {
    fn default_weight() -> f64 {
        1.0
    }
}

/// A number between two bounds.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Uniform {
    /// The smallest value.
    pub min: f64,
    /// The largest value.
    pub max: f64,
}

/// A number of a normal distribution.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Normal {
    /// The mean.
    pub mean: f64,
    /// The standard deviation.
    pub stddev: f64,
}

/// A positive number of a log-normal distribution.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LogNormal {
    /// Half of the values are below it.
    pub median: f64,
    /// Standard deviation of the natural logarithm: 0.5 is moderate, 1.5 has a long tail.
    pub sigma: f64,
}

/// One of many values of which few are frequent.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Zipf {
    /// How many values there are.
    pub cardinality: i64,
    /// How unequal they are: 0 makes all equally frequent, 1 is usual, 2 is extreme.
    #[serde(default = "Zipf::default_exponent")]
    pub exponent: f64,
    /// Stands before the number (1 is the most frequent) in text columns: `user-` makes `user-1`, `user-2`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prefix: String,
}

impl Zipf {
    fn default_exponent() -> f64 {
        1.0
    }
}

/// Always the same value.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Constant {
    /// The value: JSON of the column's type.
    #[schemars(schema_with = "any_json")]
    pub value: Value,
}

/// A UUID. It has no settings.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UuidValue {}

/// The time at which the event is made, less a delay.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TimeValue {
    /// The longest delay. Each event's own is chosen between none and this, so events come out of order by up to as much.
    #[serde(default)]
    pub jitter: Duration,
}

/// How the value of a column is made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ValueKind<'a> {
    /// One of several values.
    OneOf(&'a [Choice]),
    /// A number between two bounds.
    Uniform(&'a Uniform),
    /// A number of a normal distribution.
    Normal(&'a Normal),
    /// A positive number of a log-normal distribution.
    LogNormal(&'a LogNormal),
    /// One of many values of which few are frequent.
    Zipf(&'a Zipf),
    /// Always the same value.
    Constant(&'a Value),
    /// A UUID.
    Uuid,
    /// The time of making less a delay.
    Time(&'a TimeValue),
}

impl GeneratedField {
    /// How the value is made; none where the spec does not say exactly one kind.
    pub fn kind(&self) -> Option<ValueKind<'_>> {
        let kinds = [
            self.one_of.as_deref().map(ValueKind::OneOf),
            self.uniform.as_ref().map(ValueKind::Uniform),
            self.normal.as_ref().map(ValueKind::Normal),
            self.log_normal.as_ref().map(ValueKind::LogNormal),
            self.zipf.as_ref().map(ValueKind::Zipf),
            self.constant.as_ref().map(|constant| ValueKind::Constant(&constant.value)),
            self.uuid.as_ref().map(|_| ValueKind::Uuid),
            self.time.as_ref().map(ValueKind::Time),
        ];
        let mut given = kinds.into_iter().flatten();
        given.next().filter(|_| given.next().is_none())
    }
}

/// A value of any JSON type: structural schemas allow it only where unknown fields are preserved.
fn any_json(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"x-kubernetes-preserve-unknown-fields": true})
}
