//! Bytes of whoever sent them, as people and programs can read them.
use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Bytes of a line of a dump.
const LINE_BYTES: usize = 16;

/// As JSON has them: text where they are text, else in Base64.
pub(crate) fn text_or_base64(bytes: Option<&[u8]>) -> (Option<String>, Option<String>) {
    match bytes.map(|bytes| (std::str::from_utf8(bytes), bytes)) {
        None => (None, None),
        Some((Ok(text), _)) => (Some(text.to_owned()), None),
        Some((Err(_), bytes)) => (None, Some(STANDARD.encode(bytes))),
    }
}

/// Text that does nothing to a terminal but stand there.
pub(crate) fn plain_text(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let is_plain = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t');
    text.chars().all(is_plain).then_some(text)
}

/// Writes a text as it is, with a newline at its end, and anything else as a dump: offset, bytes in hexadecimal, and those that are ASCII.
pub(crate) fn write(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    if let Some(text) = plain_text(bytes) {
        let end = if text.ends_with('\n') { "" } else { "\n" };
        return write!(out, "{text}{end}");
    }
    for (index, line) in bytes.chunks(LINE_BYTES).enumerate() {
        let hex: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        let ascii = line.iter().map(|&byte| match byte {
            b' '..=b'~' => char::from(byte),
            _ => '.',
        });
        let (hex, ascii) = (hex.join(" "), ascii.collect::<String>());
        let width = LINE_BYTES * 3 - 1;
        writeln!(out, "{:08x}  {hex:width$}  |{ascii}|", index * LINE_BYTES)?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn written(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        write(&mut out, bytes).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn text_is_text_and_anything_else_a_dump() {
        assert_eq!(written("{\"a\": \"ü\"}".as_bytes()), "{\"a\": \"ü\"}\n");
        assert_eq!(written(b"two\nlines\n"), "two\nlines\n");
        assert_eq!(
            written(b"{\"id\":\"\xff\"}\n0123456"),
            "00000000  7b 22 69 64 22 3a 22 ff 22 7d 0a 30 31 32 33 34  |{\"id\":\".\"}.01234|\n\
             00000010  35 36                                            |56|\n"
        );
    }

    #[test]
    fn what_a_terminal_would_obey_is_a_dump() {
        assert_eq!(plain_text(b"\x1b[2Jgone"), None);
        assert!(written(b"\x1b[2J").starts_with("00000000  1b 5b 32 4a"));
    }
}
