//! What is left of a spec without the members that break its schema.
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray,
};
use serde_json::Value;

use crate::{
    Kind, admission,
    violation::{Code, Segment, Violation},
};

/// Members at the top of a spec whose absence makes other things wrong: what reads a step, and what needs a key.
const CONSEQUENTIAL: [&str; 2] = ["steps", "key"];

/// The spec without the members that `violations` found wrong, to find what else is; none where more depends on one of them
/// than itself.
///
/// Unknown members are left out. Of what is wrong or missing otherwise, the smallest optional member around it is.
pub fn remainder(kind: Kind, spec: &Value, violations: &[Violation]) -> Option<Value> {
    let schema = kind.spec();
    let mut rest = admission::with_defaults(schema, spec);
    for violation in violations {
        let path = match violation.code {
            Code::RuleBroken | Code::Immutable | Code::Duplicate => continue,
            Code::UnknownField => violation.path.as_slice(),
            // Where nothing can be left out, the value may still be of the right type.
            _ => match optional(schema, &violation.path) {
                Some(path) => path,
                None => continue,
            },
        };
        if is_consequential(schema, &rest, path) {
            return None;
        }
        leave_out(&mut rest, path);
    }
    Some(admission::with_defaults(schema, &rest))
}

/// An unknown member at the top may have been meant for one that is not there.
fn is_consequential(schema: &JSONSchemaProps, spec: &Value, path: &[Segment]) -> bool {
    let [Segment::Field(name)] = path else {
        return false;
    };
    let known = |name: &str| {
        schema
            .properties
            .as_ref()
            .is_some_and(|p| p.contains_key(name))
    };
    let is_empty = |name: &str| {
        let items = spec.get(name).and_then(Value::as_array);
        known(name) && items.is_none_or(Vec::is_empty)
    };
    CONSEQUENTIAL.contains(&name.as_str())
        || !known(name) && CONSEQUENTIAL.into_iter().any(is_empty)
}

/// The end of the longest part of `path` that is an optional member. Items of lists are not left out.
fn optional<'a>(schema: &JSONSchemaProps, path: &'a [Segment]) -> Option<&'a [Segment]> {
    let mut schema = schema;
    let mut found = None;
    for (depth, segment) in path.iter().enumerate() {
        schema = match segment {
            Segment::Field(name) => {
                if !schema
                    .required
                    .iter()
                    .flatten()
                    .any(|required| required == name)
                {
                    found = path.get(..=depth);
                }
                schema.properties.as_ref()?.get(name)?
            }
            Segment::Index(_) => {
                found = None;
                match schema.items.as_ref()? {
                    JSONSchemaPropsOrArray::Schema(item) => item,
                    JSONSchemaPropsOrArray::Schemas(_) => return None,
                }
            }
        };
    }
    found
}

fn leave_out(value: &mut Value, path: &[Segment]) {
    match (path, value) {
        ([Segment::Field(name)], Value::Object(fields)) => {
            fields.remove(name);
        }
        ([Segment::Field(name), rest @ ..], Value::Object(fields)) => {
            if let Some(value) = fields.get_mut(name) {
                leave_out(value, rest);
            }
        }
        ([Segment::Index(index), rest @ ..], Value::Array(items)) => {
            if let Some(value) = items.get_mut(*index) {
                leave_out(value, rest);
            }
        }
        // What is around it was left out before.
        _ => {}
    }
}
