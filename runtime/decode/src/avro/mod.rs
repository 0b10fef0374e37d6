//! Events in [Avro](https://avro.apache.org/docs/1.12.0/specification/), as a schema registry frames them, as JSON.
//!
//! A value is a zero byte, the id of the schema that it was written with (4 bytes, big endian), and the binary encoding. Which schema that
//! is the registry knows, which is asked elsewhere. The encoding is read by `arrow-avro`, into Arrow.
//!
//! | Avro | JSON |
//! |---|---|
//! | null, boolean, string, array | the same |
//! | int, long, float, double | a number; `"NaN"`, `"Infinity"` and `"-Infinity"` where it is none |
//! | bytes, fixed | base64 in a string |
//! | record, map | an object |
//! | enum | its symbol, a string |
//! | union | the value, without its type |
//! | decimal | a number with all of its digits |
//! | date, time-millis, time-micros | a string: `2026-01-31`, `12:00:00.001` |
//! | timestamp-millis, -micros, -nanos | a string as in RFC 3339, in UTC: `2026-01-31T12:00:00.001Z` |
//! | local-timestamp-millis, -micros, -nanos | the same without `Z` |
//! | uuid | a string |
//!
//! Nothing is read into another schema: columns find their members by name, so schemas may change as long as the names stay.
mod json;
mod reader;
mod schema;

pub use reader::Avro;
pub use schema::{AvroSchema, AvroSchemaError};

use crate::error::{Code, DecodeError};

/// What a framed value begins with.
const MAGIC: u8 = 0;

/// The id of the schema that a framed value was written with, and its encoding.
///
/// # Errors
/// It is not framed.
pub fn framed(value: &[u8]) -> Result<(u32, &[u8]), DecodeError> {
    match value {
        [MAGIC, a, b, c, d, encoding @ ..] => Ok((u32::from_be_bytes([*a, *b, *c, *d]), encoding)),
        _ => Err(not_avro(
            "the value does not begin with a zero byte and the id of a schema, as serializers of a schema registry write it",
        )),
    }
}

/// A value that is not in Avro.
#[cold]
fn not_avro(reason: impl Into<String>) -> DecodeError {
    DecodeError {
        field: None,
        code: Code::NotAvro.as_str(),
        reason: reason.into(),
    }
}
