//! `EventSource`: where events come from, and their contract.
#![allow(
    clippy::duplicated_attributes,
    reason = "each printer column has a type"
)]

use kube::{CustomResource, core::Rule};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    DeletionPolicy, Duration, Resources,
    generator::{self, Generator},
    shape::{self, describe_variants},
};

/// Where events come from, and their contract.
#[derive(CustomResource, JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "tidewheel.dev",
    version = "v1alpha1",
    kind = "EventSource",
    namespaced,
    status = "crate::Status",
    derive = "PartialEq",
    doc = "Where events come from, and their contract.",
    shortname = "evs",
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
    printcolumn(
        name = "Event time",
        type_ = "string",
        json_path = ".spec.eventTime.field"
    ),
    printcolumn(
        name = "Partitions",
        type_ = "integer",
        json_path = ".spec.topic.partitions"
    ),
    printcolumn(
        name = "Retention",
        type_ = "string",
        json_path = ".spec.topic.retention"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = source_rules()))]
pub struct EventSourceSpec {
    /// The columns of an event. Every SQL step, key and table is checked against them.
    pub schema: Schema,
    /// Which column says when an event happened, and how far its order may be trusted.
    pub event_time: EventTime,
    /// Columns whose values make the message key. Events of equal key stay in order, in one partition. Without a key, events are spread evenly.
    #[serde(default)]
    #[schemars(
        length(max = 16),
        inner(length(min = 1, max = shape::MAX_IDENTIFIER), regex(pattern = shape::COLUMN)),
        extend("x-kubernetes-list-type" = "atomic", "x-kubernetes-validations" = [
            Rule::new("self.all(k, self.exists_one(l, l == k))").message("a column stands in the key once"),
            Rule::new("self == oldSelf").message(
                "the key cannot change, because it decided the partition of every stored event: make another EventSource"
            ),
        ])
    )]
    pub key: Vec<String>,
    /// The topic that holds the events of `http` and `generator`. It is made as declared here; that of `kafka` is never altered.
    #[serde(default)]
    pub topic: Topic,
    /// Events are posted over HTTP, as JSON objects, arrays or NDJSON, or as CloudEvents. The answer comes once they are stored. `http: {}` takes them from everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<Http>,
    /// Events are read from a topic that exists already, of somebody else's: committed records only. Nothing of it is ever altered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kafka: Option<Kafka>,
    /// Events are made up at a declared rate, the same ones for the same seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generator: Option<Generator>,
    /// What each process may use that takes or makes the events. What the installation says if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
}

/// Rules that look at several fields of an EventSource.
fn source_rules() -> Vec<Rule> {
    let mut rules = vec![
        Rule::new("[has(self.http), has(self.kafka), has(self.generator)].exists_one(given, given)")
            .message("say where the events come from: exactly one of `http` (`http: {}` will do), `kafka` and `generator`"),
        Rule::new("has(self.http) == has(oldSelf.http) && has(self.kafka) == has(oldSelf.kafka)")
            .message("an EventSource cannot change between `http`, `kafka` and `generator`: make another EventSource"),
        Rule::new("!has(self.kafka) || (self.topic.partitions == 6 && self.topic.retention == duration('168h'))")
            .message("`topic` describes a topic that is made for the events; that of `kafka` is never altered: leave `topic` out")
            .field_path(".topic"),
        Rule::new("has(self.kafka) || self.schema.fields.all(f, !has(f.from))")
            .message("`from` is for events of `kafka`: records of other sources have no keys and headers of their own")
            .field_path(".schema.fields"),
        Rule::new("!has(self.kafka) || self.schema.fields.all(f, !has(f.generate))")
            .message("`generate` is for events of `http`: those of `kafka` are in their topic already, so send them with an id")
            .field_path(".schema.fields"),
        Rule::new("self.schema.fields.exists(f, f.name == self.eventTime.field && f.type == 'timestamp' && f.required)")
            .message("must name a column of schema.fields that has `type: timestamp` and `required: true`")
            .field_path(".eventTime.field"),
        Rule::new("self.key.all(k, self.schema.fields.exists(f, f.name == k))")
            .message("each column of the key must be in schema.fields")
            .field_path(".key"),
    ];
    rules.push(cloud_events_rule());
    rules.push(
        Rule::new("!has(self.kafka) || (has(self.kafka.format) && self.kafka.format in ['Avro', 'Protobuf']) == has(self.kafka.schemaRegistry)")
            .message("`format: Avro` and `format: Protobuf` need `schemaRegistry` with the registry that has the schemas, and no other format has it")
            .field_path(".kafka.schemaRegistry"),
    );
    rules.extend(generator::rules());
    rules
}

/// Where unknown fields are rejected, no CloudEvent would pass that has an attribute without a column.
fn cloud_events_rule() -> Rule {
    let is = |origin: &str| {
        format!(
            "(has(self.{origin}) && has(self.{origin}.format) && self.{origin}.format == 'CloudEvents')"
        )
    };
    let rule = format!(
        "!({} || {}) || self.schema.unknownFields != 'Reject' || ['specversion', 'id', 'source', 'type'].all(a, \
         self.schema.fields.exists(f, !has(f.from) && (has(f.path) ? f.path == a : f.name == a)))",
        is("http"),
        is("kafka")
    );
    Rule::new(rule)
        .message("every CloudEvent has `specversion`, `id`, `source` and `type`, which `unknownFields: Reject` refuses without columns: add a column for each, or choose `Keep` or `Drop`")
        .field_path(".schema.unknownFields")
}

/// The columns of an event.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Schema {
    /// The columns, in the order in which `SELECT *` shows them.
    #[schemars(
        length(min = 1, max = shape::MAX_COLUMNS),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub fields: Vec<Field>,
    /// What becomes of members that no column takes.
    #[serde(default)]
    #[schemars(transform = describe_variants)]
    pub unknown_fields: UnknownFields,
}

/// A column.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    Rule::new("!has(self.generate) || self.type == 'uuid'")
        .message("`generate: Uuid` needs a column of type uuid")
        .field_path(".generate"),
    Rule::new("!has(self.generate) || !has(self.path) || !self.path.contains('.')")
        .message("`generate: Uuid` needs a member at the top of the event: a path without dots")
        .field_path(".path"),
    Rule::new("!has(self.from) || !(has(self.path) || has(self.generate))")
        .message("`from` says that the value stands beside the event: leave `path` and `generate` out")
        .field_path(".from"),
    Rule::new("has(self.header) == (has(self.from) && self.from == 'Header')")
        .message("`from: Header` needs `header` with the header's name, and nothing else has it")
        .field_path(".header"),
    Rule::new("!has(self.from) || self.from != 'Timestamp' || self.type == 'timestamp'")
        .message("`from: Timestamp` needs a column of type timestamp")
        .field_path(".from"),
    Rule::new("!has(self.from) || !(self.from in ['Offset', 'Partition']) || self.type == 'bigint'")
        .message("`from: Offset` and `from: Partition` need a column of type bigint")
        .field_path(".from"),
]))]
pub struct Field {
    /// Name of the column in SQL and in tables. Names that begin with `_` are reserved.
    #[schemars(
        length(min = 1, max = shape::MAX_IDENTIFIER),
        regex(pattern = shape::COLUMN),
        extend("x-kubernetes-validations" = [
            Rule::new("!self.startsWith('_')").message("column names that begin with `_` are reserved: choose another name"),
        ])
    )]
    pub name: String,
    /// Type of the column. A value that does not fit makes its event a dead letter, or has it refused at ingest.
    #[serde(rename = "type")]
    #[schemars(
        transform = describe_variants,
        extend("x-kubernetes-validations" = [Rule::new("self == oldSelf").message(
            "the type of a column cannot change, because stored events have the old one: add a column of another name"
        )])
    )]
    pub type_: FieldType,
    /// Where the value is in the JSON event, members separated by dots: `attributes.user_id`. The column's name if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), regex(pattern = shape::PATH))]
    pub path: Option<String>,
    /// For events of `kafka`: which part of the record holds the value. The event itself if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = describe_variants)]
    pub from: Option<From>,
    /// With `from: Header`: the header's name. Of several of that name the last counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 249))]
    pub header: Option<String>,
    /// Whether an event without a value here is refused.
    #[serde(default)]
    pub required: bool,
    /// How a value is made at ingest when the event has none.
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

/// Which part of a record holds a value. Keys and headers are UTF-8 text, read as the column's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum From {
    /// The record's key.
    Key,
    /// The header that `header` names.
    Header,
    /// The record's own timestamp.
    Timestamp,
    /// The record's offset.
    Offset,
    /// The record's partition.
    Partition,
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

/// How a value is made at ingest when the event has none; senders who send their own may retry safely.
/// `Uuid`: a new UUID of version 7.
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
    #[schemars(length(min = 1, max = shape::MAX_IDENTIFIER), regex(pattern = shape::COLUMN))]
    pub field: String,
    /// How far behind the newest event an event may come and still be on time.
    #[serde(default = "EventTime::default_max_out_of_order")]
    #[schemars(extend("x-kubernetes-validations" = [
        Rule::new("self <= duration('8784h')").message("must be at most 366d: windows stay open for that long"),
    ]))]
    pub max_out_of_order: Duration,
    /// How far ahead of its arrival an event may claim to be. What is further ahead is a dead letter.
    #[serde(default = "EventTime::default_max_future")]
    pub max_future: Duration,
    /// After how long without events a partition no longer holds back the windows of the others.
    #[serde(default = "EventTime::default_idle_after")]
    #[schemars(extend("x-kubernetes-validations" = [
        Rule::new("self >= duration('1s')").message("must be at least 1s: shorter pauses are usual"),
    ]))]
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
    /// Number of partitions, 6 if absent: the most tasks that can share the work. It may grow, never shrink.
    #[serde(default = "Topic::default_partitions")]
    #[schemars(
        range(min = 1, max = 512),
        extend("x-kubernetes-validations" = [
            Rule::new("self >= oldSelf").message("partitions can be added, never removed: their events would be lost"),
        ])
    )]
    pub partitions: i32,
    /// How long events are kept, 7d if absent. Choose it longer than the longest outage: what is deleted before a Pipeline has read it is lost to it.
    #[serde(default = "Topic::default_retention")]
    #[schemars(extend("x-kubernetes-validations" = [
        Rule::new("self >= duration('1m')").message("must be at least 1m, such as 7d"),
    ]))]
    pub retention: Duration,
    /// What becomes of the topic, and of every event in it, when the EventSource is deleted.
    #[serde(default, skip_serializing_if = "DeletionPolicy::is_default")]
    #[schemars(transform = describe_variants)]
    pub deletion_policy: DeletionPolicy,
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
        Self {
            partitions: Self::default_partitions(),
            retention: Self::default_retention(),
            deletion_policy: DeletionPolicy::Retain,
        }
    }
}

/// A topic that exists already.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Kafka {
    /// Name of the topic, on the cluster that pipelines run on. It is read and never altered.
    #[schemars(
        length(min = 1, max = 249),
        regex(pattern = shape::TOPIC),
        extend("x-kubernetes-validations" = [
            Rule::new("self == oldSelf").message(
                "the topic cannot change, because progress is counted in its offsets: make another EventSource"
            ),
        ])
    )]
    pub topic: String,
    /// What the events are that stand in its records.
    #[serde(default, skip_serializing_if = "KafkaFormat::is_default")]
    #[schemars(transform = describe_variants)]
    pub format: KafkaFormat,
    /// Where the schemas are that values name, with `format: Avro` and `format: Protobuf`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_registry: Option<SchemaRegistry>,
}

/// A schema registry that speaks Confluent's API.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SchemaRegistry {
    /// Its address, such as `http://registry:8081` or `https://registry.example`.
    #[schemars(length(min = 1, max = 1024), regex(pattern = shape::REGISTRY))]
    pub url: String,
    /// A Secret with what it wants to be shown, all of it optional: `username` and `password`, `ca.crt` (who has signed its certificate; otherwise the
    /// public authorities), `tls.crt` and `tls.key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,
}

/// What events are that stand in a topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum KafkaFormat {
    /// JSON objects.
    #[default]
    Json,
    /// CloudEvents 1.0, in structured mode (JSON) or binary mode (attributes in headers). Paths see one JSON object of each: its attributes, such as `id`
    /// and `time`, and its data in `data`, or in `data_base64` where that is neither JSON nor text.
    CloudEvents,
    /// Records of Avro, each with the id of its schema in front, as serializers of a schema registry write them. Paths see them as JSON.
    Avro,
    /// Messages of Protobuf, each with the id of its schema in front, as serializers of a schema registry write them. Paths see them as JSON.
    Protobuf,
}

impl KafkaFormat {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What events are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Format {
    /// JSON objects.
    #[default]
    Json,
    /// CloudEvents 1.0, in structured mode (JSON) or binary mode (attributes in headers). Paths see one JSON object of each: its attributes, such as `id`
    /// and `time`, and its data in `data`, or in `data_base64` where that is neither JSON nor text.
    CloudEvents,
}

impl Format {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Ingestion over HTTP.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Http {
    /// What the events are that are posted. Those of CloudEvents are stored as JSON in structured mode, however they came.
    #[serde(default, skip_serializing_if = "Format::is_default")]
    #[schemars(transform = describe_variants)]
    pub format: Format,
    /// Who may send events. Everybody if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// Which web pages may send events from a browser. None if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cors: Option<Cors>,
    /// How much may be sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// How many processes take the events, in a cluster.
    #[serde(default)]
    pub replicas: Replicas,
}

/// How many processes take events.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Replicas {
    /// How many there are at least, 2 if absent, so that one may be away.
    #[serde(default = "Replicas::default_min")]
    #[schemars(range(min = 1, max = 100))]
    pub min: i32,
}

impl Replicas {
    fn default_min() -> i32 {
        2
    }
}

impl Default for Replicas {
    fn default() -> Self {
        Self {
            min: Self::default_min(),
        }
    }
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
    #[schemars(length(min = 1, max = 253), regex(pattern = shape::SECRET))]
    pub name: String,
}

/// Cross-origin requests.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cors {
    /// Origins of the pages, such as `https://shop.example`; `*` stands for all.
    #[schemars(
        length(min = 1, max = 32),
        inner(length(min = 1, max = 256), regex(pattern = shape::ORIGIN)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub origins: Vec<String>,
}

/// Limits of ingestion.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// Events a second for each API key (for all senders together where there are no keys). No limit if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub events_per_second_per_key: Option<u32>,
}

/// Where the events of an EventSource come from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Origin<'a> {
    /// Posted over HTTP.
    Http(&'a Http),
    /// Read from a topic that exists already.
    Kafka(&'a Kafka),
    /// Made up.
    Generator(&'a Generator),
}

impl EventSourceSpec {
    /// Where the events come from; none where the spec does not say exactly one.
    pub fn origin(&self) -> Option<Origin<'_>> {
        match (&self.http, &self.kafka, &self.generator) {
            (Some(http), None, None) => Some(Origin::Http(http)),
            (None, Some(kafka), None) => Some(Origin::Kafka(kafka)),
            (None, None, Some(generator)) => Some(Origin::Generator(generator)),
            _ => None,
        }
    }
}

impl EventSourceSpec {
    /// What the events are.
    pub fn format(&self) -> KafkaFormat {
        match self.origin() {
            Some(Origin::Http(http)) => match http.format {
                Format::Json => KafkaFormat::Json,
                Format::CloudEvents => KafkaFormat::CloudEvents,
            },
            Some(Origin::Kafka(kafka)) => kafka.format,
            Some(Origin::Generator(_)) | None => KafkaFormat::Json,
        }
    }
}

impl Field {
    /// Where the value is in the JSON event.
    pub fn path(&self) -> &str {
        self.path.as_deref().unwrap_or(&self.name)
    }
}
