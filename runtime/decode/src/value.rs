//! A member's value as its column's type, or what is wrong with it.
use uuid::Uuid;

use crate::error::{Code, Fault, Parsed, field_fault, shortened};
use crate::layout::Column;
use crate::number::{NotWhole, Number};
use crate::row::{Row, Slot};
use crate::scan::{RawString, Scanner};
use crate::schema::FieldType;
use crate::timestamp::{self, NotATime};

/// How much of an offending value a message shows.
const SHOWN_CHARS: usize = 40;

/// Reads the value that is next as a value of `column`. `depth` containers are open around it.
#[inline]
pub(crate) fn read(
    scan: &mut Scanner<'_>,
    event: &str,
    row: &mut Row,
    column: &Column,
    depth: usize,
) -> Parsed<Slot> {
    let first = scan.peek();
    if first == b'n' {
        scan.literal("null")?;
        if column.required {
            return Err(null(column));
        }
        return Ok(Slot::Null);
    }
    match (column.data_type, first) {
        (FieldType::Text, b'"') => {
            let raw = string(scan, column)?;
            Ok(Slot::Text(row.text(event, raw)))
        }
        (FieldType::Uuid, b'"') => {
            let raw = string(scan, column)?;
            uuid(event, row, column, raw)
        }
        (FieldType::Timestamp, b'"') => {
            let raw = string(scan, column)?;
            timestamp(event, row, column, raw)
        }
        (FieldType::Timestamp, b'-' | b'0'..=b'9') => {
            let number = scan.number()?;
            let millis = whole(number, column)?;
            timestamp::from_millis(millis)
                .map(Slot::Whole)
                .ok_or_else(|| beyond_years(column, number.text))
        }
        (FieldType::Bigint, b'-' | b'0'..=b'9') => {
            let number = scan.number()?;
            whole(number, column).map(Slot::Whole)
        }
        (FieldType::Double, b'-' | b'0'..=b'9') => {
            let number = scan.number()?;
            match number.double() {
                Some(value) => Ok(Slot::Double(value)),
                None => Err(beyond_double(column, number.text)),
            }
        }
        (FieldType::Boolean, b't') => {
            scan.literal("true")?;
            Ok(Slot::Boolean(true))
        }
        (FieldType::Boolean, b'f') => {
            scan.literal("false")?;
            Ok(Slot::Boolean(false))
        }
        (FieldType::Json, _) => {
            let start = scan.position();
            scan.skip_value(depth)
                .map_err(|fault| naming(fault, &column.name))?;
            let text = RawString {
                start,
                end: scan.position(),
                escaped: false,
            };
            Ok(Slot::Text(row.text(event, text)))
        }
        _ => Err(wrong_type(scan, column, depth)),
    }
}

/// The fault with the name of the member it is about, where its text is what is wrong.
#[cold]
pub(crate) fn naming(mut fault: Fault, field: &str) -> Fault {
    if fault.code == Code::BadText.as_str() && fault.field.is_none() {
        fault.field = Some(shortened(field, 100));
    }
    fault
}

#[inline(always)]
fn string(scan: &mut Scanner<'_>, column: &Column) -> Parsed<RawString> {
    match scan.string() {
        Ok(raw) => Ok(raw),
        Err(fault) => Err(naming(fault, &column.name)),
    }
}

#[inline]
fn uuid(event: &str, row: &mut Row, column: &Column, raw: RawString) -> Parsed<Slot> {
    let text = row.text(event, raw);
    let value = row.resolve(event, text);
    if is_canonical_uuid(value.as_bytes()) {
        return Ok(Slot::Text(text));
    }
    let parsed = if matches!(value.len(), 32 | 36) {
        Uuid::try_parse(value).ok()
    } else {
        None
    };
    let Some(parsed) = parsed else {
        return Err(field_fault(
            &column.name,
            Code::BadUuid,
            format!(
                "{} is not a UUID; {}",
                shown(event, raw),
                wanted(FieldType::Uuid)
            ),
        ));
    };
    let mut buffer = Uuid::encode_buffer();
    let canonical = parsed.hyphenated().encode_lower(&mut buffer);
    Ok(Slot::Text(
        row.decode(|decoded| decoded.push_str(canonical)),
    ))
}

/// 36 characters, lower case, hyphens where they belong.
#[inline]
fn is_canonical_uuid(text: &[u8]) -> bool {
    let Ok(text) = <&[u8; 36]>::try_from(text) else {
        return false;
    };
    let mut hyphens = 0;
    let mut in_alphabet = true;
    for byte in text {
        let hyphen = *byte == b'-';
        hyphens += u8::from(hyphen);
        in_alphabet &= hyphen | byte.is_ascii_digit() | (b'a'..=b'f').contains(byte);
    }
    in_alphabet
        && hyphens == 4
        && text[8] == b'-'
        && text[13] == b'-'
        && text[18] == b'-'
        && text[23] == b'-'
}

#[inline]
fn timestamp(event: &str, row: &mut Row, column: &Column, raw: RawString) -> Parsed<Slot> {
    let text = row.text(event, raw);
    let value = row.resolve(event, text);
    match timestamp::from_rfc3339(value.as_bytes()) {
        Ok(micros) => Ok(Slot::Whole(micros)),
        Err(reason) => Err(bad_timestamp(column, shown(event, raw), reason)),
    }
}

#[inline]
fn whole(number: Number<'_>, column: &Column) -> Parsed<i64> {
    number.whole().map_err(|reason| match reason {
        NotWhole::Fraction => field_fault(
            &column.name,
            Code::WrongType,
            format!(
                "{} is not a whole number; {}",
                shortened(number.text, SHOWN_CHARS),
                wanted(column.data_type)
            ),
        ),
        NotWhole::OutOfRange if column.data_type == FieldType::Timestamp => {
            beyond_years(column, number.text)
        }
        NotWhole::OutOfRange => field_fault(
            &column.name,
            Code::OutOfRange,
            format!(
                "{} does not fit 64 bits; send a number from {} to {}",
                shortened(number.text, SHOWN_CHARS),
                i64::MIN,
                i64::MAX
            ),
        ),
    })
}

#[cold]
fn null(column: &Column) -> Fault {
    field_fault(
        &column.name,
        Code::Null,
        format!(
            "is null, but required{}; {}",
            place(column),
            wanted(column.data_type)
        ),
    )
}

/// A required column that the event does not have.
#[cold]
pub(crate) fn missing(column: &Column) -> Fault {
    field_fault(
        &column.name,
        Code::Missing,
        format!(
            "is absent, but required{}; {}",
            place(column),
            wanted(column.data_type)
        ),
    )
}

#[cold]
fn beyond_double(column: &Column, text: &str) -> Fault {
    field_fault(
        &column.name,
        Code::OutOfRange,
        format!(
            "{} is beyond what a double holds; send a number between -1.797e308 and 1.797e308",
            shortened(text, SHOWN_CHARS)
        ),
    )
}

#[cold]
fn beyond_years(column: &Column, text: &str) -> Fault {
    field_fault(
        &column.name,
        Code::OutOfRange,
        format!(
            "{} lies outside the years 0001 to 9999; send milliseconds since the epoch, not seconds or microseconds",
            shortened(text, SHOWN_CHARS)
        ),
    )
}

#[cold]
fn bad_timestamp(column: &Column, shown: String, reason: NotATime) -> Fault {
    let (code, reason) = match reason {
        NotATime::Malformed => (
            Code::BadTimestamp,
            format!("{shown} is not a time; {}", wanted(FieldType::Timestamp)),
        ),
        NotATime::NoZone => (
            Code::NoZone,
            format!(
                "{shown} does not say its zone; append Z if it is UTC, or the offset as in +01:00"
            ),
        ),
        NotATime::OutOfRange => (
            Code::OutOfRange,
            format!("{shown} lies outside the years 0001 to 9999 (UTC); send a time within them"),
        ),
    };
    field_fault(&column.name, code, reason)
}

/// The value that is next has another type; or it is not even JSON.
#[cold]
fn wrong_type(scan: &mut Scanner<'_>, column: &Column, depth: usize) -> Fault {
    match describe(scan, depth) {
        Ok(found) => field_fault(
            &column.name,
            Code::WrongType,
            format!(
                "is {found}, not {}{}; {}",
                with_article(column.data_type),
                place(column),
                wanted(column.data_type)
            ),
        ),
        Err(fault) => naming(fault, &column.name),
    }
}

/// Skips the value that is next and says what it is: `a number, 42`.
pub(crate) fn describe(scan: &mut Scanner<'_>, depth: usize) -> Parsed<String> {
    let kind = match scan.peek() {
        b'"' => "a string",
        b'-' | b'0'..=b'9' => "a number",
        b't' | b'f' => "a boolean",
        b'[' => "an array",
        b'n' => "null",
        _ => "an object",
    };
    let start = scan.position();
    scan.skip_value(depth)?;
    let text = scan.slice(start, scan.position());
    if !matches!(kind, "a string" | "a number" | "a boolean") {
        return Ok(kind.to_owned());
    }
    Ok(format!("{kind}, {}", shortened(text, SHOWN_CHARS)))
}

/// A string token with its quotes.
fn shown(event: &str, raw: RawString) -> String {
    shortened(
        event.get(raw.start - 1..=raw.end).unwrap_or_default(),
        SHOWN_CHARS,
    )
}

/// Where the column's value is to stand, if its name does not say that.
fn place(column: &Column) -> String {
    if column.path == column.name {
        String::new()
    } else {
        format!(" (member `{}`)", shortened(&column.path, 100))
    }
}

fn with_article(data_type: FieldType) -> &'static str {
    match data_type {
        FieldType::Text => "text",
        FieldType::Bigint => "a bigint",
        FieldType::Double => "a double",
        FieldType::Boolean => "a boolean",
        FieldType::Timestamp => "a timestamp",
        FieldType::Uuid => "a UUID",
        FieldType::Json => "JSON",
    }
}

/// What to send for a column of that type.
fn wanted(data_type: FieldType) -> &'static str {
    match data_type {
        FieldType::Text => "send a string in double quotes",
        FieldType::Bigint => "send a whole number without quotes, such as 42",
        FieldType::Double => "send a number without quotes, such as 1.5",
        FieldType::Boolean => "send true or false without quotes",
        FieldType::Timestamp => {
            "send a time with its zone, such as \"2026-01-31T12:00:00Z\", or whole milliseconds since the epoch"
        }
        FieldType::Uuid => "send a UUID such as \"6f1c2f5e-0b5a-4c39-9d55-2f7f4f3a1b10\"",
        FieldType::Json => "send any JSON value but null",
    }
}
