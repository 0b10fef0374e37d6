//! What somebody may have meant who wrote a value of another form.
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray,
};
use serde_json::Value;

use crate::Duration;

/// A duration, written in the way of another system: `20 seconds`, `1.5h`, `1 hour 30 min`.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut millis = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let after = rest[digits..].trim_start();
        let letters = after
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(after.len());
        millis += number * unit_ms(&after[..letters])?;
        rest = after[letters..].trim_start_matches([' ', ',']);
    }
    // Beyond this a duration has no text that can be read again.
    let whole = millis > 0.0 && millis.fract() == 0.0 && millis < 1e13;
    whole.then(|| Duration::from_millis(millis as u64))
}

fn unit_ms(unit: &str) -> Option<f64> {
    Some(match unit.to_ascii_lowercase().as_str() {
        "ms" | "msec" | "msecs" | "milli" | "millis" | "millisecond" | "milliseconds" => 1.0,
        "s" | "sec" | "secs" | "second" | "seconds" => 1e3,
        "m" | "min" | "mins" | "minute" | "minutes" => 6e4,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3.6e6,
        "d" | "day" | "days" => 8.64e7,
        "w" | "week" | "weeks" => 6.048e8,
        _ => return None,
    })
}

/// Whether a field is a duration.
pub(crate) fn is_duration(schema: &JSONSchemaProps) -> bool {
    schema.format.as_deref() == Some("duration")
}

/// What to write where `value` has the wrong type.
pub(crate) fn instead_of(schema: &JSONSchemaProps, value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    match (schema.type_.as_deref()?, text) {
        ("object", text) => {
            let named = text.and_then(|text| Some((only_field(schema, &text)?, text)));
            Some(match named {
                Some((field, text)) => format!("`{{{field}: {text}}}`"),
                None => format!("`{}`", placeholder(schema)?),
            })
        }
        ("array", Some(text)) => {
            let JSONSchemaPropsOrArray::Schema(item) = schema.items.as_ref()? else {
                return None;
            };
            Some(match item.type_.as_deref()? {
                "object" => format!("`[{{{}: {text}}}]`", only_field(item, &text)?),
                _ => format!("`[{text}]`"),
            })
        }
        ("string", Some(_)) if is_duration(schema) => value.as_u64().map(|number| {
            format!("a unit as well: `{number}s`, `{number}m`, `{number}h` or `{number}d`")
        }),
        ("string", Some(text)) => Some(format!("it in quotes: `\"{text}\"`")),
        _ => None,
    }
}

/// The field of an object that a value without a name was for: the only one that must be there, or the only one of its kind.
fn only_field<'a>(schema: &'a JSONSchemaProps, text: &str) -> Option<&'a str> {
    if let [only] = schema.required.as_deref().unwrap_or_default() {
        let field = schema.properties.as_ref()?.get(only)?;
        let fits = !is_duration(field) || text.parse::<Duration>().is_ok();
        return (field.type_.as_deref() == Some("string") && fits).then_some(only);
    }
    let fits = |field: &JSONSchemaProps| is_duration(field) && text.parse::<Duration>().is_ok();
    let mut fields = schema
        .properties
        .iter()
        .flatten()
        .filter(|(_, field)| fits(field));
    let (name, _) = fields.next()?;
    fields.next().is_none().then_some(name.as_str())
}

/// What to write for a field that is missing.
pub(crate) fn example(schema: &JSONSchemaProps, name: &str) -> Option<String> {
    let value = placeholder(schema.properties.as_ref()?.get(name)?)?;
    Some(format!("`{name}: {value}`"))
}

/// A value of the right form: a duration, or an object with all that must be there; where nothing must, with its only duration.
fn placeholder(schema: &JSONSchemaProps) -> Option<String> {
    if is_duration(schema) {
        return Some("1m".to_owned());
    }
    let properties = schema.properties.as_ref()?;
    let mut required: Vec<&String> = schema.required.iter().flatten().collect();
    if required.is_empty() {
        let mut durations = properties.iter().filter(|(_, field)| is_duration(field));
        required.extend(durations.next().map(|(name, _)| name));
        if durations.next().is_some() {
            return None;
        }
    }
    required.sort_by_key(|name| *name != "name");
    let fields: Vec<String> = required
        .into_iter()
        .map(|name| {
            let value = properties.get(name).and_then(placeholder);
            format!("{name}: {}", value.unwrap_or_else(|| "...".to_owned()))
        })
        .collect();
    (!fields.is_empty()).then(|| format!("{{{}}}", fields.join(", ")))
}
