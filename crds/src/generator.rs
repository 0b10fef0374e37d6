//! `generator` of an EventSource: made-up events, the same ones for the same seed.
use kube::core::Rule;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Duration,
    shape::{self, MAX_WHOLE, any_json},
};

/// Made-up events, the same ones for the same seed.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Generator {
    /// How many events are made in a second.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub events_per_second: u32,
    /// How many events are made in all. Without end if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = MAX_WHOLE))]
    pub count: Option<u64>,
    /// Decides every value but the time: equal seeds make equal events.
    #[serde(default)]
    #[schemars(range(min = 0, max = MAX_WHOLE))]
    pub seed: u64,
    /// How the value of each column is made. A column that is not listed and not required is left out.
    #[schemars(
        length(min = 1, max = shape::MAX_COLUMNS),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["field"])
    )]
    pub fields: Vec<GeneratedField>,
}

/// How the value of a column is made: exactly one of the kinds.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [Rule::new(
    "[has(self.oneOf), has(self.uniform), has(self.normal), has(self.logNormal), has(self.zipf), has(self.constant), \
     has(self.uuid), has(self.time)].exists_one(given, given)"
).message(
    "a generated column has exactly one of `oneOf`, `uniform`, `normal`, `logNormal`, `zipf`, `constant`, `uuid` and `time`"
)]))]
pub struct GeneratedField {
    /// Name of the column.
    #[schemars(length(min = 1, max = shape::MAX_IDENTIFIER), regex(pattern = shape::COLUMN))]
    pub field: String,
    /// One of several values, each as likely as its weight says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), extend("x-kubernetes-list-type" = "atomic", "x-kubernetes-validations" = [
        Rule::new("self.exists(c, c.weight > 0.0)").message("at least one weight must be greater than 0"),
    ]))]
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
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub null_probability: f64,
}

/// One of several values.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Choice {
    /// The value: JSON of the column's type.
    #[schemars(transform = any_json)]
    pub value: Value,
    /// How often it comes, in proportion to the weights of the others.
    #[serde(default = "Choice::default_weight")]
    #[schemars(range(min = 0.0, max = 1e9))]
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
#[schemars(extend("x-kubernetes-validations" = [
    Rule::new("self.min <= self.max").message("min must not be greater than max"),
]))]
pub struct Uniform {
    /// The smallest value.
    #[schemars(range(min = -1e15, max = 1e15))]
    pub min: f64,
    /// The largest value.
    #[schemars(range(min = -1e15, max = 1e15))]
    pub max: f64,
}

/// A number of a normal distribution.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Normal {
    /// The mean.
    #[schemars(range(min = -1e15, max = 1e15))]
    pub mean: f64,
    /// The standard deviation.
    #[schemars(range(min = 0.0, max = 1e15))]
    pub stddev: f64,
}

/// A positive number of a log-normal distribution.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LogNormal {
    /// Half of the values are below it.
    #[schemars(
        range(min = 0.0, max = 1e15),
        extend("x-kubernetes-validations" = [Rule::new("self > 0.0").message("must be greater than 0, such as 20")])
    )]
    pub median: f64,
    /// Standard deviation of the natural logarithm: 0.5 is moderate, 1.5 has a long tail.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub sigma: f64,
}

/// One of many values of which few are frequent.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Zipf {
    /// How many values there are.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub cardinality: u64,
    /// How unequal they are: 0 makes all equally frequent, 1 is usual, 2 is extreme.
    #[serde(default = "Zipf::default_exponent")]
    #[schemars(range(min = 0.0, max = 10.0))]
    pub exponent: f64,
    /// Stands before the number (1 is the most frequent) in text columns: `user-` makes `user-1`, `user-2`.
    #[serde(default)]
    #[schemars(length(max = 256))]
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
    #[schemars(transform = any_json)]
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
    #[schemars(extend("x-kubernetes-validations" = [
        Rule::new("self <= duration('8784h')").message("must be at most 366d, such as 5s"),
    ]))]
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
            self.constant
                .as_ref()
                .map(|constant| ValueKind::Constant(&constant.value)),
            self.uuid.as_ref().map(|_| ValueKind::Uuid),
            self.time.as_ref().map(ValueKind::Time),
        ];
        let mut given = kinds.into_iter().flatten();
        given.next().filter(|_| given.next().is_none())
    }
}

/// Rules that hold a generator to the schema of its EventSource.
pub(crate) fn rules() -> Vec<Rule> {
    let columns = |given: &str, types: &str| {
        format!(
            "!has(self.generator) || self.generator.fields.all(g, !({given}) || \
             self.schema.fields.exists(f, f.name == g.field && f.type in [{types}]))"
        )
    };
    vec![
        Rule::new("!has(self.generator) || self.generator.fields.all(g, self.schema.fields.exists(f, f.name == g.field))")
            .message("each generated column must be in schema.fields")
            .field_path(".generator.fields"),
        Rule::new(
            "!has(self.generator) || self.schema.fields.all(f, !f.required || has(f.generate) || \
             self.generator.fields.exists(g, g.field == f.name && g.nullProbability == 0.0))",
        )
        .message("each required column needs an entry in generator.fields, with `nullProbability: 0`")
        .field_path(".generator.fields"),
        Rule::new(columns("has(g.uniform) || has(g.normal) || has(g.logNormal)", "'bigint', 'double'"))
            .message("`uniform`, `normal` and `logNormal` make numbers: the column must be of type bigint or double")
            .field_path(".generator.fields"),
        Rule::new(columns("has(g.zipf)", "'text', 'bigint'"))
            .message("`zipf` makes names or whole numbers: the column must be of type text or bigint")
            .field_path(".generator.fields"),
        Rule::new(columns("has(g.uuid)", "'uuid', 'text'"))
            .message("`uuid` needs a column of type uuid or text")
            .field_path(".generator.fields"),
        Rule::new(columns("has(g.time)", "'timestamp'"))
            .message("`time` needs a column of type timestamp")
            .field_path(".generator.fields"),
    ]
}
