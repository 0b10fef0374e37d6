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
            assert_eq!(has_member(object.as_bytes(), "id"), expected, "{object}");
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
