//! Events in [Protobuf](https://protobuf.dev/programming-guides/encoding/) as JSON.
//!
//! Behind the [id of the schema](crate::framed) stands which message of its file the value is: as many numbers as it lies deep, with their
//! count in front, each in zigzag coding. One zero byte is the first message of the file.
//!
//! Much as in the [JSON form](https://protobuf.dev/programming-guides/json/) of Protobuf, but members have the names that stand in the file,
//! whole numbers of 64 bits are numbers, and there are members that have their default where the file cannot tell that from their absence.
//!
//! | Protobuf | JSON |
//! |---|---|
//! | bool, string, repeated | the same |
//! | whole numbers, float, double | a number; `"NaN"`, `"Infinity"` and `"-Infinity"` where it is none |
//! | bytes | base64 in a string |
//! | enum | the name of its value, a string; a number where it has none |
//! | message, group | an object |
//! | map | an object, its members in the order of their keys |
//! | oneof | the member that is set, as if it stood outside |
//! | `google.protobuf.Timestamp` | a string as in RFC 3339, in UTC: `2026-01-31T12:00:00.001Z` |
//! | `google.protobuf.Duration` | a string: `1.500s` |
//! | `google.protobuf.StringValue` and its like | the value |
//! | `google.protobuf.Struct`, `Value`, `ListValue` | the JSON that they are |
//!
//! What is not in the schema is left out, extensions too. Of `google.protobuf.Any` nothing is looked into.
mod json;
mod message_index;
mod nesting;
mod schema;

pub use schema::{Import, ProtobufSchema, ProtobufSchemaError};
