//! What a schema registry knows of the id in a framed value.
use crate::avro::AvroSchema;
use crate::error::{Code, DecodeError};

/// The schema that a value was written with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriterSchema {
    /// One of Avro.
    Avro(AvroSchema),
    /// One of Avro, says the registry, that values cannot be read with; why.
    Unreadable(String),
    /// One of another kind, such as `PROTOBUF` or `JSON`.
    Other(String),
    /// The registry says that there is none.
    Absent,
}

impl WriterSchema {
    /// The schema of Avro that it is. `id` is how values name it.
    ///
    /// # Errors
    /// It is none.
    pub fn avro(&self, id: u32) -> Result<&AvroSchema, DecodeError> {
        let reason = match self {
            Self::Avro(schema) => return Ok(schema),
            Self::Unreadable(reason) => format!("cannot be read with: {reason}"),
            Self::Other(kind) => format!("is {kind}, not AVRO"),
            Self::Absent => "is not in the schema registry".to_owned(),
        };
        Err(DecodeError {
            field: None,
            code: Code::NotAvro.as_str(),
            reason: format!("the schema {id} that the value names {reason}"),
        })
    }
}
