//! A body or file whose form is not known: one object, an array, or NDJSON.
use crate::array::{self, container_end};
use crate::error::DecodeError;
use crate::ndjson;
use crate::space::trimmed;

/// The form events came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One object, on one line or several.
    Object,
    /// The elements of one array.
    Array,
    /// A line each.
    Lines,
}

/// Events cut out of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body<'a> {
    /// The form they came in.
    pub form: Form,
    /// Their bytes, in order. None where the body is empty or an empty array.
    pub events: Vec<&'a [u8]>,
}

/// Cuts a body into events, without judging them. A byte order mark at the start is ignored.
///
/// What begins with `[` is an array. Otherwise it is one object if that takes the whole body, and NDJSON if its
/// first line is an object of its own or another line begins with a brace. A body that is neither goes to the decoder
/// as one event if it begins with a brace (the decoder says where it is broken), and line by line if not.
///
/// ```
/// use tidewheel_decode::body::{Form, split};
///
/// let body = split(b"{\"a\": 1}\n{\"a\": 2}\n")?;
/// assert_eq!((body.form, body.events.len()), (Form::Lines, 2));
/// # Ok::<(), tidewheel_decode::DecodeError>(())
/// ```
///
/// # Errors
/// `Malformed` for an array that is broken outside its elements.
pub fn split(body: &[u8]) -> Result<Body<'_>, DecodeError> {
    split_first(body, usize::MAX)
}

/// [`split`], but stops after `limit` events and does not look at what follows: a body of millions of tiny events must
/// not cost more than it is allowed to bring.
///
/// # Errors
/// As [`split`], for what was looked at.
pub fn split_first(body: &[u8], limit: usize) -> Result<Body<'_>, DecodeError> {
    let text = trimmed(ndjson::without_byte_order_mark(body));
    match text.first() {
        Some(b'[') => Ok(Body {
            form: Form::Array,
            events: array::first_elements(text, limit)?,
        }),
        Some(b'{') if is_one_object(text) => Ok(Body {
            form: Form::Object,
            events: vec![text],
        }),
        _ => Ok(Body {
            form: Form::Lines,
            events: ndjson::lines(text).take(limit).collect(),
        }),
    }
}

/// Whether text that begins with a brace is one object, be it a broken one, rather than lines.
fn is_one_object(text: &[u8]) -> bool {
    let Some(line_end) = memchr::memchr(b'\n', text) else {
        return true;
    };
    let (first_line, rest) = text.split_at(line_end);
    if container_end(first_line) == Some(trimmed(first_line).len()) {
        return false;
    }
    let is_whole = container_end(text) == Some(text.len());
    is_whole || !memchr::memmem::find_iter(rest, b"\n{").any(|_| true)
}
