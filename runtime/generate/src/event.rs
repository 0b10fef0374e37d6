//! The shape of an event: nested objects with columns at their leaves.
use rand::Rng;

use crate::value::Values;

/// An object, its members in the order of the schema.
#[derive(Debug, Clone, Default)]
pub(crate) struct Object {
    members: Vec<Member>,
}

#[derive(Debug, Clone)]
struct Member {
    name: String,
    /// The name as JSON, and a colon.
    label: String,
    content: Content,
}

#[derive(Debug, Clone)]
enum Content {
    Object(Object),
    Column(Values),
}

impl Object {
    /// Puts a column where its path says. Paths within paths were refused with the schema.
    pub(crate) fn insert(&mut self, path: &[&str], values: Values) {
        match path {
            [] => {}
            [name] => self
                .members
                .push(Member::new(name, Content::Column(values))),
            [name, rest @ ..] => self.object(name).insert(rest, values),
        }
    }

    fn object(&mut self, name: &str) -> &mut Self {
        let found = self
            .members
            .iter()
            .position(|member| member.name == name && matches!(member.content, Content::Object(_)));
        let index = found.unwrap_or_else(|| {
            self.members
                .push(Member::new(name, Content::Object(Self::default())));
            self.members.len() - 1
        });
        match &mut self.members[index].content {
            Content::Object(object) => object,
            Content::Column(_) => unreachable!("only objects were looked for"),
        }
    }

    /// Appends an event's object as JSON. Returns whether it has members: those without values are left out.
    pub(crate) fn write(&self, out: &mut Vec<u8>, random: &mut impl Rng, now_ms: i64) -> bool {
        out.push(b'{');
        let first = out.len();
        for member in &self.members {
            let before = out.len();
            if before > first {
                out.push(b',');
            }
            out.extend_from_slice(member.label.as_bytes());
            let is_there = match &member.content {
                Content::Object(object) => object.write(out, random, now_ms),
                Content::Column(values) => values.write(out, random, now_ms),
            };
            if !is_there {
                out.truncate(before);
            }
        }
        let has_members = out.len() > first;
        out.push(b'}');
        has_members
    }
}

impl Member {
    fn new(name: &str, content: Content) -> Self {
        Self {
            name: name.to_owned(),
            label: format!("{}:", serde_json::Value::from(name)),
            content,
        }
    }
}
