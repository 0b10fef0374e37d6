//! What a registry answers.
use serde::Deserialize;

/// A schema, of an id or of a version of a subject.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Stored {
    pub(crate) schema: String,
    /// None: Avro.
    pub(crate) schema_type: Option<String>,
    #[serde(default)]
    pub(crate) references: Vec<Reference>,
}

/// A schema that another one uses.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
pub(crate) struct Reference {
    /// What it is called where it is used: of a file of Protobuf, the name by which it is imported.
    pub(crate) name: String,
    pub(crate) subject: String,
    pub(crate) version: i32,
}

/// Why there is none.
#[derive(Debug, Deserialize)]
pub(crate) struct Refused {
    /// The HTTP status and two digits more.
    pub(crate) error_code: u32,
    pub(crate) message: String,
}
