//! Cuts a stream into events, whatever its size: JSON lines, the elements of an array, or one object on several lines.
use std::io::{self, BufRead, BufReader, Cursor, Read};

use bytes::Bytes;
use memchr::memchr;
use tidewheel_decode::body::{self, Form};
use tidewheel_decode::ndjson;

/// Most bytes that are kept of an event. What is longer is cut off here: it is far beyond what a decoder takes, and refused either way.
const MAX_EVENT_BYTES: usize = 60 << 20;
/// How much is looked at to tell the form. One object on several lines has to end within it.
const HEAD_BYTES: u64 = 2 << 20;

/// A stream of events.
pub(crate) struct Cutter<R> {
    input: BufReader<io::Chain<Cursor<Vec<u8>>, Rest<R>>>,
    form: Shape,
    /// How much of the input was cut, bytes; decompressed.
    at_byte: usize,
}

/// What follows the beginning that was looked at.
enum Rest<R> {
    Input(R),
    /// The input failed while its beginning was looked at: said once what came before has been read.
    Failed(Option<io::Error>),
}

impl<R: Read> Read for Rest<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Input(input) => input.read(buffer),
            Self::Failed(error) => error.take().map_or(Ok(0), Err),
        }
    }
}

enum Shape {
    Lines,
    /// Inside an array, before its first element or behind one.
    Array {
        is_first: bool,
    },
    /// The whole input is one object.
    Whole,
}

impl<R: Read> Cutter<R> {
    /// Looks at the beginning of `input`.
    pub(crate) fn new(mut input: R) -> Self {
        let mut head = Vec::new();
        let (is_all, rest) = match input.by_ref().take(HEAD_BYTES).read_to_end(&mut head) {
            Ok(read) => ((read as u64) < HEAD_BYTES, Rest::Input(input)),
            Err(error) => (false, Rest::Failed(Some(error))),
        };
        let text = ndjson::without_byte_order_mark(&head);
        let (form, skip) = shape_of(text, is_all);
        let skip = skip + (head.len() - text.len());
        let at_byte = skip;
        let mut head = Cursor::new(head);
        head.set_position(skip as u64);
        Self {
            input: BufReader::with_capacity(256 << 10, head.chain(rest)),
            form,
            at_byte,
        }
    }

    /// The next event, without white space around it; none at the end.
    ///
    /// # Errors
    /// Where the input cannot be read, is damaged as gzip, or ends within an array. What came before was given.
    pub(crate) fn next_event(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            let (event, ended) = match self.form {
                Shape::Lines => self.line()?,
                Shape::Array { .. } => self.element()?,
                Shape::Whole => {
                    let mut whole = Vec::new();
                    self.input.read_to_end(&mut whole)?;
                    (whole, true)
                }
            };
            let event = trimmed(&event);
            if !event.is_empty() {
                return Ok(Some(Bytes::copy_from_slice(event)));
            }
            if ended {
                return match self.form {
                    Shape::Array { .. } => Err(self.array_without_end()),
                    Shape::Lines | Shape::Whole => Ok(None),
                };
            }
        }
    }

    fn array_without_end(&self) -> io::Error {
        let reason = format!(
            "the array ends at byte {} (decompressed) without its `]`: the file is not whole",
            self.at_byte
        );
        io::Error::new(io::ErrorKind::UnexpectedEof, reason)
    }

    /// Whether `end`, with nothing before it, ends an array of no elements.
    fn is_empty_array(&self, end: u8) -> bool {
        end == b']' && matches!(self.form, Shape::Array { is_first: true })
    }

    fn consume(&mut self, bytes: usize) {
        self.input.consume(bytes);
        self.at_byte += bytes;
    }

    /// A line, and whether it was the last.
    fn line(&mut self) -> io::Result<(Vec<u8>, bool)> {
        let mut line = Vec::new();
        loop {
            let available = self.input.fill_buf()?;
            if available.is_empty() {
                return Ok((line, true));
            }
            let end = memchr(b'\n', available);
            let text = &available[..end.unwrap_or(available.len())];
            keep(&mut line, text);
            let used = text.len() + usize::from(end.is_some());
            self.consume(used);
            if end.is_some() {
                return Ok((line, false));
            }
        }
    }

    /// An element of an array, and whether the input ended. Behind the array there may be lines.
    fn element(&mut self) -> io::Result<(Vec<u8>, bool)> {
        let mut element = Vec::new();
        let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
        loop {
            let available = self.input.fill_buf()?;
            if available.is_empty() {
                return Ok((element, true));
            }
            let mut end = None;
            for (index, byte) in available.iter().enumerate() {
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' if in_string => escaped = true,
                    b'"' => in_string = !in_string,
                    _ if in_string => {}
                    b'{' | b'[' => depth += 1,
                    b',' | b']' if depth == 0 => {
                        end = Some((index, *byte));
                        break;
                    }
                    b'}' | b']' => depth = depth.saturating_sub(1),
                    _ => {}
                }
            }
            let text = &available[..end.map_or(available.len(), |(index, _)| index)];
            keep(&mut element, text);
            let used = text.len() + usize::from(end.is_some());
            self.consume(used);
            if let Some((_, byte)) = end {
                if trimmed(&element).is_empty() && !self.is_empty_array(byte) {
                    // Where JSON wants an element and there is none, the byte that stands there is what is refused.
                    element.push(byte);
                }
                self.form = match byte {
                    b']' => Shape::Lines,
                    _ => Shape::Array { is_first: false },
                };
                return Ok((element, false));
            }
        }
    }
}

/// Without JSON's white space at the ends; what else looks like space is the decoder's to refuse.
fn trimmed(event: &[u8]) -> &[u8] {
    let is_solid = |byte: &u8| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    let start = event.iter().position(is_solid).unwrap_or(event.len());
    let end = event
        .iter()
        .rposition(is_solid)
        .map_or(start, |last| last + 1);
    &event[start..end]
}

fn keep(event: &mut Vec<u8>, text: &[u8]) {
    let room = MAX_EVENT_BYTES.saturating_sub(event.len());
    event.extend_from_slice(&text[..text.len().min(room)]);
}

/// The form of a text by its beginning, and how much of that to pass over.
fn shape_of(head: &[u8], is_all: bool) -> (Shape, usize) {
    let indent = head.len() - head.trim_ascii_start().len();
    match head.get(indent) {
        Some(b'[') if !is_a_line(&head[indent..]) => (Shape::Array { is_first: true }, indent + 1),
        Some(b'{') if is_all && body::split(head).is_ok_and(|body| body.form == Form::Object) => {
            (Shape::Whole, indent)
        }
        _ => (Shape::Lines, 0),
    }
}

/// Whether a text that begins with a bracket is a line of its own, with objects on the lines that follow.
fn is_a_line(text: &[u8]) -> bool {
    let mut lines = ndjson::lines(text);
    let first = lines.next().unwrap_or_default().trim_ascii_end();
    let second = lines.next().unwrap_or_default().trim_ascii_start();
    second.starts_with(b"{") && !first.ends_with(b",") && first != b"["
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn cut(text: &[u8]) -> Vec<String> {
        let mut cutter = Cutter::new(text);
        std::iter::from_fn(|| cutter.next_event().unwrap())
            .map(|event| String::from_utf8_lossy(&event).into_owned())
            .collect()
    }

    #[test]
    fn lines_lose_their_ends_and_nothing_else() {
        assert_eq!(
            cut(b"\xef\xbb\xbf{\"a\":1}\r\n\n  \n{\"a\": tru\n{\"b\":2}"),
            ["{\"a\":1}", "{\"a\": tru", "{\"b\":2}"]
        );
        assert_eq!(cut(b"not json\n{\"b\":2}\n"), ["not json", "{\"b\":2}"]);
        assert_eq!(cut(b"\x0c\n {} \n"), ["\x0c", "{}"]);
        assert!(cut(b"").is_empty());
        assert!(cut(b"\xef\xbb\xbf\r\n").is_empty());
    }

    #[test]
    fn an_array_is_its_elements() {
        let elements = [r#"{"a":"],[\"","b":[1,{}]}"#, "2", "[3,4]"];
        assert_eq!(
            cut(format!(" [\n{} ]\n", elements.join(" ,\n")).as_bytes()),
            elements
        );
        assert_eq!(cut(b"[{\"a\":1},\n{\"a\":2}]"), ["{\"a\":1}", "{\"a\":2}"]);
        assert!(cut(b"[]").is_empty());
        assert!(cut(b" [ \n] ").is_empty());
    }

    #[test]
    fn an_element_that_is_missing_is_given_as_the_byte_in_its_place() {
        assert_eq!(cut(b"[{}, ,{}]"), ["{}", ",", "{}"]);
        assert_eq!(cut(b"[{},]"), ["{}", "]"]);
        assert_eq!(cut(b"[,]"), [",", "]"]);
    }

    #[test]
    fn an_array_that_is_cut_says_where_after_what_it_held() {
        for (text, held) in [
            (&b"[{\"a\":1},{\"a\":2}"[..], 2),
            (b"[{\"a\":1},{\"a\":", 2),
            (b"\xef\xbb\xbf [ {\"a\":1} ,\n", 1),
            (b"[", 0),
        ] {
            let mut cutter = Cutter::new(text);
            for _ in 0..held {
                assert!(cutter.next_event().unwrap().is_some());
            }
            let reason = cutter.next_event().unwrap_err().to_string();
            let place = format!("ends at byte {} (decompressed) without its `]`", text.len());
            assert!(reason.contains(&place), "{reason}");
        }
    }

    #[test]
    fn a_line_that_is_an_array_spoils_only_itself() {
        assert_eq!(
            cut(b"[1,2\n{\"a\":1}\n{\"a\":2}\n"),
            ["[1,2", "{\"a\":1}", "{\"a\":2}"]
        );
        assert_eq!(cut(b"[1]\n{\"a\":1}\n"), ["[1]", "{\"a\":1}"]);
    }

    #[test]
    fn one_object_may_have_several_lines() {
        assert_eq!(cut(b"{\n  \"a\": 1\n}\n"), ["{\n  \"a\": 1\n}"]);
    }
}
