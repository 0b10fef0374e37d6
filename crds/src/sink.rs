//! `Sink`: where results go.
#![allow(
    clippy::duplicated_attributes,
    reason = "each printer column has a type"
)]

use kube::{CustomResource, core::Rule};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::shape;

/// Where results go.
#[derive(CustomResource, JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "tidewheel.dev",
    version = "v1alpha1",
    kind = "Sink",
    namespaced,
    status = "crate::Status",
    derive = "PartialEq",
    doc = "Where results go.",
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
    /// A PostgreSQL database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postgres: Option<Postgres>,
    /// Topics of Kafka.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kafka: Option<Kafka>,
}

/// Topics on the cluster that pipelines run on: rows are written to them in the transactions of the pipeline, exactly once.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Kafka {}

/// A PostgreSQL database.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Postgres {
    /// How the database is reached.
    pub connection: Connection,
    /// The schema (namespace of tables) that holds the tables.
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
    /// The Secret that holds the connection URL, such as `postgres://user:password@host/database`.
    pub secret_ref: SecretKeyRef,
}

/// A key of a Secret in the same namespace.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretKeyRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = shape::SECRET))]
    pub name: String,
    /// The key whose value is meant.
    #[schemars(length(min = 1, max = 253), regex(pattern = shape::SECRET_KEY))]
    pub key: String,
}
