//! Messages as JSON.
use prost_reflect::prost_types::{Duration, Timestamp};
use prost_reflect::{DynamicMessage, Kind, MapKey, ReflectMessage as _, Value};

use crate::error::DecodeError;
use crate::framed::Encoding;
use crate::json::{write_base64, write_float, write_json};
use crate::limits::DEFAULT_MAX_EVENT_BYTES;

/// Seconds of the first and the last moment that RFC 3339 has: the years 1 to 9999.
const YEARS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
/// The longest duration, seconds: 10,000 years.
const LONGEST: u64 = 315_576_000_000;
const NANOS_OF_SECOND: u32 = 1_000_000_000;

type Written = Result<(), DecodeError>;

/// A message as an object.
pub(super) fn object(message: &DynamicMessage) -> Result<Vec<u8>, DecodeError> {
    let mut json = Json(Vec::new());
    json.members(message)?;
    Ok(json.0)
}

struct Json(Vec<u8>);

impl Json {
    /// As deep as messages may lie, which their decoder has bounded.
    fn message(&mut self, message: &DynamicMessage) -> Written {
        let descriptor = message.descriptor();
        let Some(name) = descriptor.full_name().strip_prefix("google.protobuf.") else {
            return self.members(message);
        };
        match name {
            "Timestamp" => self.timestamp(message),
            "Duration" => self.duration(message),
            "DoubleValue" | "FloatValue" | "Int64Value" | "UInt64Value" | "Int32Value"
            | "UInt32Value" | "BoolValue" | "StringValue" | "BytesValue" | "Struct"
            | "ListValue" => self.only_member(message),
            "Value" => match message.fields().next() {
                Some((field, value)) => self.value(&field.kind(), value),
                None => self.word("null"),
            },
            _ => self.members(message),
        }
    }

    fn members(&mut self, message: &DynamicMessage) -> Written {
        let descriptor = message.descriptor();
        let members = descriptor
            .fields()
            .filter(|field| !field.supports_presence() || message.has_field(field));
        self.list((b'{', b'}'), members, |json, field| {
            write_json(field.name(), &mut json.0);
            json.0.push(b':');
            json.value(&field.kind(), &message.get_field(&field))
        })
    }

    /// The value of a message that is there for the sake of one.
    fn only_member(&mut self, message: &DynamicMessage) -> Written {
        match message.descriptor().fields().next() {
            Some(field) => self.value(&field.kind(), &message.get_field(&field)),
            None => self.word("null"),
        }
    }

    fn value(&mut self, kind: &Kind, value: &Value) -> Written {
        match value {
            Value::Bool(value) => return self.word(if *value { "true" } else { "false" }),
            Value::I32(number) => write_json(number, &mut self.0),
            Value::I64(number) => write_json(number, &mut self.0),
            Value::U32(number) => write_json(number, &mut self.0),
            Value::U64(number) => write_json(number, &mut self.0),
            Value::F32(number) => write_float(*number, &mut self.0),
            Value::F64(number) => write_float(*number, &mut self.0),
            Value::String(text) => write_json(text, &mut self.0),
            Value::Bytes(bytes) => write_base64(bytes, &mut self.0),
            Value::EnumNumber(number) => return self.named(kind, *number),
            Value::Message(message) => return self.message(message),
            Value::List(items) => {
                return self.list((b'[', b']'), items, |json, item| json.value(kind, item));
            }
            Value::Map(entries) => {
                let of = kind.as_message().map(|entry| entry.map_entry_value_field());
                let of = of.map_or_else(|| kind.clone(), |field| field.kind());
                let mut entries: Vec<(&MapKey, &Value)> = entries.iter().collect();
                // They lie there in an order of chance, and a record is the same whenever it is read.
                entries.sort_unstable_by_key(|(key, _)| *key);
                return self.list((b'{', b'}'), entries, |json, (key, value)| {
                    json.key(key);
                    json.0.push(b':');
                    json.value(&of, value)
                });
            }
        }
        self.check_size()
    }

    /// Items with commas between them, in brackets.
    fn list<T>(
        &mut self,
        (open, close): (u8, u8),
        items: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Self, T) -> Written,
    ) -> Written {
        self.0.push(open);
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                self.0.push(b',');
            }
            write(self, item)?;
        }
        self.0.push(close);
        self.check_size()
    }

    fn key(&mut self, key: &MapKey) {
        let number: &dyn std::fmt::Display = match key {
            MapKey::String(text) => return write_json(text, &mut self.0),
            MapKey::Bool(value) => value,
            MapKey::I32(number) => number,
            MapKey::I64(number) => number,
            MapKey::U32(number) => number,
            MapKey::U64(number) => number,
        };
        write_json(&number.to_string(), &mut self.0);
    }

    fn named(&mut self, kind: &Kind, number: i32) -> Written {
        let of = kind.as_enum();
        if of.is_some_and(|of| of.full_name() == "google.protobuf.NullValue") {
            return self.word("null");
        }
        match of.and_then(|of| of.get_value(number)) {
            Some(value) => write_json(value.name(), &mut self.0),
            None => write_json(&number, &mut self.0),
        }
        self.check_size()
    }

    fn timestamp(&mut self, message: &DynamicMessage) -> Written {
        let (seconds, nanos) = seconds_and_nanos(message);
        if !YEARS.contains(&seconds) || !(0..NANOS_OF_SECOND.cast_signed()).contains(&nanos) {
            return Err(misfit("a Timestamp is out of range"));
        }
        write_json(&Timestamp { seconds, nanos }.to_string(), &mut self.0);
        self.check_size()
    }

    fn duration(&mut self, message: &DynamicMessage) -> Written {
        let (seconds, nanos) = seconds_and_nanos(message);
        let has_one_sign = seconds.signum() * i64::from(nanos.signum()) >= 0;
        if seconds.unsigned_abs() > LONGEST
            || nanos.unsigned_abs() >= NANOS_OF_SECOND
            || !has_one_sign
        {
            return Err(misfit("a Duration is out of range"));
        }
        write_json(&Duration { seconds, nanos }.to_string(), &mut self.0);
        self.check_size()
    }

    fn word(&mut self, word: &str) -> Written {
        self.0.extend_from_slice(word.as_bytes());
        self.check_size()
    }

    /// A few bytes may stand for many: members that have their default are written out, and names of enums are.
    fn check_size(&self) -> Written {
        let (bytes, most) = (self.0.len(), DEFAULT_MAX_EVENT_BYTES);
        if bytes > most {
            return Err(DecodeError::too_large(bytes, " or more as JSON", most));
        }
        Ok(())
    }
}

/// Of a Timestamp or a Duration.
fn seconds_and_nanos(message: &DynamicMessage) -> (i64, i32) {
    let seconds = message.get_field_by_number(1);
    let nanos = message.get_field_by_number(2);
    (
        seconds.and_then(|value| value.as_i64()).unwrap_or_default(),
        nanos.and_then(|value| value.as_i32()).unwrap_or_default(),
    )
}

#[cold]
fn misfit(reason: &str) -> DecodeError {
    Encoding::Protobuf.misfit(reason)
}
