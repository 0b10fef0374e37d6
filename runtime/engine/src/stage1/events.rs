//! From records to columns, by the format of their source.
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use tidewheel_decode::cloud_events::{CloudEvents, Mode};
use tidewheel_decode::framed::{Encoding, FramedValues};
use tidewheel_decode::writer_schema::WriterSchema;
use tidewheel_decode::{Code, DecodeError, Decoded, Decoder, EventFormat, EventSchema};
use tidewheel_log::{Header, Record};

use super::source_record::SourceRecord;

/// What attributes of CloudEvents begin with in headers of records.
const ATTRIBUTE: &str = "ce_";

/// Reads the events of a source.
#[derive(Debug)]
pub(crate) struct Events {
    finder: Finder,
    decoder: Decoder,
}

impl Events {
    pub(crate) fn of(schema: &Arc<EventSchema>) -> Self {
        Self {
            finder: Finder::of(schema),
            decoder: Decoder::new(schema.clone()),
        }
    }

    /// The schemas that values of these records name and that are not known yet.
    pub(crate) fn unknown_schemas(&self, records: &[Record]) -> BTreeSet<u32> {
        let Finder::Framed(framed) = &self.finder else {
            return BTreeSet::new();
        };
        let values = records.iter().filter_map(|record| record.value.as_deref());
        values.filter_map(|value| framed.unknown(value)).collect()
    }

    /// Makes a schema known.
    pub(crate) fn learn(&mut self, id: u32, schema: Arc<WriterSchema>) {
        if let Finder::Framed(framed) = &mut self.finder {
            framed.learn(id, &schema);
        }
    }

    /// The events of a partition's records as columns, and what was found in each record: the decoder has refused every record that has
    /// no event.
    pub(crate) fn read<'a>(
        &mut self,
        records: &'a [Record],
        partition: i32,
    ) -> (Decoded, Vec<Found<'a>>) {
        let found = self.finder.find(records);
        let with_events = records.iter().zip(&found);
        let decoded = self
            .decoder
            .decode_records(with_events.map(|(record, found)| SourceRecord {
                record,
                event: found.event(),
                partition,
            }));
        (decoded, found)
    }
}

/// What was found in a record.
#[derive(Debug)]
pub(crate) enum Found<'a> {
    /// An event, as one JSON object, unless the decoder says that it is none.
    Event(Cow<'a, [u8]>),
    /// No event and no value.
    NoValue,
    /// Something that is not of the format.
    Refused(DecodeError),
}

impl Found<'_> {
    /// What the decoder is given: nothing where there is no event, which it refuses.
    fn event(&self) -> &[u8] {
        match self {
            Self::Event(event) => event,
            Self::NoValue | Self::Refused(_) => &[],
        }
    }
}

/// Finds events in records.
#[derive(Debug)]
enum Finder {
    /// The value is the event.
    Json,
    /// By headers and value.
    CloudEvents(CloudEvents),
    /// By the schemas that values name.
    Framed(FramedValues),
}

impl Finder {
    fn of(schema: &Arc<EventSchema>) -> Self {
        match schema.format {
            EventFormat::Json => Self::Json,
            EventFormat::CloudEvents => Self::CloudEvents(CloudEvents::new(schema)),
            EventFormat::Avro => Self::Framed(FramedValues::new(Encoding::Avro)),
            EventFormat::Protobuf => Self::Framed(FramedValues::new(Encoding::Protobuf)),
        }
    }

    /// What is found in each record.
    fn find<'a>(&mut self, records: &'a [Record]) -> Vec<Found<'a>> {
        let each = records.iter();
        match self {
            Self::Json => each.map(value).collect(),
            Self::CloudEvents(events) => each.map(|record| cloud_event(events, record)).collect(),
            Self::Framed(framed) => by_schema(framed, records),
        }
    }
}

fn value(record: &Record) -> Found<'_> {
    let value = record.value.as_deref();
    value.map_or(Found::NoValue, |value| Found::Event(Cow::Borrowed(value)))
}

/// What stands in records whose values name schemas: those of one are read together.
fn by_schema<'a>(framed: &mut FramedValues, records: &'a [Record]) -> Vec<Found<'a>> {
    let values = records.iter().filter_map(|record| record.value.as_deref());
    let mut events = framed.read(values).into_iter();
    let found = records.iter().map(|record| {
        let event = record.value.as_ref().and_then(|_| events.next());
        event.map_or(Found::NoValue, |event| {
            event.map_or_else(Found::Refused, |event| Found::Event(Cow::Owned(event)))
        })
    });
    found.collect()
}

fn cloud_event<'a>(events: &CloudEvents, record: &'a Record) -> Found<'a> {
    let attributes = || record.headers.iter().filter_map(attribute);
    let content_type = content_type(&record.headers);
    match Mode::of(content_type.as_deref(), attributes().next().is_some()) {
        Mode::Structured => match value(record) {
            Found::Event(event) => {
                CloudEvents::check(&event).map_or_else(Found::Refused, |()| Found::Event(event))
            }
            none => none,
        },
        Mode::Unreadable if record.value.is_none() => Found::NoValue,
        Mode::Unreadable => Found::Refused(DecodeError {
            field: None,
            code: Code::NotCloudEvent.as_str(),
            reason: format!(
                "the content type is {}; of CloudEvents in structured mode only application/cloudevents+json is read",
                content_type.unwrap_or_default()
            ),
        }),
        // Without a value it is an event without data.
        Mode::Binary => {
            let made = events.from_binary(
                attributes(),
                content_type.as_deref(),
                record.value.as_deref(),
            );
            made.map_or_else(Found::Refused, |event| Found::Event(Cow::Owned(event)))
        }
    }
}

fn attribute(header: &Header) -> Option<(&str, Cow<'_, [u8]>)> {
    let name = header.name.strip_prefix(ATTRIBUTE)?;
    Some((name, Cow::Borrowed(header.value.as_ref())))
}

fn content_type(headers: &[Header]) -> Option<Cow<'_, str>> {
    let mut newest_first = headers.iter().rev();
    let header = newest_first.find(|header| header.name.eq_ignore_ascii_case("content-type"))?;
    Some(String::from_utf8_lossy(&header.value))
}
