//! What is wrong with a spec, said as the API server would: by the schema and the CEL rules of the CRDs.
use std::fmt;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;
use serde_json::Value;

use crate::{Kind, admission, generated_values, rules, shape, structure};

/// Something wrong in a spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Where, from the spec down: `steps`, `0`, `sql`. What is missing is named by the path of what should have it.
    pub path: Vec<Segment>,
    /// What kind of mistake it is.
    pub code: Code,
    /// What is wrong and what to write instead.
    pub message: String,
}

/// A step from a value to one inside it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Segment {
    /// A field of an object.
    Field(String),
    /// An item of a list, counted from 0.
    Index(usize),
}

/// Kinds of mistakes, as stable words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// A field that must be there is not.
    MissingField,
    /// A field that does not exist.
    UnknownField,
    /// A value of another type than the field's.
    WrongType,
    /// A value that is not one of those listed.
    NotOneOf,
    /// A text of another form than the field's.
    Malformed,
    /// A number, text or list too small or too large.
    OutOfBounds,
    /// Two items of a list with the same name.
    Duplicate,
    /// A rule about one or several fields is broken.
    RuleBroken,
    /// The change from the old spec to the new one is not allowed.
    Immutable,
}

impl Code {
    /// The stable word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MissingField => "MissingField",
            Self::UnknownField => "UnknownField",
            Self::WrongType => "WrongType",
            Self::NotOneOf => "NotOneOf",
            Self::Malformed => "Malformed",
            Self::OutOfBounds => "OutOfBounds",
            Self::Duplicate => "Duplicate",
            Self::RuleBroken => "RuleBroken",
            Self::Immutable => "Immutable",
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", display_path(&self.path))?;
        }
        f.write_str(&self.message)
    }
}

/// A path as people write it: `steps[0].sql`.
pub fn display_path(path: &[Segment]) -> String {
    let mut text = String::new();
    for segment in path {
        match segment {
            Segment::Field(name) if text.is_empty() => text.push_str(name),
            Segment::Field(name) => text.extend([".", name]),
            Segment::Index(index) => text.push_str(&format!("[{index}]")),
        }
    }
    text
}

/// All that is wrong with `spec`, the content of the field `spec` of a resource of this kind; with `old`, also what must not change.
///
/// It walks the schema of the CRD and evaluates its CEL rules, so the verdict is the API server's. A rule is left out where the fields it reads are wrong
/// themselves. In one point it is stricter, because a CRD cannot say it: the values in a generator's `oneOf` and `constant` must be of the column's type.
///
/// ```
/// use tidewheel_crds::{Kind, violations};
///
/// let spec = serde_json::json!({"postgres": {"connection": {"secretRef": {"name": "db", "key": "url"}}, "shema": "shop"}});
/// let found = violations(Kind::Sink, &spec, None);
/// assert_eq!(found[0].to_string(), "postgres.shema: unknown field `shema`: did you mean `schema`?");
/// ```
pub fn violations(kind: Kind, spec: &Value, old: Option<&Value>) -> Vec<Violation> {
    let schema = kind.spec();
    let spec = admission::with_defaults(schema, spec);
    let old = old.map(|old| admission::with_defaults(schema, old));
    let mut found = Vec::new();
    judge(schema, &spec, old.as_ref(), &mut Vec::new(), &mut found);
    if kind == Kind::EventSource && found.is_empty() {
        generated_values::check(&spec, &mut found);
    }
    found
}

/// The spec as the API server would store it: nulls are taken as absent, and absent fields have their defaults.
///
/// A spec without [`violations`] can be read into its type after this.
pub fn admitted(kind: Kind, spec: &Value) -> Value {
    admission::with_defaults(kind.spec(), spec)
}

/// What is wrong with the name of a resource of ours; none if it is good.
///
/// It holds no dots, so that the `<namespace>.<name>` of a topic can be taken apart again.
pub fn name_violation(name: &str) -> Option<String> {
    if name.len() > 63 || name.contains('.') {
        return Some(shape::NAME_MESSAGE.to_owned());
    }
    // An API server refuses such names of itself, for every kind.
    let fits = structure::matches(shape::RESOURCE, name);
    (!fits).then(|| {
        format!(
            "`{name}` cannot name a resource: write {}",
            shape::meaning(shape::RESOURCE).unwrap_or_default()
        )
    })
}

/// Judges `value` and all in it, deepest first, so that a rule is only asked about values of the right shape.
fn judge(
    schema: &JSONSchemaProps,
    value: &Value,
    old: Option<&Value>,
    path: &mut Vec<Segment>,
    found: &mut Vec<Violation>,
) {
    let before = found.len();
    structure::check(schema, value, path, found);
    for (segment, child_schema, child) in structure::children(schema, value) {
        let old_child = old.and_then(|old| structure::counterpart(schema, &segment, child, old));
        path.push(segment);
        judge(child_schema, child, old_child, path, found);
        path.pop();
    }
    if found.len() == before {
        rules::check(schema, value, old, path, found);
    }
}
