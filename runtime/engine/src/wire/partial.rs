//! Records of a partials topic: `version (u8) | header length (u32, little endian) | header (JSON) | batch`.
//!
//! The batch is missing where only the watermark is told.
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{WireError, batch, json};

const VERSION: u8 = 1;
const WHAT: &str = "partial";

/// What a partial says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartialHeader {
    /// The source it was made of, or the step whose windows.
    pub source: String,
    /// The partition of the source, or of that step.
    pub partition: i32,
    /// The offsets that it covers: from the first ...
    pub from: i64,
    /// ... to before this one.
    pub to: i64,
    /// The watermark of the source partition there, ms since the epoch; none before its first event, and where more of these offsets follows
    /// in another record.
    pub watermark_ms: Option<i64>,
    /// The batch counts only in windows that start here or later, ms; none: in all that hold it. Where windows overlap some of them may have
    /// been closed to an event, or be those of an earlier generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub windows_from_ms: Option<i64>,
}

/// Encodes a partial.
pub fn encode(header: &PartialHeader, partials: Option<&RecordBatch>) -> Result<Bytes, WireError> {
    let header = json(header);
    let mut out = vec![VERSION];
    out.extend((header.len() as u32).to_le_bytes());
    out.extend(&header);
    if let Some(partials) = partials {
        batch::encode(partials, &mut out)?;
    }
    Ok(out.into())
}

/// Decodes a partial whose batch has `schema`.
pub fn decode(
    bytes: &[u8],
    schema: &SchemaRef,
) -> Result<(PartialHeader, Option<RecordBatch>), WireError> {
    let short = || WireError::new(WHAT, "it is cut short");
    let (&version, rest) = bytes.split_first().ok_or_else(short)?;
    if version != VERSION {
        return Err(WireError::new(
            WHAT,
            format!("version {version} is not known here"),
        ));
    }
    let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(short)?;
    let (header, rest) = rest
        .split_at_checked(u32::from_le_bytes(*length) as usize)
        .ok_or_else(short)?;
    let header = serde_json::from_slice(header).map_err(|error| WireError::new(WHAT, error))?;
    let partials = if rest.is_empty() {
        None
    } else {
        Some(batch::decode(rest, schema)?)
    };
    Ok((header, partials))
}
