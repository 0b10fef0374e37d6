//! What a schema registry knows of the id in a framed value.
use crate::avro::AvroSchema;
use crate::error::DecodeError;
use crate::framed::Encoding;
use crate::protobuf::ProtobufSchema;

/// The schema that a value was written with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriterSchema {
    /// One of Avro.
    Avro(AvroSchema),
    /// One of Protobuf.
    Protobuf(ProtobufSchema),
    /// One of these, says the registry, that values cannot be read with; why.
    Unreadable(String),
    /// One of another kind, such as `JSON`.
    Other(String),
    /// The registry says that there is none.
    Absent,
}

impl WriterSchema {
    /// Why values of an encoding cannot be read with it that name it by `id`.
    #[cold]
    pub(crate) fn unfit(&self, encoding: Encoding, id: u32) -> DecodeError {
        let is = |kind: &str| format!("is {kind}, not {}", encoding.schema_type());
        let reason = match self {
            Self::Avro(_) => is(Encoding::Avro.schema_type()),
            Self::Protobuf(_) => is(Encoding::Protobuf.schema_type()),
            Self::Unreadable(reason) => format!("cannot be read with: {reason}"),
            Self::Other(kind) => is(kind),
            Self::Absent => "is not in the schema registry".to_owned(),
        };
        encoding.refused(format!("the schema {id} that the value names {reason}"))
    }
}
