//! What framed values are encoded in.
use crate::error::{Code, DecodeError};

/// What the framed values of a source are encoded in: all in the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// The binary encoding of Avro.
    Avro,
    /// The numbers that say which message of its file a value is, and the encoding of Protobuf.
    Protobuf,
}

impl Encoding {
    /// What registries call schemas of it.
    pub const fn schema_type(self) -> &'static str {
        match self {
            Self::Avro => "AVRO",
            Self::Protobuf => "PROTOBUF",
        }
    }

    /// A value that is not in it.
    #[cold]
    pub(crate) fn refused(self, reason: impl Into<String>) -> DecodeError {
        let code = match self {
            Self::Avro => Code::NotAvro,
            Self::Protobuf => Code::NotProtobuf,
        };
        DecodeError {
            field: None,
            code: code.as_str(),
            reason: reason.into(),
        }
    }

    /// A value that names a schema and does not keep to it.
    #[cold]
    pub(crate) fn misfit(self, reason: impl std::fmt::Display) -> DecodeError {
        self.refused(format!("the value is not what its schema says: {reason}"))
    }
}
