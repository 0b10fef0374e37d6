//! `Pipeline`: what happens between sources and sinks.
#![allow(
    clippy::duplicated_attributes,
    reason = "each printer column has a type"
)]

use kube::{CustomResource, core::Rule};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    DeletionPolicy, Duration, Resources, Scaling, Start,
    shape::{self, describe_variants},
};

/// What happens between sources and sinks: steps in SQL, windows, and outputs.
#[derive(CustomResource, JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "tidewheel.dev",
    version = "v1alpha1",
    kind = "Pipeline",
    namespaced,
    status = "crate::status::PipelineStatus",
    derive = "PartialEq",
    doc = "What happens between sources and sinks: steps in SQL, windows, and outputs.",
    shortname = "pl",
    category = "tidewheel",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].reason"
    ),
    printcolumn(name = "Lag", type_ = "integer", json_path = ".status.lag"),
    printcolumn(name = "Replicas", type_ = "integer", json_path = ".status.replicas"),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    Rule::new("!self.steps.exists(step, self.sources.exists(source, source.name == step.name))")
        .message("a step has the name of a source: SQL could not tell them apart, so rename the step")
        .field_path(".steps"),
]))]
pub struct PipelineSpec {
    /// Whether nothing is read for now. Workers finish what they have in hand; later they go on exactly there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspend: bool,
    /// The EventSources it reads, of the same namespace. Each is a table in SQL.
    #[schemars(
        length(min = 1, max = 8),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub sources: Vec<SourceRef>,
    /// The steps. Each reads sources and other steps by name.
    #[serde(default)]
    #[schemars(
        length(max = 32),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub steps: Vec<Step>,
    /// Where results go: each output writes the rows of one source or step to a table or a topic. All outputs of a Pipeline move together.
    #[schemars(
        length(min = 1, max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub outputs: Vec<Output>,
    /// What becomes of events that cannot be processed. The others go on.
    #[serde(default)]
    pub errors: Errors,
    /// How many workers there are. Their number follows what waits to be processed.
    #[serde(default, skip_serializing_if = "Scaling::is_default")]
    pub scaling: Scaling,
    /// What each worker may use. What the installation says if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// What becomes of progress, state and dead letters when the Pipeline is deleted. With `Delete` they go, and its tables as well where their
    /// Sink says the same.
    #[serde(default, skip_serializing_if = "DeletionPolicy::is_default")]
    #[schemars(transform = describe_variants)]
    pub deletion_policy: DeletionPolicy,
}

/// An EventSource in the same namespace.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SourceRef {
    /// Name of the EventSource. In SQL it is a table of that name.
    #[schemars(length(min = 1, max = 63), regex(pattern = shape::RESOURCE))]
    pub name: String,
    /// Where reading begins, the first time only: `Earliest`, `Latest`, or a time such as `2026-01-31T00:00:00Z`. Partitions that are added
    /// later begin at their beginning.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-validations" = [
        Rule::new("self == 'Earliest' || self == 'Latest' || timestamp(self) >= timestamp('1970-01-01T00:00:00Z')")
            .message("a start time must be a real date, 1970 or later"),
    ]))]
    pub start: Start,
}

/// A step: exactly one of `sql`, `deduplicate` and `aggregate`.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    Rule::new("[has(self.sql), has(self.deduplicate), has(self.aggregate)].exists_one(given, given)")
        .message("a step has exactly one of `sql`, `deduplicate` and `aggregate`"),
]))]
pub struct Step {
    /// Name of the step. In SQL it is a table of that name.
    #[schemars(length(min = 1, max = shape::MAX_IDENTIFIER), regex(pattern = shape::IDENTIFIER))]
    pub name: String,
    /// A query that computes, filters, unites (`UNION ALL`) or unnests row by row, such as `SELECT user_id, amount / 100 AS euros FROM clicks WHERE amount > 0`.
    /// GROUP BY stands in `aggregate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = shape::MAX_SQL))]
    pub sql: Option<String>,
    /// Drops events whose `by` columns came before, within a time that is measured by arrival.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deduplicate: Option<Deduplicate>,
    /// Groups rows in windows of event time, and yields a row for each group of each window, with `window_start` and `window_end`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aggregate: Option<Aggregate>,
}

/// Drops events that came before.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Deduplicate {
    /// The source or step it reads.
    #[schemars(length(min = 1, max = 63), regex(pattern = shape::RELATION))]
    pub from: String,
    /// Columns that identify an event. The source's key must be among them, so that equal events share a partition.
    #[schemars(
        length(min = 1, max = 16),
        inner(length(min = 1, max = shape::MAX_IDENTIFIER), regex(pattern = shape::COLUMN)),
        extend("x-kubernetes-list-type" = "atomic", "x-kubernetes-validations" = [
            Rule::new("self.all(k, self.exists_one(l, l == k))").message("a column stands in `by` once"),
            Rule::new("self == oldSelf").message(
                "`by` cannot change, because it decided which stored events were dropped: give the step another name"
            ),
        ])
    )]
    pub by: Vec<String>,
    /// How long an event is remembered, by the time of its arrival.
    #[schemars(extend("x-kubernetes-validations" = [
        Rule::new("self > duration('0s') && self <= duration('576h')")
            .message("must be more than 0s and at most 24d: every event of that time is remembered"),
    ]))]
    pub within: Duration,
}

/// Groups rows in windows of event time.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    Rule::new("!has(self.window.session) || self.late.policy != 'Amend'")
        .message("a session is written once, when it is final, and never amended, as would be the default: write `late: {policy: DeadLetter}`, or `Drop`")
        .field_path(".late.policy"),
]))]
pub struct Aggregate {
    /// The windows. Their bounds are the columns `window_start` and `window_end` of the result.
    pub window: Window,
    /// How long a window waits for late events, and what becomes of those that are later still.
    #[serde(default)]
    pub late: Late,
    /// A query with aggregate functions and, usually, GROUP BY, such as `SELECT page, count(*) AS n FROM clicks GROUP BY page`. What it groups by
    /// stands in its result.
    #[schemars(length(min = 1, max = shape::MAX_SQL))]
    pub sql: String,
}

/// Windows of event time: exactly one of `tumbling`, `hopping` and `session`.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    Rule::new("[has(self.tumbling), has(self.hopping), has(self.session)].exists_one(given, given)")
        .message("say which windows: exactly one of `{tumbling: 1m}`, `{hopping: {size: 10m, every: 1m}}` and `{session: {gap: 30m}}`"),
]))]
pub struct Window {
    /// Windows of this size that follow each other, aligned to 1970-01-01 in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-validations" = [
        Rule::new("self > duration('0s') && self <= duration('8784h')")
            .message("a window must be longer than 0s and at most 366d, such as 1m"),
    ]))]
    pub tumbling: Option<Duration>,
    /// Windows that overlap, such as the last 10 minutes of every minute, aligned to 1970-01-01 in UTC. An event counts in each that holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hopping: Option<Hopping>,
    /// Windows of each group's own: events of a group that follow each other without a gap are in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Session>,
}

/// Windows that last as long as events come.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Session {
    /// How long nothing has to come until a session is over. `window_start` is the time of its first event, `window_end` that of its last plus
    /// the gap.
    #[schemars(extend("x-kubernetes-validations" = [
        Rule::new("self > duration('0s') && self <= duration('8784h')")
            .message("a gap must be longer than 0s and at most 366d, such as 30m"),
    ]))]
    pub gap: Duration,
}

/// Windows of one size, of which one begins every so often.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    Rule::new("self.every <= self.size")
        .message("`every` must be at most `size`: events between two windows would be in none")
        .field_path(".every"),
]))]
pub struct Hopping {
    /// Size of a window.
    #[schemars(extend("x-kubernetes-validations" = [
        Rule::new("self > duration('0s') && self <= duration('8784h')")
            .message("a window must be longer than 0s and at most 366d, such as 10m"),
    ]))]
    pub size: Duration,
    /// How far the starts of two windows are apart. One that divides `size` costs least: a window is put together from the pieces into which the
    /// bounds of all windows cut it, of which there may be 1440.
    #[schemars(extend("x-kubernetes-validations" = [
        Rule::new("self > duration('0s')").message("must be longer than 0s, such as 1m"),
    ]))]
    pub every: Duration,
}

/// What becomes of late events.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Late {
    /// How long after a window's end, by the watermark, events still count.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-validations" = [
        Rule::new("self <= duration('8784h')").message("must be at most 366d: closed windows are kept for that long"),
    ]))]
    pub allowed: Duration,
    /// When results are written, and what becomes of events that are later still.
    #[serde(default)]
    #[schemars(transform = describe_variants)]
    pub policy: LatePolicy,
}

/// When results are written, and what becomes of events that are later than allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum LatePolicy {
    /// A result is written at the window's end and again when an allowed late event changes it. Later events are dead letters.
    #[default]
    Amend,
    /// A result is written once, when the allowed time has passed. Later events are dead letters.
    DeadLetter,
    /// A result is written once, when the allowed time has passed. Later events are counted and dropped.
    Drop,
}

/// A named output. The name is its identity: progress and counts hang on it.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    Rule::new("has(self.postgres) != has(self.kafka)")
        .message("say where the rows go: exactly one of `postgres` and `kafka`"),
    Rule::new("has(self.postgres) == has(oldSelf.postgres)").message(
        "an output cannot move between a table and a topic, because the rows that it wrote stay behind and are not written again: give the output another name"
    ),
    Rule::new(
        "!has(self.postgres) || !has(oldSelf.postgres) || (has(self.postgres.table) ? self.postgres.table : self.name) == (has(oldSelf.postgres.table) ? oldSelf.postgres.table : oldSelf.name)"
    )
    .message(
        "an output cannot move to another table, because the rows that it wrote stay behind and are not written again: give the output another name, or its old table again"
    )
    .field_path(".postgres.table"),
]))]
pub struct Output {
    /// Name of the output. Its progress and counts hang on it: an output of another name is another one.
    #[schemars(length(min = 1, max = shape::MAX_IDENTIFIER), regex(pattern = shape::IDENTIFIER))]
    pub name: String,
    /// The source or step whose rows it writes.
    #[schemars(length(min = 1, max = 63), regex(pattern = shape::RELATION))]
    pub from: String,
    /// Rows go to a table of PostgreSQL, each exactly once. Rows of windows are replaced when an amendment changes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postgres: Option<PostgresOutput>,
    /// Rows go to a topic of Kafka as JSON objects, each exactly once for consumers with `isolation.level=read_committed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kafka: Option<KafkaOutput>,
}

/// A table of PostgreSQL.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PostgresOutput {
    /// Name of a Sink in the same namespace whose kind is postgres.
    #[schemars(length(min = 1, max = 63), regex(pattern = shape::RESOURCE), extend("x-kubernetes-validations" = [
        Rule::new("self == oldSelf").message(
            "an output cannot move to another Sink, because the rows that it wrote stay behind and are not written again: give the output another name"
        ),
    ]))]
    pub sink: String,
    /// Name of the table. The output's name if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = shape::MAX_IDENTIFIER), regex(pattern = shape::IDENTIFIER))]
    pub table: Option<String>,
    /// How long rows stay in the table: those of events from when they were accepted, those of windows from `window_start`. For ever if absent.
    /// An output whose table was made without cannot be given one: give it another name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-validations" = [
        Rule::new("self >= duration('1h') && self <= duration('87600h')")
            .message("must be at least 1h and at most 3650d, such as 30d"),
    ]))]
    pub retention: Option<Duration>,
}

/// A topic of Kafka. Rows of windows go to a compacted one, keyed by `window_start` and the group columns: the newest record of a key is the
/// row, and none is left where it was removed.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    Rule::new("self.topic != oldSelf.topic || self.partitions == oldSelf.partitions")
        .message("`partitions` cannot change, because keys would move to other partitions: give the output another name and another topic"),
]))]
pub struct KafkaOutput {
    /// Name of a Sink in the same namespace whose kind is kafka.
    #[schemars(length(min = 1, max = 63), regex(pattern = shape::RESOURCE))]
    pub sink: String,
    /// Name of the topic. It is made for the rows, and nothing else writes to it.
    #[schemars(length(min = 1, max = 249), regex(pattern = shape::TOPIC), extend("x-kubernetes-validations" = [
        Rule::new("self == oldSelf").message(
            "an output cannot move to another topic, because the rows that it wrote stay behind and are not written again: give the output another name"
        ),
    ]))]
    pub topic: String,
    /// How many partitions the topic has. It cannot change.
    #[serde(default = "KafkaOutput::default_partitions")]
    #[schemars(range(min = 1, max = 512))]
    pub partitions: i32,
    /// How long rows are kept: 7d if absent. Rows of windows are kept until they are replaced or removed, so for them it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-validations" = [
        Rule::new("self >= duration('1m')").message("must be at least 1m, such as 7d"),
    ]))]
    pub retention: Option<Duration>,
    /// Columns that make the message key, which decides the partition. Without them rows have no key. Rows of windows have theirs already, so
    /// for them it is left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        inner(length(min = 1, max = shape::MAX_IDENTIFIER), regex(pattern = shape::COLUMN)),
        extend("x-kubernetes-list-type" = "atomic", "x-kubernetes-validations" = [
            Rule::new("self.all(k, self.exists_one(l, l == k))").message("a column stands in `key` once"),
        ])
    )]
    pub key: Vec<String>,
    /// Headers that hold a column's value, so that consumers need not look into the JSON. A NULL has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub headers: Vec<HeaderColumn>,
}

impl KafkaOutput {
    fn default_partitions() -> i32 {
        6
    }

    /// How long rows are kept unless it is said.
    pub fn default_retention() -> Duration {
        Duration::from_days(7)
    }
}

/// A header with the value of a column.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HeaderColumn {
    /// Name of the header. Names that begin with `_` are reserved.
    #[schemars(length(min = 1, max = 249), regex(pattern = shape::HEADER))]
    pub name: String,
    /// The column whose value it holds.
    #[schemars(length(min = 1, max = shape::MAX_IDENTIFIER), regex(pattern = shape::COLUMN))]
    pub column: String,
}

/// What becomes of events that cannot be processed.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Errors {
    /// Such events go to a topic of dead letters, with the reason and their original bytes.
    #[serde(default)]
    pub dead_letter: DeadLetter,
}

/// The topic of dead letters.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeadLetter {
    /// How long dead letters are kept.
    #[serde(default = "DeadLetter::default_retention")]
    #[schemars(extend("x-kubernetes-validations" = [
        Rule::new("self >= duration('1m')").message("must be at least 1m, such as 7d"),
    ]))]
    pub retention: Duration,
}

impl DeadLetter {
    fn default_retention() -> Duration {
        Duration::from_days(14)
    }
}

impl Default for DeadLetter {
    fn default() -> Self {
        Self {
            retention: Self::default_retention(),
        }
    }
}

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepKind<'a> {
    /// Row-wise SQL.
    Sql(&'a str),
    /// Drops duplicates.
    Deduplicate(&'a Deduplicate),
    /// Windowed aggregation.
    Aggregate(&'a Aggregate),
}

impl Step {
    /// What the step does; none where the spec does not say exactly one kind.
    pub fn kind(&self) -> Option<StepKind<'_>> {
        match (&self.sql, &self.deduplicate, &self.aggregate) {
            (Some(sql), None, None) => Some(StepKind::Sql(sql)),
            (None, Some(deduplicate), None) => Some(StepKind::Deduplicate(deduplicate)),
            (None, None, Some(aggregate)) => Some(StepKind::Aggregate(aggregate)),
            _ => None,
        }
    }
}

/// Which windows a step has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowKind {
    /// Windows of this size that follow each other.
    Tumbling(Duration),
    /// Windows that overlap.
    Hopping(Hopping),
    /// Windows of each group's own, which end after such a gap.
    Session(Duration),
}

impl Window {
    /// Which windows these are; none where the spec does not say exactly one kind.
    pub fn kind(&self) -> Option<WindowKind> {
        match (self.tumbling, self.hopping, self.session) {
            (Some(size), None, None) => Some(WindowKind::Tumbling(size)),
            (None, Some(hopping), None) => Some(WindowKind::Hopping(hopping)),
            (None, None, Some(session)) => Some(WindowKind::Session(session.gap)),
            _ => None,
        }
    }
}
