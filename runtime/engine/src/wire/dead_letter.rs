//! Dead letters: the original key and bytes as they came, and headers that say why and where from.
//!
//! | header | value |
//! |---|---|
//! | `tidewheel-version` | `2` |
//! | `tidewheel-reason` | a stable word: [`Reason`], or the decoder's code |
//! | `tidewheel-message` | what is wrong, for people |
//! | `tidewheel-step` | the step that refused it, or, with the reason `Refused`, the output; absent where the event itself was refused |
//! | `tidewheel-field` | the field that is wrong, where one is |
//! | `tidewheel-rows-taken` | how many other rows of the record the sink has taken, where there are any |
//! | `tidewheel-source`, `tidewheel-topic`, `tidewheel-partition`, `tidewheel-offset`, `tidewheel-append-time` | where it came from; ms since the epoch |
//! | `tidewheel-value-bytes` | how many bytes the value has, where it is left out: see [`MAX_LETTER_BYTES`] |
//!
//! There is a topic where it is a record of a source, whose own headers follow then, as they came. In version 1 there are neither.
use bytes::Bytes;
use serde_json::{Map, Value};
use tidewheel_log::{Header, NewRecord, Record};

use super::{WireError, json, size_bytes};

/// Version of the headers that is written.
pub const VERSION: &str = "2";
/// The versions that can be read.
const READABLE: [&str; 2] = ["1", VERSION];
/// The last header of ours: those that follow are the record's own.
const LAST: &str = "tidewheel-append-time";
/// How many bytes a value has that is left out.
const LEFT_OUT: &str = "tidewheel-value-bytes";

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
    /// A record without a value in a topic of ours, where nothing deletes: elsewhere it is a tombstone, and no dead letter.
    Empty,
    /// A contribution came for a window that is no longer kept.
    WindowPurged,
    /// It was sent again for a step or output that is no longer there.
    UnknownTarget,
}

impl Reason {
    /// All reasons of the engine.
    pub const ALL: [Reason; 8] = [
        Reason::NoEventTime,
        Reason::Future,
        Reason::Evaluation,
        Reason::Late,
        Reason::Refused,
        Reason::Empty,
        Reason::WindowPurged,
        Reason::UnknownTarget,
    ];

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
            Self::UnknownTarget => "UnknownTarget",
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
    /// The step that refused it, or the output.
    pub step: Option<&'a str>,
    /// The field that is wrong.
    pub field: Option<&'a str>,
    /// How many other rows of the record the sink has taken.
    pub rows_taken: usize,
    /// The input: a source, or an aggregate step.
    pub input: &'a str,
    /// Partition of the input.
    pub partition: i32,
}

impl DeadLetter<'_> {
    /// The dead letter of a record of the source's topic `origin`, with its original bytes and headers.
    pub fn of_record(&self, topic: &str, origin: &str, record: &Record) -> NewRecord {
        let mut headers = self.headers(Some(origin), record.offset, record.append_time_ms);
        headers.extend_from_slice(&record.headers);
        NewRecord {
            topic: topic.to_owned(),
            partition: Some(0),
            key: record.key.clone(),
            value: record.value.clone(),
            headers,
        }
    }

    /// The dead letter of a record in somebody else's topic, without its value, and if need be its key and headers, where it would
    /// be larger than [`MAX_LETTER_BYTES`].
    pub fn of_foreign_record(&self, topic: &str, origin: &str, record: &Record) -> NewRecord {
        let mut letter = self.of_record(topic, origin, record);
        if size_bytes(&letter) <= MAX_LETTER_BYTES {
            return letter;
        }
        let bytes = letter.value.take().map_or(0, |value| value.len());
        let mut headers = letter.headers.iter();
        let place = headers.position(|header| header.name == LAST);
        let place = place.unwrap_or_default();
        letter
            .headers
            .insert(place, header(LEFT_OUT, &bytes.to_string()));
        if size_bytes(&letter) > MAX_LETTER_BYTES {
            letter.key = None;
            letter.headers.truncate(place + 2);
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
        NewRecord {
            topic: topic.to_owned(),
            partition: Some(0),
            key: None,
            value: Some(json(value).into()),
            headers: self.headers(None, offset, append_time_ms),
        }
    }

    fn headers(&self, origin: Option<&str>, offset: i64, append_time_ms: i64) -> Vec<Header> {
        let mut headers = vec![
            header("tidewheel-version", VERSION),
            header("tidewheel-reason", self.reason),
            header("tidewheel-message", self.message),
        ];
        headers.extend(self.step.map(|step| header("tidewheel-step", step)));
        headers.extend(self.field.map(|field| header("tidewheel-field", field)));
        if self.rows_taken > 0 {
            headers.push(header("tidewheel-rows-taken", &self.rows_taken.to_string()));
        }
        headers.push(header("tidewheel-source", self.input));
        headers.extend(origin.map(|topic| header("tidewheel-topic", topic)));
        headers.extend([
            header("tidewheel-partition", &self.partition.to_string()),
            header("tidewheel-offset", &offset.to_string()),
            header(LAST, &append_time_ms.to_string()),
        ]);
        headers
    }
}

/// The headers of a dead letter, as they are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    pub(super) version: String,
    /// A stable word.
    pub reason: String,
    /// What is wrong, for people.
    pub message: String,
    /// The step that refused it, or, with the reason `Refused`, the output.
    pub step: Option<String>,
    /// The field that is wrong.
    pub field: Option<String>,
    /// How many other rows of the record the sink has taken.
    pub rows_taken: i64,
    /// The input: a source, or an aggregate step.
    pub input: String,
    /// The topic that the record stands in; none of windows and groups, and in version 1.
    pub topic: Option<String>,
    /// Partition of the input.
    pub partition: i32,
    /// Offset there.
    pub offset: i64,
    /// When the record was appended there, ms since the epoch.
    pub append_time_ms: i64,
    /// How many bytes the record's value has, where it is left out for its size.
    pub left_out_bytes: Option<u64>,
    /// The record's own headers.
    pub headers: Vec<Header>,
}

impl Letter {
    /// Reads the headers of a dead letter.
    ///
    /// # Errors
    /// Headers are missing, or of a version that is not known here.
    pub fn read(record: &Record) -> Result<Self, WireError> {
        let last = record.headers.iter().position(|header| header.name == LAST);
        let (ours, own) = record.headers.split_at(last.map_or(0, |last| last + 1));
        let find = |name: &str| {
            let found = ours.iter().find(|header| header.name == name)?;
            Some(String::from_utf8_lossy(&found.value).into_owned())
        };
        let get = |name: &str| {
            find(name).ok_or_else(|| WireError::new("dead letter", format!("it has no {name}")))
        };
        let version = get("tidewheel-version")?;
        if !READABLE.contains(&version.as_str()) {
            let reason = format!("version {version} is not known here");
            return Err(WireError::new("dead letter", reason));
        }
        let number = |name: &str| {
            let number = get(name)?.parse::<i64>();
            number.map_err(|error| WireError::new("dead letter", format!("{name}: {error}")))
        };
        let partition = i32::try_from(number("tidewheel-partition")?);
        Ok(Self {
            version,
            reason: get("tidewheel-reason")?,
            message: get("tidewheel-message")?,
            step: find("tidewheel-step"),
            field: find("tidewheel-field"),
            rows_taken: match find("tidewheel-rows-taken") {
                Some(_) => number("tidewheel-rows-taken")?,
                None => 0,
            },
            input: get("tidewheel-source")?,
            topic: find("tidewheel-topic"),
            partition: partition.map_err(|error| WireError::new("dead letter", error))?,
            offset: number("tidewheel-offset")?,
            append_time_ms: number(LAST)?,
            left_out_bytes: find(LEFT_OUT).and_then(|bytes| bytes.parse().ok()),
            headers: own.to_vec(),
        })
    }
}

pub(super) fn header(name: &str, value: &str) -> Header {
    Header {
        name: name.to_owned(),
        value: Bytes::copy_from_slice(value.as_bytes()),
    }
}
