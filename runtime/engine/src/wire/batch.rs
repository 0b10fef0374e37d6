//! Arrow batches without their schema, which the plan knows: `metadata length (u32, little endian) | Arrow IPC message | body`.
use std::collections::HashMap;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use arrow_ipc::reader::read_record_batch;
use arrow_ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions};
use arrow_ipc::{CompressionType, MetadataVersion, root_as_message};

use super::WireError;

/// Batches are cut so that a record stays well below the 1 MiB that brokers take.
pub(crate) const MAX_BATCH_BYTES: usize = 512 * 1024;
/// Bodies above this are compressed with LZ4.
const COMPRESS_ABOVE_BYTES: usize = 4096;
/// The least that Arrow allows: partials of a few groups have many short buffers.
const ALIGNMENT_BYTES: usize = 8;

/// All rows of batches of one schema.
pub(crate) fn concat(batches: &[RecordBatch]) -> Result<RecordBatch, arrow::error::ArrowError> {
    concat_batches(&batches[0].schema(), batches)
}

pub(crate) fn encode(batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), WireError> {
    let damaged = |error: arrow::error::ArrowError| WireError::new("batch", error);
    let compression = (batch.get_array_memory_size() > COMPRESS_ABOVE_BYTES)
        .then_some(CompressionType::LZ4_FRAME);
    let options = IpcWriteOptions::try_new(ALIGNMENT_BYTES, false, MetadataVersion::V5)
        .and_then(|options| options.try_with_compression(compression))
        .map_err(damaged)?;
    let (_, encoded) = IpcDataGenerator::default()
        .encode(
            batch,
            &mut DictionaryTracker::new(true),
            &options,
            &mut IpcWriteContext::default(),
        )
        .map_err(damaged)?;
    out.extend((encoded.ipc_message.len() as u32).to_le_bytes());
    out.extend(&encoded.ipc_message);
    out.extend(&encoded.arrow_data);
    Ok(())
}

pub(crate) fn decode(bytes: &[u8], schema: &SchemaRef) -> Result<RecordBatch, WireError> {
    let damaged = |reason: &str| WireError::new("batch", reason);
    let (length, rest) = bytes
        .split_first_chunk::<4>()
        .ok_or_else(|| damaged("it ends before its length"))?;
    let length = u32::from_le_bytes(*length) as usize;
    let (metadata, body) = rest
        .split_at_checked(length)
        .ok_or_else(|| damaged("it ends before its metadata"))?;
    let message = root_as_message(metadata).map_err(|error| WireError::new("batch", error))?;
    if usize::try_from(message.bodyLength()) != Ok(body.len()) {
        return Err(damaged("it ends before its body, or goes on after it"));
    }
    let header = message
        .header_as_record_batch()
        .ok_or_else(|| damaged("its message is no record batch"))?;
    read_record_batch(
        &Buffer::from(body),
        header,
        schema.clone(),
        &HashMap::new(),
        None,
        &MetadataVersion::V5,
    )
    .map_err(|error| WireError::new("batch", error))
}

/// Cuts a batch so that no part takes much more than `max_bytes` when encoded. Yields at least one part.
pub(crate) fn chunks(batch: &RecordBatch, max_bytes: usize) -> Vec<RecordBatch> {
    let parts = (batch.get_array_memory_size() / max_bytes.max(1) + 1).min(batch.num_rows().max(1));
    let rows = batch.num_rows().div_ceil(parts).max(1);
    let starts = (0..batch.num_rows().max(1)).step_by(rows);
    starts
        .map(|start| batch.slice(start, rows.min(batch.num_rows() - start)))
        .collect()
}
