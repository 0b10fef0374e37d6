//! Reading and extending an event that is known to be one valid JSON object, without parsing it again.
use bytes::Bytes;

/// The object with the value of a member at its top level, which is `null`, replaced; none where there is no such null.
///
/// `object` must be valid JSON: this only counts brackets and skips strings. The value is a text that needs no escapes.
pub(crate) fn with_null_replaced(object: &[u8], name: &str, value: &str) -> Option<Bytes> {
    let at = after_name(object, name)?;
    let colon = at + memchr::memchr(b':', object.get(at..)?)?;
    let is_solid = |byte: &u8| !byte.is_ascii_whitespace();
    let start = colon + 1 + object.get(colon + 1..)?.iter().position(is_solid)?;
    let rest = object.get(start..)?.strip_prefix(b"null")?;
    Some(Bytes::from(
        [&object[..start], b"\"", value.as_bytes(), b"\"", rest].concat(),
    ))
}

/// One beyond the name of a member at the top level.
fn after_name(object: &[u8], name: &str) -> Option<usize> {
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
                    return Some(end);
                }
                expects_name = false;
                at = end;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    None
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
/// Each member is its name as JSON, quotes included, and a text that needs no escapes.
pub(crate) fn with_members<'a>(
    object: &[u8],
    members: impl Iterator<Item = (&'a str, &'a str)>,
) -> Bytes {
    /// What most often is added, an id with a short name, takes no second allocation.
    const ROOM_BYTES: usize = 64;
    let object = object.trim_ascii();
    let rest = object.get(1..).unwrap_or_default();
    let mut extended = Vec::with_capacity(object.len() + ROOM_BYTES);
    extended.push(b'{');
    for (quoted_name, value) in members {
        if extended.len() > 1 {
            extended.push(b',');
        }
        for part in [quoted_name, ":\"", value, "\""] {
            extended.extend_from_slice(part.as_bytes());
        }
    }
    let has_members = rest.trim_ascii_start().first() != Some(&b'}');
    if has_members && extended.len() > 1 {
        extended.push(b',');
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
            let found = after_name(object.as_bytes(), "id").is_some();
            assert_eq!(found, expected, "{object}");
        }
    }

    #[test]
    fn a_null_gives_way_to_a_value_and_all_else_stays() {
        let replaced = |object: &str| {
            let found = with_null_replaced(object.as_bytes(), "id", "1")?;
            Some(String::from_utf8(found.to_vec()).unwrap())
        };
        for (object, expected) in [
            (r#"{"id":null}"#, Some(r#"{"id":"1"}"#)),
            (
                r#" {"a":{"id":null}, "i\u0064" : null , "b":null} "#,
                Some(r#" {"a":{"id":null}, "i\u0064" : "1" , "b":null} "#),
            ),
            (r#"{"a":null}"#, None),
            (r#"{"id":"null"}"#, None),
        ] {
            assert_eq!(replaced(object).as_deref(), expected, "{object}");
        }
    }

    #[test]
    fn what_was_sent_stays_byte_for_byte_behind_the_new_members() {
        let id = (r#""id""#, "1");
        let with = |object: &str, members: &[(&str, &str)]| {
            let extended = with_members(object.as_bytes(), members.iter().copied());
            String::from_utf8(extended.to_vec()).unwrap()
        };
        assert_eq!(
            with(r#" {"a": 1.0e0 } "#, &[id]),
            r#"{"id":"1","a": 1.0e0 }"#
        );
        assert_eq!(with("{ }", &[id]), r#"{"id":"1" }"#);
        assert_eq!(with("{}", &[id, (r#""b""#, "2")]), r#"{"id":"1","b":"2"}"#);
    }
}
