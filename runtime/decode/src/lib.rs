//! JSON events to Arrow by a declared schema, naming every field that is wrong.
//!
//! ```
//! use std::sync::Arc;
//!
//! use tidewheel_decode::{Decoder, EventFormat, EventSchema, Field, FieldType, Part, UnknownFields};
//!
//! let field = |name: &str, path: &[&str], data_type, required| Field {
//!     name: name.to_owned(),
//!     part: Part::Value,
//!     path: path.iter().map(|segment| (*segment).to_owned()).collect(),
//!     data_type,
//!     required,
//! };
//! let schema = EventSchema {
//!     fields: vec![
//!         field("source", &["source"], FieldType::Text, true),
//!         field("metric", &["attributes", "metric"], FieldType::Double, false),
//!     ],
//!     unknown: UnknownFields::Keep,
//!     format: EventFormat::Json,
//! };
//! schema.validate()?;
//!
//! let mut decoder = Decoder::new(Arc::new(schema));
//! let decoded = decoder.decode([
//!     &br#"{"source": "web", "attributes": {"metric": 1.5, "method": "GET"}}"#[..],
//!     br#"{"source": 7}"#,
//! ]);
//! assert_eq!(decoded.rows, [0]);
//! let (index, error) = &decoded.refused[0];
//! assert_eq!((*index, error.code), (1, "WrongType"));
//! assert_eq!(error.to_string(), "source: is a number, 7, not text; send a string in double quotes");
//! # Ok::<(), tidewheel_decode::SchemaError>(())
//! ```
//!
//! # How an event flows
//!
//! ```text
//!  body, file ──► body::split ──► event ──► reader ──► row ──► Arrow columns ──► RecordBatch
//!                 ndjson::lines    bytes      │ │        (only if the whole event is good)
//!                 array::elements             │ └─ scan: tokens, each checked in full
//!                                             └─ layout: declared paths, and the order of members last time
//! ```
//!
//! # What is an event
//!
//! Exactly one JSON object in UTF-8, of at most 1 MiB ([`DEFAULT_MAX_EVENT_BYTES`]), 64 levels ([`MAX_DEPTH`]) and
//! 10,000 members ([`MAX_MEMBERS`]). Whether it is valid does not depend on which of its members are declared, nor on
//! what becomes of the others: skipped values are checked as those that are stored. So nowhere in an event may a
//! string or name hold NUL or half a surrogate pair, which PostgreSQL could not store.
//!
//! A member name may occur once in the event and once in each object that columns' paths pass through. Values that
//! nobody looks into (those of `json` columns and inside `_extra`) keep their text as it came, equal names included;
//! readers of JSON take the last.
//!
//! # Events in other encodings
//!
//! They are made JSON first, and then read as all others: [CloudEvents](cloud_events), and [values that name a schema](framed) of a registry, in
//! [Avro](avro) or [Protobuf](protobuf).
//!
//! # What stands beside an event
//!
//! A column may hold another [`Part`] of the record that carries the event: [`Decoder::decode_records`] reads those. Keys and headers are
//! UTF-8 text; for other types than text they are written as in JSON, times and UUIDs without quotes.
//!
//! # Absent and null
//!
//! Both make a column NULL, or refuse the event where the column is required. An object on the path of a column may be
//! absent or null too.
pub mod array;
pub mod avro;
pub mod body;
pub mod cloud_events;
mod columns;
mod decoder;
mod error;
pub mod framed;
mod json;
mod layout;
mod limits;
mod message_key;
pub mod ndjson;
mod number;
mod parts;
pub mod protobuf;
mod reader;
mod row;
mod scan;
mod schema;
mod space;
mod string;
mod timestamp;
mod token;
mod value;
pub mod writer_schema;

pub use decoder::{Decoded, Decoder};
pub use error::{Code, DecodeError};
pub use limits::{DEFAULT_MAX_EVENT_BYTES, MAX_BATCH_BYTES, MAX_DEPTH, MAX_MEMBERS};
pub use message_key::{BoundKey, MessageKey};
pub use parts::EventRecord;
pub use schema::{
    EXTRA_COLUMN, EventFormat, EventSchema, Field, FieldType, Part, SchemaError, TYPE_METADATA,
    UnknownFields,
};
