//! Values of many schemas, read together as far as they are of one.
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow_avro::reader::Decoder;

use super::json::write_rows;
use super::{framed, not_avro};
use crate::error::DecodeError;
use crate::limits::DEFAULT_MAX_EVENT_BYTES;
use crate::writer_schema::WriterSchema;

/// How many values are read together: their columns fit the caches.
const BATCH_VALUES: usize = 1_024;

/// Reads framed values as JSON, with the schemas that it was told.
#[derive(Debug, Default)]
pub struct Avro {
    known: HashMap<u32, Known>,
}

#[derive(Debug)]
struct Known {
    schema: Arc<WriterSchema>,
    /// Made when a value comes, and anew after one that could not be read: it has left half a row.
    decoder: Option<Decoder>,
}

impl Avro {
    /// The schema that a value names, where it is not known. One that the registry did not have either is asked for again: it may by now.
    pub fn unknown(&self, value: &[u8]) -> Option<u32> {
        let (id, _) = framed(value).ok()?;
        let known = self.known.get(&id);
        known
            .is_none_or(|known| matches!(*known.schema, WriterSchema::Absent))
            .then_some(id)
    }

    /// Makes a schema known.
    pub fn learn(&mut self, id: u32, schema: Arc<WriterSchema>) {
        let decoder = None;
        self.known.insert(id, Known { schema, decoder });
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
            let id = if value.len() > DEFAULT_MAX_EVENT_BYTES {
                Err(DecodeError::too_large(
                    value.len(),
                    "",
                    DEFAULT_MAX_EVENT_BYTES,
                ))
            } else {
                framed(value).map(|(id, _)| id)
            };
            match id {
                Ok(id) => by_schema.entry(id).or_default().push((index, value)),
                Err(error) => read[index] = Err(error),
            }
        }
        for (id, values) in by_schema {
            for values in values.chunks(BATCH_VALUES) {
                let results = self.of_schema(id, values);
                for ((index, _), result) in values.iter().zip(results) {
                    read[*index] = result;
                }
            }
        }
        read
    }

    fn of_schema(
        &mut self,
        id: u32,
        values: &[(usize, &[u8])],
    ) -> Vec<Result<Vec<u8>, DecodeError>> {
        let Some(known) = self.known.get_mut(&id) else {
            // Whoever has values has asked for their schemas before.
            let reason = format!("nobody has asked for the schema {id} that the value names");
            return vec![Err(not_avro(reason)); values.len()];
        };
        if let Ok(rows) = known.rows(id, values) {
            return rows;
        }
        // One of them cannot be read, and takes the others along: each by itself.
        let alone = values.chunks(1).map(|value| {
            let rows = known.rows(id, value);
            let mut rows = rows.unwrap_or_else(|error| vec![Err(error)]);
            rows.pop()
                .unwrap_or_else(|| Err(not_avro("the value is no record")))
        });
        alone.collect()
    }
}

impl Known {
    /// A row for each value, unless one of them cannot be read.
    fn rows(
        &mut self,
        id: u32,
        values: &[(usize, &[u8])],
    ) -> Result<Vec<Result<Vec<u8>, DecodeError>>, DecodeError> {
        let mut decoder = match self.decoder.take() {
            Some(decoder) => decoder,
            None => self
                .schema
                .avro(id)?
                .decoder(id, BATCH_VALUES)
                .map_err(|error| not_avro(error.to_string()))?,
        };
        for (_, value) in values {
            decode_one(&mut decoder, value)?;
        }
        let rows = match decoder.flush().map_err(|error| misfit(error.to_string()))? {
            Some(batch) => json_rows(batch)?,
            None => Vec::new(),
        };
        if rows.len() != values.len() {
            return Err(misfit(
                "there are more or fewer records than one".to_owned(),
            ));
        }
        self.decoder = Some(decoder);
        Ok(rows)
    }
}

fn decode_one(decoder: &mut Decoder, value: &[u8]) -> Result<(), DecodeError> {
    let before = decoder.capacity();
    let taken = decoder.decode(value);
    let taken = taken.map_err(|error| misfit(error.to_string()))?;
    if taken < value.len() {
        return Err(misfit(
            "it ends too early, or something follows it".to_owned(),
        ));
    }
    if before - decoder.capacity() != 1 {
        return Err(misfit("something follows it".to_owned()));
    }
    Ok(())
}

fn json_rows(batch: RecordBatch) -> Result<Vec<Result<Vec<u8>, DecodeError>>, DecodeError> {
    let rows = write_rows(batch).map_err(|error| misfit(error.to_string()))?;
    let rows = rows.into_iter().map(|row| {
        if row.len() > DEFAULT_MAX_EVENT_BYTES {
            Err(DecodeError::too_large(
                row.len(),
                " as JSON",
                DEFAULT_MAX_EVENT_BYTES,
            ))
        } else {
            Ok(row)
        }
    });
    Ok(rows.collect())
}

#[cold]
fn misfit(reason: String) -> DecodeError {
    not_avro(format!("the value is not what its schema says: {reason}"))
}
