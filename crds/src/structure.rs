//! The structural half of a verdict: types, required fields, bounds, patterns, unknown fields.
use std::{
    collections::{HashMap, HashSet},
    sync::{LazyLock, Mutex, PoisonError},
};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray,
};
use regex::Regex;
use serde_json::{Map, Value};

use crate::{
    meant, shape,
    violation::{Code, Segment, Violation},
};

/// Reports what is wrong with `value` itself, not with what is in it.
pub(crate) fn check(
    schema: &JSONSchemaProps,
    value: &Value,
    path: &[Segment],
    found: &mut Vec<Violation>,
) {
    let Some(type_) = schema.type_.as_deref() else {
        return;
    };
    let mut report = |code, message| {
        found.push(Violation {
            path: path.to_vec(),
            code,
            message,
        })
    };
    match (type_, value) {
        ("object", Value::Object(fields)) => check_object(schema, fields, path, found),
        ("array", Value::Array(items)) => check_array(schema, items, path, found),
        ("string", Value::String(text)) => {
            if let Some((code, message)) = wrong_text(schema, text) {
                report(code, message);
            }
        }
        ("integer", Value::Number(number)) if number.is_i64() || number.is_u64() => {
            check_number(schema, number, path, found);
        }
        ("number", Value::Number(number)) => check_number(schema, number, path, found),
        ("boolean", Value::Bool(_)) => {}
        (wanted, other) => {
            let wanted = if meant::is_duration(schema) {
                "a duration"
            } else {
                type_in_words(wanted)
            };
            let instead = meant::instead_of(schema, other)
                .map(|instead| format!(": write {instead}"))
                .unwrap_or_default();
            report(
                Code::WrongType,
                format!("must be {wanted}, not {}{instead}", value_in_words(other)),
            );
        }
    }
}

/// The parts of `value` that the schema knows, each with its schema.
pub(crate) fn children<'a>(
    schema: &'a JSONSchemaProps,
    value: &'a Value,
) -> Vec<(Segment, &'a JSONSchemaProps, &'a Value)> {
    match (value, &schema.properties, &schema.items) {
        (Value::Object(fields), Some(properties), _) => {
            let known = fields
                .iter()
                .filter_map(|(name, value)| Some((name, properties.get(name)?, value)));
            known
                .map(|(name, property, value)| (Segment::Field(name.clone()), property, value))
                .collect()
        }
        (Value::Array(items), _, Some(JSONSchemaPropsOrArray::Schema(item))) => items
            .iter()
            .enumerate()
            .map(|(index, value)| (Segment::Index(index), &**item, value))
            .collect(),
        _ => Vec::new(),
    }
}

/// What `child` was in `old`: items of a list-map are found by their keys, items of other lists never.
pub(crate) fn counterpart<'a>(
    schema: &JSONSchemaProps,
    segment: &Segment,
    child: &Value,
    old: &'a Value,
) -> Option<&'a Value> {
    match segment {
        Segment::Field(name) => old.get(name),
        Segment::Index(_) => {
            let keys = schema.x_kubernetes_list_map_keys.as_ref()?;
            let same = |item: &&Value| keys.iter().all(|key| item.get(key) == child.get(key));
            old.as_array()?.iter().find(same)
        }
    }
}

/// Whether `text` matches `pattern`, which is one of our own.
#[allow(
    clippy::expect_used,
    reason = "the patterns are constants, each compiled by a test"
)]
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    static COMPILED: LazyLock<Mutex<HashMap<String, Regex>>> = LazyLock::new(Mutex::default);
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    compiled
        .entry(pattern.to_owned())
        .or_insert_with(|| Regex::new(pattern).expect("patterns of the API compile"))
        .is_match(text)
}

fn check_object(
    schema: &JSONSchemaProps,
    fields: &Map<String, Value>,
    path: &[Segment],
    found: &mut Vec<Violation>,
) {
    if schema.x_kubernetes_preserve_unknown_fields == Some(true) {
        return;
    }
    let known: Vec<&str> = schema
        .properties
        .iter()
        .flat_map(|properties| properties.keys())
        .map(String::as_str)
        .collect();
    // A field that was given under another name is not missing as well.
    let mut meant = Vec::new();
    for name in fields.keys().filter(|name| !known.contains(&name.as_str())) {
        let mut path = path.to_vec();
        path.push(Segment::Field(name.clone()));
        let unset: Vec<&str> = known
            .iter()
            .copied()
            .filter(|known| !fields.contains_key(*known))
            .collect();
        // One that is given cannot have been meant, unless nothing else is near.
        let near = nearest(name, &unset).or_else(|| nearest(name, &known));
        meant.extend(near);
        if let [only] = known[..] {
            meant.push(only);
        }
        found.push(Violation {
            path,
            code: Code::UnknownField,
            message: unknown_field(name, &known, near),
        });
    }
    for name in schema
        .required
        .iter()
        .flatten()
        .filter(|name| !fields.contains_key(*name) && !meant.contains(&name.as_str()))
    {
        let example = meant::example(schema, name).map(|example| format!(": write {example}"));
        let message = format!("`{name}` is missing{}", example.unwrap_or_default());
        found.push(Violation {
            path: path.to_vec(),
            code: Code::MissingField,
            message,
        });
    }
}

fn unknown_field(name: &str, known: &[&str], nearest: Option<&str>) -> String {
    match nearest {
        Some(nearest) => format!("unknown field `{name}`: did you mean `{nearest}`?"),
        None if known.is_empty() => {
            format!("unknown field `{name}`: there are none here, write `{{}}`")
        }
        None => format!("unknown field `{name}`: write {}", alternatives(known)),
    }
}

fn nearest<'a>(name: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let distance = |candidate: &str| {
        strsim::damerau_levenshtein(&name.to_lowercase(), &candidate.to_lowercase())
    };
    let near = candidates
        .iter()
        .map(|candidate| (distance(candidate), *candidate));
    let near = near
        .filter(|(distance, candidate)| *distance <= (candidate.len().min(name.len()) / 3).max(1));
    near.min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn check_array(
    schema: &JSONSchemaProps,
    items: &[Value],
    path: &[Segment],
    found: &mut Vec<Violation>,
) {
    let mut report = |path: Vec<Segment>, code, message| {
        found.push(Violation {
            path,
            code,
            message,
        })
    };
    let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
    if let Some(most) = schema.max_items.filter(|most| length > *most) {
        report(
            path.to_vec(),
            Code::OutOfBounds,
            format!("has {length} items: at most {most} are allowed"),
        );
    }
    if let Some(least) = schema.min_items.filter(|least| length < *least) {
        report(
            path.to_vec(),
            Code::OutOfBounds,
            format!("has {length} items: at least {least} must be given"),
        );
    }
    let item_path = |index| {
        path.iter()
            .cloned()
            .chain([Segment::Index(index)])
            .collect()
    };
    match (
        schema.x_kubernetes_list_type.as_deref(),
        &schema.x_kubernetes_list_map_keys,
    ) {
        (Some("map"), Some(keys)) => {
            let mut seen = HashSet::new();
            for (index, item) in items.iter().enumerate() {
                let key: Option<Vec<&Value>> = keys.iter().map(|key| item.get(key)).collect();
                if let Some(key) = key.filter(|key| !seen.insert(key.clone())) {
                    let key: Vec<String> = key.into_iter().map(shown).collect();
                    report(
                        item_path(index),
                        Code::Duplicate,
                        format!("{} is here twice: names must differ", key.join(", ")),
                    );
                }
            }
        }
        (Some("set"), _) => {
            let mut seen = HashSet::new();
            for (index, item) in items
                .iter()
                .enumerate()
                .filter(|(_, item)| !seen.insert(*item))
            {
                report(
                    item_path(index),
                    Code::Duplicate,
                    format!("{} is here twice", shown(item)),
                );
            }
        }
        _ => {}
    }
}

fn wrong_text(schema: &JSONSchemaProps, text: &str) -> Option<(Code, String)> {
    let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    if let Some(allowed) = schema
        .enum_
        .as_ref()
        .filter(|allowed| !allowed.iter().any(|allowed| allowed.0 == text))
    {
        let allowed: Vec<&str> = allowed
            .iter()
            .filter_map(|allowed| allowed.0.as_str())
            .collect();
        let guess = nearest(text, &allowed).map(|nearest| format!("did you mean `{nearest}`? "));
        let message = format!(
            "{} is not possible: {}write {}",
            shown(&text.into()),
            guess.unwrap_or_default(),
            alternatives(&allowed)
        );
        return Some((Code::NotOneOf, message));
    }
    if length > 0
        && let Some(most) = schema.max_length.filter(|most| length > *most)
    {
        return Some((
            Code::OutOfBounds,
            format!("has {length} characters: at most {most} are allowed"),
        ));
    }
    if let Some(least) = schema
        .min_length
        .filter(|least| length < *least && length == 0 && *least > 0)
    {
        let example = schema
            .pattern
            .as_deref()
            .and_then(shape::meaning)
            .map(|meaning| format!(": write {meaning}"));
        return Some((
            Code::OutOfBounds,
            format!(
                "must have at least {least} characters{}",
                example.unwrap_or_default()
            ),
        ));
    }
    let pattern = schema
        .pattern
        .as_deref()
        .filter(|pattern| !matches(pattern, text));
    if let Some(pattern) = pattern {
        let meaning = shape::meaning(pattern)
            .map_or_else(|| format!("text that matches `{pattern}`"), str::to_owned);
        let guess = meant::duration(text)
            .filter(|_| meant::is_duration(schema))
            .map(|duration| format!("did you mean `{duration}`? "))
            .unwrap_or_default();
        return Some((
            Code::Malformed,
            format!(
                "{} is not possible: {guess}write {meaning}",
                shown(&text.into())
            ),
        ));
    }
    let least = schema.min_length.filter(|least| length < *least)?;
    Some((
        Code::OutOfBounds,
        format!("must have at least {least} characters"),
    ))
}

fn check_number(
    schema: &JSONSchemaProps,
    number: &serde_json::Number,
    path: &[Segment],
    found: &mut Vec<Violation>,
) {
    let Some(value) = number.as_f64() else { return };
    let message = match (schema.minimum, schema.maximum) {
        (Some(least), Some(most)) if value < least || value > most => {
            format!("{number} is out of bounds: write {least} to {most}")
        }
        (Some(least), None) if value < least => {
            format!("{number} is too small: write at least {least}")
        }
        (None, Some(most)) if value > most => {
            format!("{number} is too large: write at most {most}")
        }
        _ => return,
    };
    found.push(Violation {
        path: path.to_vec(),
        code: Code::OutOfBounds,
        message,
    });
}

fn type_in_words(type_: &str) -> &str {
    match type_ {
        "object" => "an object",
        "array" => "a list",
        "string" => "text",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "`true` or `false`",
        other => other,
    }
}

fn value_in_words(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        // An address may hold a password.
        Value::String(text) if text.contains("://") => "an address".to_owned(),
        Value::String(_) => format!("the text {}", shown(value)),
        Value::Number(_) | Value::Bool(_) => shown(value),
    }
}

/// A value in backticks, shortened where it is long.
pub(crate) fn shown(value: &Value) -> String {
    let text = value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned);
    let cut: String = text.chars().take(60).collect();
    if cut.len() < text.len() {
        format!("`{cut}...`")
    } else {
        format!("`{cut}`")
    }
}

fn in_a_row(names: &[&str]) -> String {
    names
        .iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn alternatives(names: &[&str]) -> String {
    match names {
        [first @ .., last] if !first.is_empty() => format!("{} or `{last}`", in_a_row(first)),
        _ => in_a_row(names),
    }
}
