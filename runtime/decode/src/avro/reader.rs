//! Values of one schema, read together.
use arrow::array::RecordBatch;
use arrow_avro::reader::Decoder;

use super::AvroSchema;
use super::json::write_rows;
use crate::error::DecodeError;
use crate::framed::Encoding;
use crate::limits::DEFAULT_MAX_EVENT_BYTES;

/// How many values are read together: their columns fit the caches.
const BATCH_VALUES: usize = 1_024;

/// Reads values that name a schema.
#[derive(Debug)]
pub(crate) struct AvroReader {
    id: u32,
    schema: AvroSchema,
    /// Made when a value comes, and anew after one that could not be read: it has left half a row.
    decoder: Option<Decoder>,
}

impl AvroReader {
    /// `id` is how values name the schema.
    pub(crate) fn new(id: u32, schema: AvroSchema) -> Self {
        Self {
            id,
            schema,
            decoder: None,
        }
    }

    /// The JSON of each value, in order.
    pub(crate) fn read(&mut self, values: &[&[u8]]) -> Vec<Result<Vec<u8>, DecodeError>> {
        let together = values.chunks(BATCH_VALUES);
        together.flat_map(|values| self.read_some(values)).collect()
    }

    fn read_some(&mut self, values: &[&[u8]]) -> Vec<Result<Vec<u8>, DecodeError>> {
        if let Ok(rows) = self.rows(values) {
            return rows;
        }
        // One of them cannot be read, and takes the others along: each by itself.
        let alone = values.chunks(1).map(|value| {
            let rows = self.rows(value);
            let mut rows = rows.unwrap_or_else(|error| vec![Err(error)]);
            rows.pop()
                .unwrap_or_else(|| Err(Encoding::Avro.refused("the value is no record")))
        });
        alone.collect()
    }

    /// A row for each value, unless one of them cannot be read.
    fn rows(&mut self, values: &[&[u8]]) -> Result<Vec<Result<Vec<u8>, DecodeError>>, DecodeError> {
        let mut decoder = match self.decoder.take() {
            Some(decoder) => decoder,
            None => self
                .schema
                .decoder(self.id, BATCH_VALUES)
                .map_err(|error| Encoding::Avro.refused(error.to_string()))?,
        };
        for value in values {
            decode_one(&mut decoder, value)?;
        }
        let rows = match decoder.flush().map_err(|error| misfit(&error))? {
            Some(batch) => json_rows(batch)?,
            None => Vec::new(),
        };
        if rows.len() != values.len() {
            return Err(misfit(&"there are more or fewer records than one"));
        }
        self.decoder = Some(decoder);
        Ok(rows)
    }
}

fn decode_one(decoder: &mut Decoder, value: &[u8]) -> Result<(), DecodeError> {
    let before = decoder.capacity();
    let taken = decoder.decode(value);
    let taken = taken.map_err(|error| misfit(&error))?;
    if taken < value.len() {
        return Err(misfit(&"it ends too early, or something follows it"));
    }
    if before - decoder.capacity() != 1 {
        return Err(misfit(&"something follows it"));
    }
    Ok(())
}

fn json_rows(batch: RecordBatch) -> Result<Vec<Result<Vec<u8>, DecodeError>>, DecodeError> {
    let rows = write_rows(batch).map_err(|error| misfit(&error))?;
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
fn misfit(reason: &dyn std::fmt::Display) -> DecodeError {
    Encoding::Avro.misfit(reason)
}
