//! A JSON array of events, cut into its elements.
use crate::error::{DecodeError, Parsed};
use crate::scan::malformed;
use crate::space::{is_space, trimmed};

/// The elements of a JSON array, each with its own bytes.
///
/// Only brackets, quotes and commas are looked at, so an element that is wrong in itself is still cut out, for the
/// decoder to refuse it alone.
///
/// ```
/// let elements = tidewheel_decode::array::elements(br#" [{"a": 1}, {"a": tru}] "#)?;
/// assert_eq!(elements, [&br#"{"a": 1}"#[..], br#"{"a": tru}"#]);
/// # Ok::<(), tidewheel_decode::DecodeError>(())
/// ```
///
/// # Errors
/// `Malformed`, and where, if the array does not begin or end as one, or has nothing between two commas.
pub fn elements(text: &[u8]) -> Result<Vec<&[u8]>, DecodeError> {
    first_elements(text, usize::MAX)
}

/// The first `limit` elements; what follows them is not looked at.
pub(crate) fn first_elements(text: &[u8], limit: usize) -> Result<Vec<&[u8]>, DecodeError> {
    cut(text, limit).map_err(|fault| *fault)
}

fn cut(text: &[u8], limit: usize) -> Parsed<Vec<&[u8]>> {
    let open = first_solid(text, 0);
    if text.get(open) != Some(&b'[') {
        return Err(malformed(format!(
            "no '[' at byte {open} where an array should begin"
        )));
    }
    let mut elements = Vec::new();
    let mut start = first_solid(text, open + 1);
    if text.get(start) == Some(&b']') {
        return nothing_behind(text, start).map(|()| elements);
    }
    loop {
        let Some(end) = element_end(text, start) else {
            return Err(malformed(format!(
                "the array ends at byte {} without its ']'; send it whole, and close every quote and bracket",
                text.len()
            )));
        };
        let element = trimmed(text.get(start..end).unwrap_or_default());
        if element.is_empty() {
            return Err(malformed(format!(
                "an array with nothing before the comma or bracket at byte {end}; leave the comma out"
            )));
        }
        elements.push(element);
        if elements.len() >= limit {
            return Ok(elements);
        }
        if text.get(end) == Some(&b']') {
            return nothing_behind(text, end).map(|()| elements);
        }
        start = first_solid(text, end + 1);
    }
}

fn nothing_behind(text: &[u8], close: usize) -> Parsed<()> {
    let behind = first_solid(text, close + 1);
    if behind < text.len() {
        return Err(malformed(format!(
            "something follows the array's ']' at byte {behind}; send one array"
        )));
    }
    Ok(())
}

/// The first byte at or after `from` that is not white space; the length where there is none.
fn first_solid(text: &[u8], from: usize) -> usize {
    text.get(from..)
        .and_then(|rest| rest.iter().position(|byte| !is_space(*byte)))
        .map_or(text.len(), |offset| from + offset)
}

/// The comma or bracket that ends the element beginning at `from`.
fn element_end(text: &[u8], from: usize) -> Option<usize> {
    let mut depth = 0usize;
    let mut at = from;
    loop {
        match text.get(at)? {
            b'"' => at = string_end(text, at)?,
            b'{' | b'[' => depth += 1,
            b',' | b']' if depth == 0 => return Some(at),
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
}

/// The end of the object or array that begins at the start of `text`.
pub(crate) fn container_end(text: &[u8]) -> Option<usize> {
    let mut depth = 0usize;
    let mut at = 0;
    loop {
        match text.get(at)? {
            b'"' => at = string_end(text, at)?,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
        at += 1;
    }
}

/// The quote that closes the string whose opening quote is at `open`.
fn string_end(text: &[u8], open: usize) -> Option<usize> {
    let mut at = open + 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
        if text.get(at) == Some(&b'"') {
            return Some(at);
        }
        at += 2;
    }
}
