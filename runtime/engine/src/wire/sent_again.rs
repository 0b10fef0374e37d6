//! Dead letters that are sent again: the record as it came, in the partition that it came from, with a header that says whom it is for and
//! what it repeats; and, in the same transaction, a note beside the letters that says which were sent, so that none is sent twice.
//!
//! | where | what |
//! |---|---|
//! | header [`HEADER`] of a record of a source | [`SentAgain`] as JSON |
//! | header [`NOTE`] of a record among the dead letters | `1`; the record's value is [`Note`] as JSON |
use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidewheel_log::{Header, NewRecord, Record};

use super::dead_letter::{Letter, Reason, header};
use super::{WireError, json};

/// Header of a record that was sent again.
pub const HEADER: &str = "tidewheel-sent-again";
/// Header of a note.
pub const NOTE: &str = "tidewheel-sent-letters";

const VERSION: u8 = 1;

/// Whom a record is for that was sent again, and what it repeats.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SentAgain {
    version: u8,
    /// `<namespace>/<name>` of the Pipeline: all others skip it.
    pub pipeline: String,
    /// Where in the pipeline it failed: only what lies behind all of these takes it. Empty: it failed before any step, and all take it.
    #[serde(rename = "for")]
    pub targets: Vec<Target>,
    /// The records of the same partition that it repeats, oldest first.
    pub repeats: Vec<Repeated>,
    /// Offset of its dead letter.
    pub letter: i64,
}

/// A place in a pipeline.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// A step, with all that it feeds.
    Step(String),
    /// An output.
    Output(String),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Step(name) => write!(f, "step {name}"),
            Self::Output(name) => write!(f, "output {name}"),
        }
    }
}

/// A record that was sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repeated {
    /// Its offset.
    pub offset: i64,
    /// When it was appended, ms since the epoch.
    pub append_time_ms: i64,
}

/// Why a dead letter cannot be sent again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsendable {
    /// It is no record of a source.
    #[error(
        "it is a group of a window and no record: it has no bytes that could be sent, and its events are in the source's topic"
    )]
    Group,
    /// The record was too large for a dead letter.
    #[error(
        "its value of {0} bytes was too large to be kept here, and is still where it came from"
    )]
    LeftOut(u64),
    /// Other rows of the record are where they have to be.
    #[error(
        "the Sink refused some rows of its event and took {0} others, which would be there twice"
    )]
    PartlyTaken(i64),
    /// It does not say where the record came from.
    #[error("an older build wrote it, without the topic and the headers of its record")]
    WithoutOrigin,
    /// The record was sent again before, and what it said of that cannot be read.
    #[error("its header {HEADER} cannot be read: {0}")]
    Unreadable(String),
}

impl SentAgain {
    /// What a record says of having been sent again; none where it was not.
    ///
    /// # Errors
    /// Its header is of a newer build, or somebody else's.
    pub fn read(headers: &[Header]) -> Option<Result<Self, WireError>> {
        let header = headers.iter().rev().find(|header| header.name == HEADER)?;
        Some(versioned(&header.value, "record that was sent again"))
    }

    fn of(letter: &Letter, at: i64, pipeline: &str) -> Result<Self, Unsendable> {
        let earlier = Self::read(&letter.headers).transpose();
        let earlier = earlier.map_err(|error| Unsendable::Unreadable(error.reason))?;
        let (mut targets, mut repeats) = earlier
            // What was sent again for another pipeline is skipped here, and never fails.
            .map(|earlier| (earlier.targets, earlier.repeats))
            .unwrap_or_default();
        targets.extend(letter.target().filter(|target| !targets.contains(target)));
        repeats.push(Repeated {
            offset: letter.offset,
            append_time_ms: letter.append_time_ms,
        });
        Ok(Self {
            version: VERSION,
            pipeline: pipeline.to_owned(),
            targets,
            repeats,
            letter: at,
        })
    }
}

impl Letter {
    /// Where in the pipeline it failed; none where that was before any step.
    pub fn target(&self) -> Option<Target> {
        let name = self.step.clone()?;
        Some(if self.reason == Reason::Refused.as_str() {
            Target::Output(name)
        } else {
            Target::Step(name)
        })
    }

    /// Whom it is for when it is sent again: only what lies behind all of these takes it; all of the pipeline where there are none.
    ///
    /// # Errors
    /// It cannot be sent again.
    pub fn targets(&self) -> Result<Vec<Target>, Unsendable> {
        self.origin()?;
        Ok(SentAgain::of(self, 0, "")?.targets)
    }

    /// The record that sends this letter again, which stands as `record` among the dead letters of `pipeline` (`<namespace>/<name>`).
    ///
    /// # Errors
    /// It cannot be sent again.
    pub fn send_again(&self, pipeline: &str, record: &Record) -> Result<NewRecord, Unsendable> {
        let topic = self.origin()?.to_owned();
        let again = SentAgain::of(self, record.offset, pipeline)?;
        let own = self.headers.iter().filter(|header| header.name != HEADER);
        let mut headers: Vec<Header> = own.cloned().collect();
        headers.push(Header {
            name: HEADER.to_owned(),
            value: json(&again).into(),
        });
        Ok(NewRecord {
            topic,
            partition: Some(self.partition),
            key: record.key.clone(),
            value: record.value.clone(),
            headers,
        })
    }

    /// The topic of its record, where that can be sent again.
    fn origin(&self) -> Result<&str, Unsendable> {
        if let Some(bytes) = self.left_out_bytes {
            return Err(Unsendable::LeftOut(bytes));
        }
        if self.rows_taken > 0 {
            return Err(Unsendable::PartlyTaken(self.rows_taken));
        }
        self.topic.as_deref().ok_or(if self.version == "1" {
            Unsendable::WithoutOrigin
        } else {
            Unsendable::Group
        })
    }
}

/// Which letters were sent again, in the transaction that sent them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Note {
    version: u8,
    /// Tells the runs of the command apart.
    pub run: String,
    /// Offsets of the letters. None in the first note of a run: whoever has read up to it knows what earlier runs have sent.
    pub letters: Vec<i64>,
}

impl Note {
    /// A note that `letters` were sent by `run`.
    pub fn new(run: &str, letters: Vec<i64>) -> Self {
        Self {
            version: VERSION,
            run: run.to_owned(),
            letters,
        }
    }

    /// The note as it stands among the dead letters, in their `topic`.
    pub fn record(&self, topic: &str) -> NewRecord {
        NewRecord {
            topic: topic.to_owned(),
            partition: Some(0),
            key: None,
            value: Some(json(self).into()),
            headers: vec![header(NOTE, &VERSION.to_string())],
        }
    }

    /// Reads a record among the dead letters; none where it is a letter.
    ///
    /// # Errors
    /// The note is damaged, or of a newer build.
    pub fn read(record: &Record) -> Result<Option<Self>, WireError> {
        // A letter begins with headers of its own, whatever its record had.
        let is_note = record
            .headers
            .first()
            .is_some_and(|header| header.name == NOTE);
        if !is_note {
            return Ok(None);
        }
        let value = record.value.clone().unwrap_or_default();
        versioned(&value, "note of letters sent again").map(Some)
    }
}

fn versioned<T: for<'a> Deserialize<'a>>(
    bytes: &Bytes,
    what: &'static str,
) -> Result<T, WireError> {
    #[derive(Deserialize)]
    struct Of {
        version: u64,
    }
    // A newer build's has members that are not known here: its version is what there is to say.
    if let Ok(Of { version }) = serde_json::from_slice(bytes)
        && version != u64::from(VERSION)
    {
        return Err(WireError::new(
            what,
            format!("version {version} is not known here"),
        ));
    }
    serde_json::from_slice(bytes).map_err(|error| WireError::new(what, error))
}
