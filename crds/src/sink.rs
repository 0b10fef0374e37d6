//! `Sink`: where results go.
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where results go.
#[derive(CustomResource, JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "tidewheel.dev",
    version = "v1alpha1",
    kind = "Sink",
    namespaced,
    derive = "PartialEq",
    doc = "Where results go.",
    shortname = "snk",
    category = "tidewheel"
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SinkSpec {
    /// A PostgreSQL database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postgres: Option<Postgres>,
}

/// A PostgreSQL database.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Postgres {
    /// How the database is reached.
    pub connection: Connection,
    /// The schema (namespace of tables) that holds the tables.
    #[serde(default = "Postgres::default_schema")]
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
    pub name: String,
    /// The key whose value is meant.
    pub key: String,
}
