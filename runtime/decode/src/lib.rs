//! JSON events to Arrow by a declared schema, naming every field that is wrong.
pub mod array;
pub mod body;
mod columns;
mod decoder;
mod error;
mod layout;
mod limits;
pub mod ndjson;
mod number;
mod reader;
mod row;
mod scan;
mod schema;
mod string;
mod timestamp;
mod token;
mod value;

pub use decoder::{Decoded, Decoder};
pub use error::{Code, DecodeError};
pub use limits::{DEFAULT_MAX_EVENT_BYTES, MAX_BATCH_BYTES, MAX_DEPTH, MAX_MEMBERS};
pub use schema::{
    EXTRA_COLUMN, EventSchema, Field, FieldType, SchemaError, TYPE_METADATA, UnknownFields,
};
