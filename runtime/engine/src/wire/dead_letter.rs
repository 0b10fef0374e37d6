//! Dead letters: the original key and bytes as they came, and headers that say why and where from.
//!
//! | header | value |
//! |---|---|
//! | `tidewheel-version` | `1` |
//! | `tidewheel-reason` | a stable word: [`Reason`], or the decoder's code |
//! | `tidewheel-message` | what is wrong, for people |
//! | `tidewheel-step` | the step that refused it; absent where the event itself was refused |
//! | `tidewheel-field` | the field that is wrong, where one is |
//! | `tidewheel-source`, `tidewheel-partition`, `tidewheel-offset`, `tidewheel-append-time` | where it came from; ms since the epoch |
//! | `tidewheel-value-bytes` | how many bytes the value has, where it is left out: see [`MAX_LETTER_BYTES`] |
use bytes::Bytes;
use serde_json::{Map, Value};
use tidewheel_log::{Header, NewRecord, Record};

use super::{json, size_bytes};

/// Version of the headers.
pub const VERSION: &str = "1";
/// The last header of ours.
const LAST: &str = "tidewheel-append-time";

/// A dead letter of a record in somebody else's topic takes at most this, bytes: the topics of dead letters take records of 8 MiB, and
/// theirs may take more. A larger one is told without its value, which stays where it is.
pub const MAX_LETTER_BYTES: usize = 8_000_000;

/// Why a record or a row became a dead letter; for what cannot be decoded the decoder's code stands in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The event time is missing.
    NoEventTime,
    /// The event time is further ahead of the append time than `maxFuture`.
    Future,
    /// An expression could not be evaluated.
    Evaluation,
    /// The event came after its window took no more.
    Late,
    /// The sink refused a value.
    Refused,
    /// A record without a value.
    Empty,
    /// A contribution came for a window that is no longer kept.
    WindowPurged,
}

impl Reason {
    /// The word that stands in headers, metrics and ledgers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoEventTime => "NoEventTime",
            Self::Future => "Future",
            Self::Evaluation => "Evaluation",
            Self::Late => "Late",
            Self::Refused => "Refused",
            Self::Empty => "Empty",
            Self::WindowPurged => "WindowPurged",
        }
    }
}

/// Where a dead letter came from, and why it is one.
#[derive(Debug, Clone)]
pub struct DeadLetter<'a> {
    /// A stable word.
    pub reason: &'a str,
    /// What is wrong, for people.
    pub message: &'a str,
    /// The step that refused it.
    pub step: Option<&'a str>,
    /// The field that is wrong.
    pub field: Option<&'a str>,
    /// The input: a source, or an aggregate step.
    pub input: &'a str,
    /// Partition of the input.
    pub partition: i32,
}

impl DeadLetter<'_> {
    /// The dead letter of a source record, with its original bytes.
    pub fn of_record(&self, topic: &str, record: &Record) -> NewRecord {
        self.build(
            topic,
            record.offset,
            record.append_time_ms,
            record.key.clone(),
            record.value.clone(),
        )
    }

    /// The dead letter of a record in somebody else's topic, without its value where it would be larger than [`MAX_LETTER_BYTES`].
    pub fn of_foreign_record(&self, topic: &str, record: &Record) -> NewRecord {
        let mut letter = self.of_record(topic, record);
        if size_bytes(&letter) <= MAX_LETTER_BYTES {
            return letter;
        }
        let bytes = letter.value.take().map_or(0, |value| value.len());
        let mut headers = letter.headers.iter();
        let place = headers.position(|header| header.name == LAST);
        let told = header("tidewheel-value-bytes", &bytes.to_string());
        letter.headers.insert(place.unwrap_or_default(), told);
        if size_bytes(&letter) > MAX_LETTER_BYTES {
            letter.key = None;
        }
        letter
    }

    /// The dead letter of something that has no bytes of its own: `value` describes it.
    pub fn of_group(
        &self,
        topic: &str,
        offset: i64,
        append_time_ms: i64,
        value: &Map<String, Value>,
    ) -> NewRecord {
        let value = Some(json(value).into());
        self.build(topic, offset, append_time_ms, None, value)
    }

    fn build(
        &self,
        topic: &str,
        offset: i64,
        append_time_ms: i64,
        key: Option<Bytes>,
        value: Option<Bytes>,
    ) -> NewRecord {
        let mut headers = vec![
            header("tidewheel-version", VERSION),
            header("tidewheel-reason", self.reason),
            header("tidewheel-message", self.message),
        ];
        headers.extend(self.step.map(|step| header("tidewheel-step", step)));
        headers.extend(self.field.map(|field| header("tidewheel-field", field)));
        headers.extend([
            header("tidewheel-source", self.input),
            header("tidewheel-partition", &self.partition.to_string()),
            header("tidewheel-offset", &offset.to_string()),
            header(LAST, &append_time_ms.to_string()),
        ]);
        NewRecord {
            topic: topic.to_owned(),
            partition: Some(0),
            key,
            value,
            headers,
        }
    }
}

fn header(name: &str, value: &str) -> Header {
    Header {
        name: name.to_owned(),
        value: Bytes::copy_from_slice(value.as_bytes()),
    }
}
