//! Dead letters as they stand in the log, and the notes of what was sent again.
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tidewheel_engine::wire::WireError;
use tidewheel_engine::wire::dead_letter::Letter;
use tidewheel_engine::wire::sent_again::Note;
use tidewheel_log::{Log, LogError, Record, first_record, read_to_end};

use crate::failure::Failure;
use crate::place::{PipelineName, PlaceArgs};

/// The dead letters of a pipeline.
pub(super) struct Letters {
    pub(super) log: Arc<dyn Log>,
    pub(super) pipeline: PipelineName,
    pub(super) topic: String,
}

/// A dead letter, without its bytes.
#[derive(Debug, Clone)]
pub(super) struct Found {
    /// Its offset among the letters.
    pub(super) offset: i64,
    /// When it was written, ms since the epoch.
    pub(super) at_ms: i64,
    /// How many bytes the record has.
    pub(super) value_bytes: Option<usize>,
    /// When it was sent again, ms since the epoch.
    pub(super) sent_ms: Option<i64>,
    pub(super) letter: Letter,
}

impl Letters {
    /// Those of the pipeline that the command line names. To be called within the runtime.
    pub(super) async fn open(place: &PlaceArgs) -> Result<Self, Failure> {
        let pipeline = place.pipeline.clone();
        let topic = pipeline.names().dead_letters();
        Ok(Self {
            log: place.open(&topic).await?,
            pipeline,
            topic,
        })
    }

    /// The letters that were sent again, each with when.
    pub(super) async fn sent(&self) -> Result<BTreeMap<i64, i64>, Failure> {
        let mut sent = BTreeMap::new();
        let mut damaged = None;
        read_to_end(
            self.log.as_ref(),
            &self.topic,
            0,
            |record| match Note::read(&record) {
                Ok(note) => {
                    let letters = note.into_iter().flat_map(|note| note.letters);
                    sent.extend(letters.map(|letter| (letter, record.append_time_ms)));
                }
                Err(error) => damaged = Some(unreadable(record.offset, &error)),
            },
        )
        .await?;
        // Who cannot read it must not take a letter for one that was not sent.
        damaged.map_or(Ok(sent), Err)
    }

    /// Looks at each letter, the oldest first.
    pub(super) async fn each(&self, mut look: impl FnMut(Found)) -> Result<(), Failure> {
        let sent = self.sent().await?;
        each_letter(self.log.as_ref(), &self.topic, |letter, record| {
            look(Found {
                sent_ms: sent.get(&record.offset).copied(),
                ..Found::new(letter, &record)
            });
        })
        .await
    }

    /// The letter at an offset, with its key and value.
    pub(super) async fn at(&self, offset: i64) -> Result<Option<(Letter, Record)>, Failure> {
        let reader = self.log.reader(&self.topic, 0, offset).await;
        let found = match reader {
            Ok(mut reader) => first_record(reader.as_mut()).await,
            Err(error) => Err(error),
        };
        let record = match found {
            Err(LogError::OutOfRange { .. }) => None,
            found => found?.filter(|record| record.offset == offset),
        };
        let Some(record) = record else {
            return Ok(None);
        };
        Ok(letter_of(&record)?.map(|letter| (letter, record)))
    }

    /// The failure that says that there is no letter at an offset.
    pub(super) fn no_letter(&self, offset: i64) -> Failure {
        let pipeline = &self.pipeline;
        Failure::usage(
            format!(
                "there is no dead letter at offset {offset}: none ever was, or it is past its retention"
            ),
            format!(
                "`tidewheel dead-letters list {pipeline}` has the offsets of those that there are"
            ),
        )
    }
}

impl Found {
    pub(super) fn new(letter: Letter, record: &Record) -> Self {
        Self {
            offset: record.offset,
            at_ms: record.append_time_ms,
            value_bytes: record.value.as_ref().map(Bytes::len),
            sent_ms: None,
            letter,
        }
    }
}

/// Looks at each dead letter of a topic, the oldest first; notes are left out.
pub(crate) async fn each_letter(
    log: &dyn Log,
    topic: &str,
    mut look: impl FnMut(Letter, Record),
) -> Result<(), Failure> {
    let mut damaged = None;
    read_to_end(log, topic, 0, |record| match letter_of(&record) {
        Ok(Some(letter)) => look(letter, record),
        Ok(None) => {}
        Err(error) => damaged = Some(error),
    })
    .await?;
    damaged.map_or(Ok(()), Err)
}

/// The letter that a record is; none where it is a note.
fn letter_of(record: &Record) -> Result<Option<Letter>, Failure> {
    let is_note = Note::read(record).map(|note| note.is_some());
    let letter = is_note.and_then(|is_note| match is_note {
        true => Ok(None),
        false => Letter::read(record).map(Some),
    });
    letter.map_err(|error| unreadable(record.offset, &error))
}

fn unreadable(offset: i64, error: &WireError) -> Failure {
    Failure::Run(format!(
        "the record at offset {offset} of the dead letters: {error}"
    ))
}
