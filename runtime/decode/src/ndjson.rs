//! Newline-delimited JSON: one event a line.

use crate::space::trimmed;

/// The UTF-8 encoding of the byte order mark.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The lines that hold something, without their line ends (LF or CRLF).
///
/// ```
/// let lines: Vec<&[u8]> = tidewheel_decode::ndjson::lines(b"{\"a\":1}\r\n\n{\"a\":2}").collect();
/// assert_eq!(lines, [b"{\"a\":1}", b"{\"a\":2}"]);
/// ```
pub fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (line, behind) = match memchr::memchr(b'\n', rest) {
            Some(end) => (&rest[..end], &rest[end + 1..]),
            None => (rest, &[][..]),
        };
        rest = behind;
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    })
    .filter(|line| !trimmed(line).is_empty())
}

/// The text without the byte order mark that some programs put at the start of a file.
pub fn without_byte_order_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text)
}
