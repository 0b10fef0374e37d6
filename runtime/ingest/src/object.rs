//! Reading and extending an event that is known to be one valid JSON object, without parsing it again.
use bytes::Bytes;

/// Whether the object has a member of this name at its top level.
///
/// `object` must be valid JSON: this only counts brackets and skips strings.
pub(crate) fn has_member(object: &[u8], name: &str) -> bool {
    let mut depth = 0usize;
    let mut at = 0;
    let mut expects_name = false;
    while let Some(&byte) = object.get(at) {
        match byte {
            b'{' | b'[' => {
                depth += 1;
                expects_name = depth == 1;
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' => expects_name = depth == 1,
            b'"' => {
                let end = string_end(object, at);
                if expects_name && same_name(&object[at..end], name) {
                    return true;
                }
                expects_name = false;
                at = end;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    false
}

/// One beyond the closing quote of the string that begins at `start`.
fn string_end(object: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(&byte) = object.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    object.len()
}

fn same_name(quoted: &[u8], name: &str) -> bool {
    if quoted.contains(&b'\\') {
        return serde_json::from_slice::<String>(quoted).is_ok_and(|unescaped| unescaped == name);
    }
    quoted.get(1..quoted.len() - 1) == Some(name.as_bytes())
}

/// The object with members put before its first; all else stays byte for byte.
///
/// `members` are texts such as `"id":"1"`, without a comma at the end.
pub(crate) fn with_members(object: &[u8], members: &[String]) -> Bytes {
    let object = object.trim_ascii();
    let rest = object.get(1..).unwrap_or_default();
    let is_empty = rest.trim_ascii_start().first() == Some(&b'}');
    let mut extended = Vec::with_capacity(
        object.len() + members.iter().map(|member| member.len() + 1).sum::<usize>(),
    );
    extended.push(b'{');
    for (position, member) in members.iter().enumerate() {
        extended.extend_from_slice(member.as_bytes());
        if !is_empty || position + 1 < members.len() {
            extended.push(b',');
        }
    }
    extended.extend_from_slice(rest);
    Bytes::from(extended)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn only_names_at_the_top_level_count() {
        for (object, expected) in [
            (r#"{"id":null}"#, true),
            (r#" { "a" : 1 , "id" : "x" } "#, true),
            (r#"{"i\u0064":null}"#, true),
            (r#"{"a":[1,{"b":2}],"id":1}"#, true),
            (r#"{}"#, false),
            (r#"{"a":"id"}"#, false),
            (r#"{"a":["x","id"],"b":{"id":1}}"#, false),
            (r#"{"a":"\",\"id\":1","b":"\\"}"#, false),
            (r#"{"idx":1,"ID":2,"":3}"#, false),
        ] {
            assert_eq!(has_member(object.as_bytes(), "id"), expected, "{object}");
        }
    }

    #[test]
    fn what_was_sent_stays_byte_for_byte_behind_the_new_members() {
        let id = || [r#""id":"1""#.to_owned()];
        assert_eq!(
            with_members(br#" {"a": 1.0e0 } "#, &id()),
            r#"{"id":"1","a": 1.0e0 }"#
        );
        assert_eq!(with_members(b"{ }", &id()), r#"{"id":"1" }"#);
        assert_eq!(
            with_members(b"{}", &[r#""a":1"#.to_owned(), r#""b":2"#.to_owned()]),
            r#"{"a":1,"b":2}"#
        );
    }
}
