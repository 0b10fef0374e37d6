//! How deep the parts of a schema lie within each other. Its parser calls itself for each level, however many there are.

/// The deepest level of brackets in a file of Protobuf, without those in comments and strings.
pub(super) fn deepest(source: &str) -> usize {
    let (mut depth, mut deepest) = (0usize, 0);
    let mut rest = source.as_bytes();
    while let [first, after @ ..] = rest {
        rest = match (first, after.first()) {
            // The text format of options knows another sign for comments, which is an error elsewhere.
            (b'#', _) | (b'/', Some(b'/')) => behind(after, b"\n"),
            (b'/', Some(b'*')) => behind(&after[1..], b"*/"),
            (b'"' | b'\'', _) => behind_string(after, *first),
            _ => after,
        };
        match first {
            b'{' | b'[' | b'(' | b'<' => depth += 1,
            b'}' | b']' | b')' | b'>' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// What follows the first `end`.
fn behind<'a>(text: &'a [u8], end: &[u8]) -> &'a [u8] {
    let at = text.windows(end.len()).position(|window| window == end);
    at.map_or(&[], |at| &text[at + end.len()..])
}

/// What follows a string that ends with `quote`.
fn behind_string(text: &[u8], quote: u8) -> &[u8] {
    let mut is_escaped = false;
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            // No string goes on in another line: what looked like one is none, and what follows counts.
            b'\n' => return &text[at..],
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            _ if byte == quote => return &text[at + 1..],
            _ => {}
        }
    }
    &[]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_count_where_they_are_none_of_text() {
        for (source, depth) in [
            (
                "message A { map<string, int32> m = 1 [(a) = { b: [1] }]; }",
                4,
            ),
            ("// {{{{\nmessage A {} /* {{ \" * */ message B {}", 1),
            (r#"option a = "\"{{{"; option b = '{{"'; message A {}"#, 1),
            ("\"unending {\n{{", 2),
            ("\"unending {\\\n{{", 2),
            ("option (x) = { # /*\n a { b {} } };", 3),
            ("/* unending {{{", 0),
            ("}}}{", 1),
        ] {
            assert_eq!(deepest(source), depth, "{source}");
        }
    }
}
