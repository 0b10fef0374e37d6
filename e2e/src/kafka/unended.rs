//! Transactions whose end is not written to a partition, as if the broker had forgotten it (KAFKA-20734).
use std::{
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
};

use crate::server::{ServerError, io};

/// Bytes of a batch before what its length counts: its first offset and the length.
const BEFORE: usize = 12;
/// Where its attributes are, and the bit of them that says that it is a marker.
const ATTRIBUTES: usize = 21;
const IS_MARKER: u16 = 1 << 5;

/// Takes the last batch from a partition below `folder`, where the broker does not run; whether that was the end of a transaction.
/// Otherwise it is left.
pub(crate) fn take_end(folder: &Path, topic: &str, partition: i32) -> Result<bool, ServerError> {
    let doing = "taking the end of a transaction from a partition";
    let folder = folder.join("data").join(format!("{topic}-{partition}"));
    let Some(path) = newest_segment(&folder).map_err(io(doing))? else {
        return Ok(false);
    };
    let segment = fs::read(&path).map_err(io(doing))?;
    let Some((begin, attributes)) = last_batch(&segment) else {
        return Ok(false);
    };
    if attributes & IS_MARKER == 0 {
        return Ok(false);
    }
    let file = OpenOptions::new().write(true).open(&path);
    file.and_then(|file| file.set_len(begin as u64))
        .map_err(io(doing))?;
    Ok(true)
}

fn newest_segment(folder: &Path) -> std::io::Result<Option<PathBuf>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            segments.push(path);
        }
    }
    Ok(segments.into_iter().max())
}

/// Where the last batch of a segment begins, and its attributes.
fn last_batch(segment: &[u8]) -> Option<(usize, u16)> {
    let (mut begin, mut last) = (0, None);
    while let Some(batch) = segment.get(begin..)
        && let Some(length) = batch.get(8..BEFORE)
        && let Some(attributes) = batch.get(ATTRIBUTES..ATTRIBUTES + 2)
    {
        last = Some((begin, u16::from_be_bytes(attributes.try_into().ok()?)));
        let length = u32::from_be_bytes(length.try_into().ok()?);
        begin += BEFORE + usize::try_from(length).ok()?;
    }
    last
}
