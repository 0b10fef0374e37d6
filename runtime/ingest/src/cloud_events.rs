//! CloudEvents over HTTP: the attributes of one in binary mode.
use std::borrow::Cow;

use axum::http::{HeaderMap, header};
use tidewheel_decode::cloud_events::{CloudEvents, Mode};
use tidewheel_decode::{DecodeError, EventSchema};

use crate::refusal::Refusal;

/// What attributes begin with in headers.
const ATTRIBUTE: &str = "ce-";

/// Whether the request holds one event in binary mode; otherwise its body holds events in JSON.
pub(crate) fn is_binary(headers: &HeaderMap) -> Result<bool, Refusal> {
    match Mode::of(content_type(headers), attributes(headers).next().is_some()) {
        Mode::Binary => Ok(true),
        Mode::Structured => Ok(false),
        Mode::Unreadable => Err(Refusal::CloudEventsFormat),
    }
}

/// The event in JSON that a request in binary mode stands for.
pub(crate) fn from_binary(
    schema: &EventSchema,
    headers: &HeaderMap,
    data: &[u8],
) -> Result<Vec<u8>, DecodeError> {
    CloudEvents::new(schema).from_binary(attributes(headers), content_type(headers), Some(data))
}

fn content_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::CONTENT_TYPE)?.to_str().ok()
}

fn attributes(headers: &HeaderMap) -> impl Iterator<Item = (&str, Cow<'_, [u8]>)> {
    headers.iter().filter_map(|(name, value)| {
        let name = name.as_str().strip_prefix(ATTRIBUTE)?;
        Some((name, decoded(value.as_bytes())))
    })
}

/// The value that a header stands for: quotes and percent-encoding are HTTP's, not the attribute's.
fn decoded(header: &[u8]) -> Cow<'_, [u8]> {
    let quoted = header
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""));
    if quoted.is_none() && !header.contains(&b'%') {
        return Cow::Borrowed(header);
    }
    let mut value = Vec::with_capacity(header.len());
    let mut rest = quoted.unwrap_or(header);
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match (byte, after) {
            (b'\\', [escaped, after @ ..]) if quoted.is_some() => {
                value.push(*escaped);
                rest = after;
            }
            (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    value.push((high << 4) | low);
                    rest = after;
                }
                _ => value.push(byte),
            },
            _ => value.push(byte),
        }
    }
    Cow::Owned(value)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn headers_are_decoded_as_http_encodes_them() {
        for (header, value) in [
            ("plain text", "plain text"),
            ("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
            ("100%", "100%"),
            ("%zz%4", "%zz%4"),
            (r#""say \"hi\" 50%25""#, r#"say "hi" 50%"#),
            (r#"""#, r#"""#),
            (r"a\b", r"a\b"),
            ("", ""),
        ] {
            let decoded = decoded(header.as_bytes());
            assert_eq!(std::str::from_utf8(&decoded).unwrap(), value);
        }
    }
}
