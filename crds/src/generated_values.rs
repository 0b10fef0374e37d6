//! The values in a generator's `oneOf` and `constant`: of any JSON type for the CRD, but of the column's type for us.
use std::collections::HashMap;

use serde_json::Value;

use crate::{
    event_source::FieldType,
    generator::{GeneratedField, ValueKind},
    structure::shown,
    violation::{Code, Segment, Violation},
};

/// Reports the values that are not of their column's type. `spec` is the spec of an EventSource that breaks no other rule.
pub(crate) fn check(spec: &Value, found: &mut Vec<Violation>) {
    let Ok(spec) = serde_json::from_value::<crate::EventSourceSpec>(spec.clone()) else {
        return;
    };
    let types: HashMap<&str, FieldType> = spec
        .schema
        .fields
        .iter()
        .map(|field| (field.name.as_str(), field.type_))
        .collect();
    for (index, generated) in spec
        .generator
        .iter()
        .flat_map(|generator| &generator.fields)
        .enumerate()
    {
        let Some(type_) = types.get(generated.field.as_str()) else {
            continue;
        };
        for (place, value) in values(generated) {
            if !fits(value, *type_) {
                let path = ["generator", "fields"].map(|name| Segment::Field(name.to_owned()));
                let path = path
                    .into_iter()
                    .chain([Segment::Index(index)])
                    .chain(place)
                    .collect();
                let message = format!(
                    "{} does not fit the column `{}`: write {}",
                    shown(value),
                    generated.field,
                    wanted(*type_)
                );
                found.push(Violation {
                    path,
                    code: Code::WrongType,
                    message,
                });
            }
        }
    }
}

/// The values given, each with its place in the generated field.
fn values(generated: &GeneratedField) -> Vec<(Vec<Segment>, &Value)> {
    let field = |name: &str| Segment::Field(name.to_owned());
    match generated.kind() {
        Some(ValueKind::OneOf(choices)) => choices
            .iter()
            .enumerate()
            .map(|(index, choice)| {
                (
                    vec![field("oneOf"), Segment::Index(index), field("value")],
                    &choice.value,
                )
            })
            .collect(),
        Some(ValueKind::Constant(value)) => vec![(vec![field("constant"), field("value")], value)],
        _ => Vec::new(),
    }
}

fn fits(value: &Value, type_: FieldType) -> bool {
    match type_ {
        FieldType::Text | FieldType::Uuid => value.is_string(),
        FieldType::Bigint => value.is_i64(),
        FieldType::Double => value.is_number(),
        FieldType::Boolean => value.is_boolean(),
        FieldType::Timestamp => value.is_string() || value.is_i64(),
        FieldType::Json => true,
    }
}

fn wanted(type_: FieldType) -> &'static str {
    match type_ {
        FieldType::Text => "text, in quotes where YAML would take it for something else",
        FieldType::Uuid => "a UUID as text",
        FieldType::Bigint => "a whole number",
        FieldType::Double => "a number",
        FieldType::Boolean => "`true` or `false`",
        FieldType::Timestamp => "a time such as `2026-01-31T00:00:00Z`",
        FieldType::Json => "any value",
    }
}
