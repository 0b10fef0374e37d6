//! What decides the events of a generator, as it stands in the log.
use bytes::Bytes;
use serde::Serialize;
use tidewheel_crds::event_source::{Field, FieldType};
use tidewheel_crds::generator::GeneratedField;

/// Version of the format.
const VERSION: u32 = 1;

/// The seed, and how each column is made, in the order in which they draw. Its text is compared byte for byte: a later build
/// leaves out what it has added and nobody has given.
#[derive(Debug, Serialize)]
pub(crate) struct Declaration<'a> {
    version: u32,
    seed: u64,
    columns: Vec<Column<'a>>,
}

#[derive(Debug, Serialize)]
struct Column<'a> {
    path: &'a str,
    #[serde(rename = "type")]
    type_: FieldType,
    /// None where ids are made because the column has `generate`.
    values: Option<&'a GeneratedField>,
}

impl<'a> Declaration<'a> {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            version: VERSION,
            seed,
            columns: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, column: &'a Field, values: Option<&'a GeneratedField>) {
        self.columns.push(Column {
            path: column.path(),
            type_: column.type_,
            values,
        });
    }

    pub(crate) fn into_bytes(self) -> Bytes {
        // Texts and finite numbers can be written.
        Bytes::from(serde_json::to_vec(&self).unwrap_or_default())
    }
}
