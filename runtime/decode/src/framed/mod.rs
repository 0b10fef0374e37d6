//! Values that name the schema that they were written with, as serializers of a schema registry frame them: read as JSON.
//!
//! A value is a zero byte, the id of its schema (4 bytes, big endian), and the encoding: [Avro](crate::avro) or
//! [Protobuf](crate::protobuf). Which schema that is the registry knows, which is asked elsewhere.
//!
//! Nothing is read into another schema: columns find their members by name, so schemas may change as long as the names stay.
mod encoding;
mod values;

pub use encoding::Encoding;
pub use values::FramedValues;

/// What a framed value begins with.
const MAGIC: u8 = 0;

/// The id of the schema that a framed value was written with, and its encoding; none where it is not framed.
pub fn framed(value: &[u8]) -> Option<(u32, &[u8])> {
    match value {
        [MAGIC, a, b, c, d, encoding @ ..] => {
            Some((u32::from_be_bytes([*a, *b, *c, *d]), encoding))
        }
        _ => None,
    }
}
