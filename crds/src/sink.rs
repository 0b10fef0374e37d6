//! `Sink`: where results go.
#![allow(
    clippy::duplicated_attributes,
    reason = "each printer column has a type"
)]

use kube::{CustomResource, core::Rule};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    DeletionPolicy,
    shape::{self, describe_variants},
};

/// Where results go: a PostgreSQL database, or topics of Kafka. Outputs of Pipelines in the same namespace name it.
#[derive(CustomResource, JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "tidewheel.dev",
    version = "v1alpha1",
    kind = "Sink",
    namespaced,
    status = "crate::Status",
    derive = "PartialEq",
    doc = "Where results go: a PostgreSQL database, or topics of Kafka. Outputs of Pipelines in the same namespace name it.",
    shortname = "snk",
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
    printcolumn(name = "Schema", type_ = "string", json_path = ".spec.postgres.schema"),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    Rule::new("has(self.postgres) != has(self.kafka)")
        .message("say where the results go: exactly one of `postgres` and `kafka` (`kafka: {}` will do)"),
    Rule::new("has(self.kafka) == has(oldSelf.kafka)")
        .message("a Sink cannot change between `postgres` and `kafka`: make another Sink"),
]))]
pub struct SinkSpec {
    /// A PostgreSQL database, version 15 or newer. Each output fills a table in it, made from the columns of its rows. Rows and the progress of
    /// who writes them are stored in one transaction: each row is there exactly once, whatever fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postgres: Option<Postgres>,
    /// Topics on the Kafka cluster that Pipelines run on; it has no settings, so write `kafka: {}`. Each output fills a topic, made for it: a record is a
    /// row as a JSON object, with the key and headers that the output declares. Rows are written in the transaction of the progress of who writes
    /// them: each is there exactly once for consumers with `isolation.level=read_committed`. Rows of windows are keyed by window and group, in
    /// a compacted topic: the newest record of a key is the row, and one without a value says that it was removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kafka: Option<Kafka>,
}

/// Topics on the Kafka cluster that Pipelines run on, as outputs declare them. It has no settings.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Kafka {}

/// A PostgreSQL database.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Postgres {
    /// How the database is reached. Workers read it again when it changes.
    pub connection: Connection,
    /// The schema (namespace of tables) that holds the tables: `public` if absent. It is made where it is not there.
    #[serde(default = "Postgres::default_schema")]
    #[schemars(
        length(min = 1, max = shape::MAX_IDENTIFIER),
        regex(pattern = shape::IDENTIFIER),
        extend("x-kubernetes-validations" = [
            Rule::new("!self.startsWith('pg_')").message("PostgreSQL keeps schemas that begin with `pg_` for itself"),
            Rule::new("self == oldSelf").message(
                "the schema cannot change, because the tables in it stay behind and their rows are not written again: make another Sink"
            ),
        ])
    )]
    pub schema: String,
    /// What becomes of the tables of a Pipeline when that is deleted and has `Delete` as well.
    #[serde(default, skip_serializing_if = "DeletionPolicy::is_default")]
    #[schemars(transform = describe_variants)]
    pub deletion_policy: DeletionPolicy,
}

impl Postgres {
    fn default_schema() -> String {
        "public".to_owned()
    }
}

/// How a database is reached.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Connection {
    /// The Secret that holds the connection URL, such as `postgres://user:password@host/database?sslmode=verify-full`.
    pub secret_ref: SecretKeyRef,
}

/// A key of a Secret in the same namespace.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretKeyRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = shape::SECRET))]
    pub name: String,
    /// The key in the Secret's data whose value is meant.
    #[schemars(length(min = 1, max = 253), regex(pattern = shape::SECRET_KEY))]
    pub key: String,
}
