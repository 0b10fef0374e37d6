//! What a writer that was overtaken is told.
use std::fmt;

use crate::Progress;

/// The generation that was found where `expected` was.
pub(crate) fn other_generation(found: Option<i64>, expected: i64) -> String {
    match found {
        Some(found) => format!("generation {found} instead of {expected}"),
        None => format!("no generation instead of {expected}"),
    }
}

/// A generation that may not begin any more.
pub(crate) fn newer_generation(found: i64, expected: i64) -> String {
    format!("generation {found}, which is newer than {expected}")
}

/// The progress that was found where `expected` was.
pub(crate) fn other_progress(found: Option<Progress>, expected: Option<Progress>) -> String {
    format!("{} instead of {}", Described(found), Described(expected))
}

/// Progress in a message.
struct Described(Option<Progress>);

impl fmt::Display for Described {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("no progress"),
            Some(Progress {
                next_offset,
                watermark_ms: None,
            }) => write!(f, "offset {next_offset} without a watermark"),
            Some(Progress {
                next_offset,
                watermark_ms: Some(ms),
            }) => write!(f, "offset {next_offset} at watermark {ms} ms"),
        }
    }
}
