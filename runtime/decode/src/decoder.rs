//! Batches of events to Arrow.
use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;

use crate::columns::Columns;
use crate::error::{Code, DecodeError, Parsed, fault};
use crate::layout::Layout;
use crate::limits::{DEFAULT_MAX_EVENT_BYTES, MAX_BATCH_BYTES};
use crate::parts::{EventRecord, PartColumns};
use crate::reader::EventReader;
use crate::row::Row;
use crate::schema::EventSchema;

/// What was decoded of a batch of events.
#[derive(Debug)]
pub struct Decoded {
    /// The good events, in order.
    pub batch: RecordBatch,
    /// For each row of `batch`, the index of its event in the input.
    pub rows: Vec<u32>,
    /// The bad events: index in the input, and why. Ascending.
    pub refused: Vec<(u32, DecodeError)>,
}

/// Decodes JSON events.
pub struct Decoder {
    schema: Arc<EventSchema>,
    max_event_bytes: usize,
    layout: Layout,
    parts: PartColumns,
    row: Row,
    columns: Columns,
    /// How many events were looked at, ever.
    events: u64,
}

impl Decoder {
    /// A decoder for events of `schema`.
    ///
    /// Of fields that [`EventSchema::validate`] would call clashing, the later ones are never found in events.
    pub fn new(schema: Arc<EventSchema>) -> Self {
        Self {
            max_event_bytes: DEFAULT_MAX_EVENT_BYTES,
            layout: Layout::new(&schema),
            parts: PartColumns::new(&schema),
            row: Row::new(schema.fields.len()),
            columns: Columns::new(schema.arrow_schema()),
            events: 0,
            schema,
        }
    }

    /// The same decoder, accepting events of up to that many bytes (at most 1 GiB).
    #[must_use]
    pub fn with_max_event_bytes(mut self, max_event_bytes: usize) -> Self {
        self.max_event_bytes = max_event_bytes.min(MAX_BATCH_BYTES);
        self
    }

    /// What this decoder decodes.
    pub fn schema(&self) -> &Arc<EventSchema> {
        &self.schema
    }

    /// Decodes events, each one JSON object. Never fails as a whole.
    ///
    /// It stops asking for events after [`MAX_BATCH_BYTES`](crate::MAX_BATCH_BYTES): what `rows` and `refused` do not
    /// name was not looked at and belongs in the next batch.
    pub fn decode<'a>(&mut self, events: impl IntoIterator<Item = &'a [u8]>) -> Decoded {
        self.decode_records(events)
    }

    /// As [`Decoder::decode`], of events with what stands beside them.
    pub fn decode_records(
        &mut self,
        records: impl IntoIterator<Item = impl EventRecord>,
    ) -> Decoded {
        let mut rows = Vec::new();
        let mut refused = Vec::new();
        let mut bytes = 0usize;
        // What one more event may add still fits.
        let full = MAX_BATCH_BYTES - self.max_event_bytes;
        for (index, record) in (0u32..).zip(records) {
            let read = self.read(record.event()).and_then(|text| {
                self.parts.read(&record, &mut self.row)?;
                Ok(text)
            });
            match read {
                Ok(text) => {
                    // A refused event leaves nothing in the columns, whatever its size.
                    bytes += text.len();
                    self.columns.append(text, &self.row);
                    rows.push(index);
                }
                Err(fault) => refused.push((index, *fault)),
            }
            if bytes > full {
                break;
            }
        }
        Decoded {
            batch: self.columns.finish(),
            rows,
            refused,
        }
    }

    /// Whether [`Decoder::decode`] would accept this event.
    ///
    /// # Errors
    /// Why it would not.
    pub fn check_one(&mut self, event: &[u8]) -> Result<(), DecodeError> {
        match self.read(event) {
            Ok(_) => Ok(()),
            Err(fault) => Err(*fault),
        }
    }

    /// Reads an event into `self.row` and returns its text.
    #[inline]
    fn read<'a>(&mut self, event: &'a [u8]) -> Parsed<&'a str> {
        if event.len() > self.max_event_bytes {
            let (bytes, most) = (event.len(), self.max_event_bytes);
            return Err(Box::new(DecodeError::too_large(bytes, "", most)));
        }
        let Ok(text) = simdutf8::basic::from_utf8(event) else {
            let valid = event
                .utf8_chunks()
                .next()
                .map_or(0, |chunk| chunk.valid().len());
            return Err(fault(
                Code::InvalidUtf8,
                format!("not UTF-8: a wrong byte at byte {valid}; encode the event as UTF-8"),
            ));
        };
        self.events += 1;
        EventReader::new(
            text,
            self.events,
            &mut self.layout,
            &mut self.row,
            self.schema.unknown,
        )
        .read()?;
        Ok(text)
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder")
            .field("schema", &self.schema)
            .field("max_event_bytes", &self.max_event_bytes)
            .finish_non_exhaustive()
    }
}
