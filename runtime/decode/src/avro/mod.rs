//! Events in [Avro](https://avro.apache.org/docs/1.12.0/specification/) as JSON. The binary encoding behind the
//! [id of the schema](crate::framed) is read by `arrow-avro`, into Arrow.
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
mod json;
mod reader;
mod schema;

pub(crate) use reader::AvroReader;
pub use schema::{AvroSchema, AvroSchemaError};
