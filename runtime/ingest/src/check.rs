//! Events to records: checked against the schema, ids filled in, keyed. No I/O.
use std::fmt;
use std::sync::Arc;

use arrow::array::{Array as _, RecordBatch};
use bytes::Bytes;
use serde::{Serialize, Serializer};
use tidewheel_decode::{Decoded, Decoder, EventSchema};
use tidewheel_log::NewRecord;
use uuid::Uuid;

use crate::key::MessageKey;
use crate::object;
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
    #[serde(serialize_with = "displayed")]
    pub value: Uuid,
}

fn shared_text<S: Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

fn displayed<S: Serializer>(value: &impl fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// What became of a batch of events.
#[derive(Debug, Default)]
pub struct Checked {
    /// A record for each good event, in order: its original bytes, with generated members in front.
    pub records: Vec<NewRecord>,
    /// The bad events, in order.
    pub refused: Vec<RefusedEvent>,
    /// What was filled in, in order.
    pub generated: Vec<GeneratedValue>,
}

/// Turns events of one source into records of its topic.
#[derive(Debug)]
pub struct Checker {
    topic: String,
    decoder: Decoder,
    fills: Vec<Fill>,
    key: MessageKey,
}

/// A column that is filled in when it is absent.
#[derive(Debug)]
struct Fill {
    column: usize,
    name: Arc<str>,
    member: String,
    /// The member's name as JSON, for the record.
    quoted_member: String,
}

/// The columns of one event that were filled in.
type Filled = Vec<(usize, Uuid)>;

impl Checker {
    /// A checker for the events of `source`.
    pub fn new(source: &Source) -> Self {
        let fills = source.generated.iter().filter_map(|&column| {
            let field = source.schema.fields.get(column)?;
            let member = field.path.first()?.clone();
            let quoted_member = serde_json::Value::from(member.as_str()).to_string();
            Some(Fill {
                column,
                name: Arc::from(field.name.as_str()),
                member,
                quoted_member,
            })
        });
        Self {
            topic: source.topic.clone(),
            decoder: Decoder::new(Arc::new(schema_before_filling(source))),
            fills: fills.collect(),
            key: MessageKey::new(source.key.clone()),
        }
    }

    /// Checks events, each of which should be one JSON object.
    pub fn check(&mut self, events: &[Bytes]) -> Checked {
        let Decoded {
            batch,
            rows,
            refused,
        } = self.decoder.decode(events.iter().map(Bytes::as_ref));
        let mut checked = Checked {
            records: Vec::with_capacity(rows.len()),
            ..Checked::default()
        };
        checked
            .refused
            .extend(refused.into_iter().map(|(index, error)| RefusedEvent {
                index,
                field: error.field,
                code: error.code,
                reason: error.reason,
            }));
        let refused_by_decoder = checked.refused.len();

        let key = self.key.bind(&batch);
        for (row, &index) in rows.iter().enumerate() {
            let Some(event) = events.get(index as usize) else {
                continue;
            };
            let filled = match self.fill(&batch, row, event) {
                Ok(filled) => filled,
                Err(fill) => {
                    checked.refused.push(fill.refuse_null(index));
                    continue;
                }
            };
            let filled_text = |column| {
                filled
                    .iter()
                    .find(|(filled, _)| *filled == column)
                    .map(|(_, id)| id.to_string())
            };
            checked.records.push(NewRecord {
                topic: self.topic.clone(),
                key: key.of(row, filled_text),
                value: Some(self.value(event, &filled)),
                ..NewRecord::default()
            });
            self.note(index, &filled, &mut checked.generated);
        }
        if checked.refused.len() > refused_by_decoder {
            checked.refused.sort_by_key(|refused| refused.index);
        }
        checked
    }

    /// Makes the values that are absent. A null is not absent: it was put there, and is refused.
    fn fill(&self, batch: &RecordBatch, row: usize, event: &[u8]) -> Result<Filled, &Fill> {
        let mut filled = Filled::new();
        for fill in &self.fills {
            if batch.column(fill.column).is_valid(row) {
                continue;
            }
            if object::has_member(event, &fill.member) {
                return Err(fill);
            }
            filled.push((fill.column, Uuid::now_v7()));
        }
        Ok(filled)
    }

    fn value(&self, event: &Bytes, filled: &Filled) -> Bytes {
        if filled.is_empty() {
            return event.clone();
        }
        let member = |fill: &Fill, id: &Uuid| format!("{}:\"{id}\"", fill.quoted_member);
        let members: Vec<_> = self
            .filled(filled)
            .map(|(fill, id)| member(fill, id))
            .collect();
        object::with_members(event, &members)
    }

    fn note(&self, index: u32, filled: &Filled, generated: &mut Vec<GeneratedValue>) {
        generated.extend(self.filled(filled).map(|(fill, id)| GeneratedValue {
            index,
            field: fill.name.clone(),
            value: *id,
        }));
    }

    fn filled<'a>(&'a self, filled: &'a Filled) -> impl Iterator<Item = (&'a Fill, &'a Uuid)> {
        filled.iter().filter_map(|(column, id)| {
            Some((self.fills.iter().find(|fill| fill.column == *column)?, id))
        })
    }
}

impl Fill {
    fn refuse_null(&self, index: u32) -> RefusedEvent {
        RefusedEvent {
            index,
            field: Some(self.name.to_string()),
            code: "Null",
            reason: "is null: send a uuid, or leave the member out to have one made".to_owned(),
        }
    }
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
