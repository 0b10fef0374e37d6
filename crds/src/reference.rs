//! The reference of the API for people, read from the CRDs.
use std::fmt::Write;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray,
};

use crate::{GROUP, Kind, VERSION, shape};

/// All that the API knows in an example, which the tests hold to be good.
const EXAMPLE: &str = include_str!("example.yaml");

/// `docs/reference.md`: every field of every kind with its type, default, bounds and meaning, and every rule.
pub fn reference_markdown() -> String {
    let mut text = format!(
        "# YAML reference\n\n\
         Three kinds, `apiVersion: {GROUP}/{VERSION}`, all namespaced. This page is generated from the types in `crds/`; \
         `kubectl explain eventsource.spec` shows the same in a cluster.\n\n\
         Names of resources are DNS labels: at most 63 lower-case letters, digits and `-`, without dots. A path such as `steps[].sql` means the field `sql` of \
         each item of the list `steps`. Items of a list are told apart by their names, which must differ. `null` means absent. Unknown fields are refused.\n\n\
         Durations are whole numbers with units, largest first: `250ms`, `10s`, `1h30m`, `7d`.\n\n\
         ```yaml\n{EXAMPLE}```\n"
    );
    for kind in Kind::ALL {
        let spec = kind.spec();
        let _ = write!(text, "\n## {kind}\n\n{}\n", root_description(kind));
        let names = &kind.definition().spec.names;
        let short = names
            .short_names
            .iter()
            .flatten()
            .next()
            .map_or("", String::as_str);
        let _ = write!(text, "\nIn kubectl: `{}` or `{short}`.\n\n", names.plural);
        text.push_str("| field of `spec` | type | default | meaning |\n|---|---|---|---|\n");
        let mut rules = Vec::new();
        rules_of(spec, "", &mut rules);
        rows(spec, "", &mut text, &mut rules);
        text.push_str("\nRules:\n\n");
        for (path, message) in rules {
            let place = if path.is_empty() {
                String::new()
            } else {
                format!("`{path}`: ")
            };
            let _ = writeln!(text, "- {place}{message}.");
        }
    }
    text
}

fn root_description(kind: Kind) -> &'static str {
    let schema = kind
        .definition()
        .spec
        .versions
        .first()
        .and_then(|version| version.schema.as_ref()?.open_api_v3_schema.as_ref());
    schema
        .and_then(|schema| schema.description.as_deref())
        .unwrap_or_default()
}

/// A row for each field below `schema`: required ones first, then by name, each followed by its own fields.
fn rows(
    schema: &JSONSchemaProps,
    path: &str,
    text: &mut String,
    rules: &mut Vec<(String, String)>,
) {
    let required = |name: &String| {
        schema
            .required
            .as_ref()
            .is_some_and(|required| required.contains(name))
    };
    let mut properties: Vec<_> = schema.properties.iter().flatten().collect();
    properties.sort_by_key(|(name, _)| !required(name));
    for (name, property) in properties {
        let path = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        let default = match &property.default {
            Some(default) => format!(
                "`{}`",
                cell(
                    &default
                        .0
                        .as_str()
                        .map_or_else(|| default.0.to_string(), |text| format!("{text:?}"))
                )
            ),
            None if required(name) => "required".to_owned(),
            None => String::new(),
        };
        let description = cell(property.description.as_deref().unwrap_or_default());
        let _ = writeln!(
            text,
            "| `{path}` | {} | {default} | {description} |",
            cell(&type_of(property))
        );
        rules_of(property, &path, rules);
        match &property.items {
            Some(JSONSchemaPropsOrArray::Schema(item)) => {
                let path = format!("{path}[]");
                rules_of(item, &path, rules);
                rows(item, &path, text, rules);
            }
            _ => rows(property, &path, text, rules),
        }
    }
}

fn rules_of(schema: &JSONSchemaProps, path: &str, rules: &mut Vec<(String, String)>) {
    for rule in schema.x_kubernetes_validations.iter().flatten() {
        let within = rule.field_path.as_deref().unwrap_or_default();
        let place = format!("{path}{within}");
        rules.push((
            place.trim_start_matches('.').to_owned(),
            rule.message
                .clone()
                .unwrap_or_else(|| format!("`{}`", rule.rule)),
        ));
    }
}

/// Type and bounds in words.
fn type_of(schema: &JSONSchemaProps) -> String {
    let mut text = match (schema.type_.as_deref(), schema.format.as_deref()) {
        (Some("string"), Some("duration")) => return "duration".to_owned(),
        (Some("string"), _) if schema.enum_.is_some() => {
            let values: Vec<_> = schema
                .enum_
                .iter()
                .flatten()
                .filter_map(|value| value.0.as_str())
                .collect();
            return values
                .iter()
                .map(|value| format!("`{value}`"))
                .collect::<Vec<_>>()
                .join(" \\| ");
        }
        (Some("string"), _) => "text".to_owned(),
        (Some("integer"), _) => "whole number".to_owned(),
        (Some("number"), _) => "number".to_owned(),
        (Some("array"), _) => match &schema.items {
            Some(JSONSchemaPropsOrArray::Schema(item)) => {
                let items =
                    bound("", count(schema.min_items), count(schema.max_items)).unwrap_or_default();
                return format!("list, {items} of: {}", type_of(item));
            }
            _ => "list".to_owned(),
        },
        (Some(other), _) => other.to_owned(),
        (None, _) => "any JSON value".to_owned(),
    };
    let meaning = schema
        .pattern
        .as_deref()
        .and_then(shape::meaning)
        .map(str::to_owned);
    let length = bound(
        " characters",
        count(schema.min_length.filter(|least| *least > 1)),
        count(schema.max_length),
    );
    for part in [bound("", schema.minimum, schema.maximum), meaning, length]
        .into_iter()
        .flatten()
    {
        let _ = write!(text, ", {part}");
    }
    text
}

fn count(bound: Option<i64>) -> Option<f64> {
    bound.map(|bound| bound as f64)
}

fn bound(unit: &str, least: Option<f64>, most: Option<f64>) -> Option<String> {
    match (least, most) {
        (Some(least), Some(most)) => Some(format!("{} to {}{unit}", number(least), number(most))),
        (Some(least), None) => Some(format!("at least {}{unit}", number(least))),
        (None, Some(most)) => Some(format!("at most {}{unit}", number(most))),
        (None, None) => None,
    }
}

/// Very large and very small numbers in scientific notation.
fn number(number: f64) -> String {
    let ordinary =
        number == 0.0 || (1e-3..1e6).contains(&number.abs()) || number.abs().log10().fract() != 0.0;
    if ordinary {
        number.to_string()
    } else {
        format!("{number:e}")
    }
}

/// Text that can stand in a cell of a table.
fn cell(text: &str) -> String {
    text.replace("\\|", "|")
        .replace('|', "\\|")
        .replace('\n', "<br>")
}
