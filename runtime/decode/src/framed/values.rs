//! Values of many schemas, read together as far as they are of one.
use std::collections::{BTreeMap, HashMap};

use super::{Encoding, framed};
use crate::avro::AvroReader;
use crate::error::DecodeError;
use crate::limits::DEFAULT_MAX_EVENT_BYTES;
use crate::protobuf::ProtobufSchema;
use crate::writer_schema::WriterSchema;

/// Reads framed values as JSON, with the schemas that it was told.
#[derive(Debug)]
pub struct FramedValues {
    encoding: Encoding,
    known: HashMap<u32, Known>,
}

/// What is known of an id.
#[derive(Debug)]
enum Known {
    Avro(Box<AvroReader>),
    Protobuf(ProtobufSchema),
    /// Values that name it cannot be read.
    Unfit {
        why: DecodeError,
        may_come: bool,
    },
}

impl Known {
    fn new(encoding: Encoding, id: u32, schema: &WriterSchema) -> Self {
        match (encoding, schema) {
            (Encoding::Avro, WriterSchema::Avro(schema)) => {
                Self::Avro(Box::new(AvroReader::new(id, schema.clone())))
            }
            (Encoding::Protobuf, WriterSchema::Protobuf(schema)) => Self::Protobuf(schema.clone()),
            (encoding, unfit) => Self::Unfit {
                why: unfit.unfit(encoding, id),
                may_come: matches!(unfit, WriterSchema::Absent),
            },
        }
    }
}

impl FramedValues {
    /// Values of an encoding. No schema is known yet.
    pub fn new(encoding: Encoding) -> Self {
        Self {
            encoding,
            known: HashMap::new(),
        }
    }

    /// The schema that a value names, where it is not known. One that the registry did not have either is asked for again: it may by now.
    pub fn unknown(&self, value: &[u8]) -> Option<u32> {
        let (id, _) = framed(value)?;
        let is_known = match self.known.get(&id) {
            None => false,
            Some(Known::Unfit { may_come, .. }) => !may_come,
            Some(_) => true,
        };
        (!is_known).then_some(id)
    }

    /// Makes a schema known.
    pub fn learn(&mut self, id: u32, schema: &WriterSchema) {
        let known = Known::new(self.encoding, id, schema);
        self.known.insert(id, known);
    }

    /// The JSON of each value, in order.
    pub fn read<'a>(
        &mut self,
        values: impl IntoIterator<Item = &'a [u8]>,
    ) -> Vec<Result<Vec<u8>, DecodeError>> {
        let mut read = Vec::new();
        let mut by_schema: BTreeMap<u32, Vec<(usize, &[u8])>> = BTreeMap::new();
        for (index, value) in values.into_iter().enumerate() {
            // What is read takes its place below.
            read.push(Ok(Vec::new()));
            match self.named(value) {
                Ok(id) => by_schema.entry(id).or_default().push((index, value)),
                Err(error) => read[index] = Err(error),
            }
        }
        for (id, values) in by_schema {
            let (places, values): (Vec<usize>, Vec<&[u8]>) = values.into_iter().unzip();
            for (place, result) in places.into_iter().zip(self.of_schema(id, &values)) {
                read[place] = result;
            }
        }
        read
    }

    /// The id of the schema that a value names.
    fn named(&self, value: &[u8]) -> Result<u32, DecodeError> {
        let (bytes, most) = (value.len(), DEFAULT_MAX_EVENT_BYTES);
        if bytes > most {
            return Err(DecodeError::too_large(bytes, "", most));
        }
        let id = framed(value).map(|(id, _)| id);
        id.ok_or_else(|| {
            self.encoding.refused(
                "the value does not begin with a zero byte and the id of a schema, as serializers of a schema registry write it",
            )
        })
    }

    fn of_schema(&mut self, id: u32, values: &[&[u8]]) -> Vec<Result<Vec<u8>, DecodeError>> {
        let encodings = values.iter().filter_map(|value| framed(value));
        match self.known.get_mut(&id) {
            Some(Known::Avro(reader)) => reader.read(values),
            Some(Known::Protobuf(schema)) => encodings
                .map(|(_, encoding)| schema.json(encoding))
                .collect(),
            Some(Known::Unfit { why, .. }) => vec![Err(why.clone()); values.len()],
            None => {
                // Whoever has values has asked for their schemas before.
                let reason = format!("nobody has asked for the schema {id} that the value names");
                vec![Err(self.encoding.refused(reason)); values.len()]
            }
        }
    }
}
