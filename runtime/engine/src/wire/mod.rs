//! Durable formats: everything that the engine writes to the log and must read back, also from a later build.
//!
//! Each value begins with its version. The page `docs/formats.md` shows them all; golden bytes hold them in place.
pub mod acknowledgement;
pub(crate) mod batch;
pub mod dead_letter;
pub mod partial;
pub mod placement;
pub mod refusal;
pub(crate) mod row;
pub mod sent_again;
pub mod state;
pub mod watermark;

/// A stored value that cannot be read. The task stops: going on would mean guessing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a stored {what} is damaged or from a newer build: {reason}")]
pub struct WireError {
    /// What kind of value it is.
    pub what: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

impl WireError {
    pub(crate) fn new(what: &'static str, reason: impl std::fmt::Display) -> Self {
        Self {
            what,
            reason: reason.to_string(),
        }
    }
}

/// Serialises a value that is our own and whose serialisation cannot fail (string keys, no foreign types).
pub(crate) fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

/// The bytes of key, value and headers of a record.
pub(crate) fn size_bytes(record: &tidewheel_log::NewRecord) -> usize {
    let length = |bytes: &Option<bytes::Bytes>| bytes.as_ref().map_or(0, bytes::Bytes::len);
    let headers = record.headers.iter();
    let headers: usize = headers
        .map(|header| header.name.len() + header.value.len())
        .sum();
    length(&record.key) + length(&record.value) + headers
}
