//! Columns whose values stand beside the event, in the record that carries it: its key, headers, timestamp and place.
use uuid::Uuid;

use crate::error::{Code, Parsed, field_fault, shortened};
use crate::layout::Column;
use crate::row::{Row, Slot};
use crate::scan::Scanner;
use crate::schema::{EventSchema, FieldType, Part};
use crate::timestamp;
use crate::value;

/// How much of an offending value a message shows.
const SHOWN_CHARS: usize = 40;

/// An event with what stands beside it. What there is none of is NULL, or refuses the event where it is required.
pub trait EventRecord {
    /// The event.
    fn event(&self) -> &[u8];

    /// The record's key.
    fn key(&self) -> Option<&[u8]> {
        None
    }

    /// The newest header of that name.
    fn header(&self, _name: &str) -> Option<&[u8]> {
        None
    }

    /// The record's own timestamp, ms since the epoch.
    fn timestamp_ms(&self) -> Option<i64> {
        None
    }

    /// The record's offset.
    fn offset(&self) -> Option<i64> {
        None
    }

    /// The record's partition.
    fn partition(&self) -> Option<i32> {
        None
    }
}

/// An event alone.
impl EventRecord for &[u8] {
    fn event(&self) -> &[u8] {
        self
    }
}

/// The columns of a schema that are read beside the event.
#[derive(Debug)]
pub(crate) struct PartColumns(Vec<PartColumn>);

#[derive(Debug)]
struct PartColumn {
    index: usize,
    part: Part,
    column: Column,
}

impl PartColumns {
    pub(crate) fn new(schema: &EventSchema) -> Self {
        let fields = schema.fields.iter().enumerate();
        let beside = fields.filter(|(_, field)| field.part != Part::Value);
        Self(
            beside
                .map(|(index, field)| PartColumn {
                    index,
                    part: field.part.clone(),
                    column: Column {
                        name: field.name.clone(),
                        path: field.name.clone(),
                        data_type: field.data_type,
                        required: field.required,
                    },
                })
                .collect(),
        )
    }

    /// Reads what stands beside an event that was read into `row`.
    #[inline]
    pub(crate) fn read(&self, record: &impl EventRecord, row: &mut Row) -> Parsed<()> {
        for column in &self.0 {
            row.slots[column.index] = column.read(record, row)?;
        }
        Ok(())
    }
}

impl PartColumn {
    fn read(&self, record: &impl EventRecord, row: &mut Row) -> Parsed<Slot> {
        let slot = match &self.part {
            Part::Value => None,
            Part::Key => record
                .key()
                .map(|bytes| self.typed(bytes, row))
                .transpose()?,
            Part::Header(name) => record
                .header(name)
                .map(|bytes| self.typed(bytes, row))
                .transpose()?,
            Part::Timestamp => record
                .timestamp_ms()
                .map(|ms| self.time(ms, &ms.to_string()))
                .transpose()?,
            Part::Offset => record.offset().map(Slot::Whole),
            Part::Partition => record.partition().map(i64::from).map(Slot::Whole),
        };
        match slot {
            None | Some(Slot::Null) if self.column.required => Err(field_fault(
                &self.column.name,
                Code::Missing,
                format!("the record has no {}, but it is required", self.part),
            )),
            slot => Ok(slot.unwrap_or(Slot::Absent)),
        }
    }

    /// Bytes as the column's type: text as it stands there, everything else as it is written in JSON, without quotes.
    fn typed(&self, bytes: &[u8], row: &mut Row) -> Parsed<Slot> {
        let Ok(text) = std::str::from_utf8(bytes) else {
            let reason = format!("the {} is not UTF-8; send text", self.part);
            return Err(field_fault(&self.column.name, Code::InvalidUtf8, reason));
        };
        if text.contains('\0') {
            let reason = format!(
                "the {} holds NUL, which text cannot hold; leave it out",
                self.part
            );
            return Err(field_fault(&self.column.name, Code::BadText, reason));
        }
        match self.column.data_type {
            FieldType::Text => Ok(Slot::Text(row.decode(|decoded| decoded.push_str(text)))),
            FieldType::Uuid => {
                let parsed = Uuid::try_parse(text).map_err(|_| {
                    self.not_a(
                        Code::BadUuid,
                        text,
                        "a UUID such as 6f1c2f5e-0b5a-4c39-9d55-2f7f4f3a1b10",
                    )
                })?;
                let mut buffer = Uuid::encode_buffer();
                let canonical = parsed.hyphenated().encode_lower(&mut buffer);
                Ok(Slot::Text(
                    row.decode(|decoded| decoded.push_str(canonical)),
                ))
            }
            FieldType::Timestamp => match text.parse::<i64>() {
                Ok(millis) => self.time(millis, text),
                Err(_) => timestamp::from_rfc3339(text.as_bytes())
                    .map(Slot::Whole)
                    .map_err(|_| {
                        let wanted = "a time with its zone, such as 2026-01-31T12:00:00Z, or whole milliseconds since the epoch";
                        self.not_a(Code::BadTimestamp, text, wanted)
                    }),
            },
            FieldType::Json => {
                self.whole_value(text, |scan, _| scan.skip_value(0), row)?;
                Ok(Slot::Text(row.decode(|decoded| decoded.push_str(text.trim_ascii()))))
            }
            FieldType::Bigint | FieldType::Double | FieldType::Boolean => self.whole_value(
                text,
                |scan, row| value::read(scan, text, row, &self.column, 0),
                row,
            ),
        }
    }

    /// One JSON value with nothing but white space around it.
    fn whole_value<T>(
        &self,
        text: &str,
        read: impl FnOnce(&mut Scanner<'_>, &mut Row) -> Parsed<T>,
        row: &mut Row,
    ) -> Parsed<T> {
        let mut scan = Scanner::new(text);
        scan.skip_space();
        let value = read(&mut scan, row).and_then(|value| {
            scan.skip_space();
            if scan.at_end() {
                Ok(value)
            } else {
                Err(scan.unexpected("its end"))
            }
        });
        value.map_err(|mut fault| {
            fault.reason = format!("in the {}: {}", self.part, fault.reason);
            fault.field = Some(self.column.name.clone());
            fault
        })
    }

    fn time(&self, millis: i64, text: &str) -> Parsed<Slot> {
        timestamp::from_millis(millis)
            .map(Slot::Whole)
            .ok_or_else(|| {
                let wanted = "milliseconds since the epoch within the years 0001 to 9999";
                self.not_a(Code::OutOfRange, text, wanted)
            })
    }

    #[cold]
    fn not_a(&self, code: Code, text: &str, wanted: &str) -> crate::error::Fault {
        let shown = shortened(text, SHOWN_CHARS);
        field_fault(
            &self.column.name,
            code,
            format!("the {} is {shown}; send {wanted}", self.part),
        )
    }
}
