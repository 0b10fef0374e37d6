//! Events to records: checked against the schema, ids filled in, keyed. No I/O.
use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array as _, RecordBatch};
use bytes::Bytes;
use serde::{Serialize, Serializer};
use tidewheel_decode::cloud_events::CloudEvents;
use tidewheel_decode::{DecodeError, Decoded, Decoder, EventFormat, EventSchema, MessageKey};
use tidewheel_log::NewRecord;

use crate::fill::{self, Fill, Ids, Made};
use crate::source::Source;

/// An event that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RefusedEvent {
    /// Which event, from 0.
    pub index: u32,
    /// The column or member that is wrong; none where the event as a whole is.
    pub field: Option<String>,
    /// A stable word, such as `WrongType`.
    pub code: &'static str,
    /// What is wrong and what to send instead.
    pub reason: String,
}

/// A value that was filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GeneratedValue {
    /// Which event, from 0.
    pub index: u32,
    /// Name of the column.
    #[serde(serialize_with = "shared_text")]
    pub field: Arc<str>,
    /// The value, which is in the stored event as well.
    pub value: String,
}

fn shared_text<S: Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

/// What became of a batch of events.
#[derive(Debug, Default)]
pub struct Checked {
    /// A record for each good event, in order: its original bytes, with generated members in front or in the place of a null.
    pub records: Vec<NewRecord>,
    /// The bad events, in order.
    pub refused: Vec<RefusedEvent>,
    /// What was filled in, in order.
    pub generated: Vec<GeneratedValue>,
}

/// From this size on, what is added to an event could carry it over a limit of the decoder (the size of an event, the
/// number of its members), and whoever reads the log would refuse what was accepted here. Smaller ones are far from it.
const NEAR_LIMITS_FROM_BYTES: usize = 32 << 10;

/// Turns events of one source into records of its topic.
#[derive(Debug)]
pub struct Checker {
    topic: String,
    decoder: Decoder,
    fills: Vec<Fill>,
    key: MessageKey,
}

impl Checker {
    /// A checker for the events of `source`.
    pub fn new(source: &Source) -> Self {
        Self {
            topic: source.topic.clone(),
            decoder: Decoder::new(Arc::new(schema_before_filling(source))),
            fills: Fill::all(source),
            key: MessageKey::new(source.key.clone()),
        }
    }

    /// Checks events, each of which should be one JSON object; those of CloudEvents are in structured mode.
    pub fn check(&mut self, events: &[Bytes]) -> Checked {
        let mut no_cloud_events = self.no_cloud_events(events);
        let event = |(index, event)| match no_cloud_events.contains_key(&index) {
            false => Bytes::as_ref(event),
            // Nothing is no event, whatever it is of: the decoder refuses it.
            true => &[],
        };
        let Decoded {
            batch,
            rows,
            refused,
        } = self.decoder.decode((0..).zip(events).map(event));
        let mut checked = Checked {
            records: Vec::with_capacity(rows.len()),
            ..Checked::default()
        };
        let by_decoder = refused.into_iter();
        checked.refused.extend(by_decoder.map(|(index, error)| {
            let error = no_cloud_events.remove(&index).unwrap_or(error);
            RefusedEvent::new(index, error)
        }));
        let refused_by_decoder = checked.refused.len();

        let key = self.key.bind(&batch);
        let mut ids = Ids::new();
        for (row, &index) in rows.iter().enumerate() {
            let Some(event) = events.get(index as usize) else {
                continue;
            };
            let made = make(&self.fills, &batch, row, &mut ids);
            let value = fill::extended(event, &made);
            if !made.is_empty() && value.len() >= NEAR_LIMITS_FROM_BYTES {
                let again = self.decoder.decode([value.as_ref()]);
                if let Some((_, error)) = again.refused.into_iter().next() {
                    checked.refused.push(RefusedEvent::new(index, error));
                    continue;
                }
            }
            let made_for = |column| {
                let made = made.iter().find(|made| made.column() == column)?;
                Some(made.id.as_str())
            };
            checked.records.push(NewRecord {
                topic: self.topic.clone(),
                key: key.of(row, made_for),
                value: Some(value),
                ..NewRecord::default()
            });
            let made = made.into_iter().map(|made| made.into_value(index));
            checked.generated.extend(made);
        }
        if checked.refused.len() > refused_by_decoder {
            checked.refused.sort_by_key(|refused| refused.index);
        }
        checked
    }

    /// The events that are no CloudEvents, where events have to be, by index.
    fn no_cloud_events(&self, events: &[Bytes]) -> HashMap<u32, DecodeError> {
        match self.decoder.schema().format {
            // What is posted is never in Avro or Protobuf.
            EventFormat::Json | EventFormat::Avro | EventFormat::Protobuf => HashMap::new(),
            EventFormat::CloudEvents => (0..)
                .zip(events)
                .filter_map(|(index, event)| Some((index, CloudEvents::check(event).err()?)))
                .collect(),
        }
    }
}

impl Checked {
    /// Of a single event, which was refused.
    pub(crate) fn refused(error: DecodeError) -> Self {
        Self {
            refused: vec![RefusedEvent::new(0, error)],
            ..Self::default()
        }
    }
}

impl RefusedEvent {
    fn new(index: u32, error: DecodeError) -> Self {
        Self {
            index,
            field: error.field,
            code: error.code,
            reason: error.reason,
        }
    }
}

/// Makes what an event lacks.
fn make<'a>(fills: &'a [Fill], batch: &RecordBatch, row: usize, ids: &mut Ids) -> Vec<Made<'a>> {
    let absent = |fill: &&Fill| batch.column(fill.column).is_null(row);
    fills
        .iter()
        .filter(absent)
        .map(|fill| fill.make(ids))
        .collect()
}

/// What is filled in later may be absent when the event is decoded.
fn schema_before_filling(source: &Source) -> EventSchema {
    let mut schema = EventSchema::clone(&source.schema);
    for &column in &source.generated {
        if let Some(field) = schema.fields.get_mut(column) {
            field.required = false;
        }
    }
    schema
}
