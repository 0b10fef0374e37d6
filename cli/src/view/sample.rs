//! A command that sends an event of a schema.
use serde_json::{Map, Value};
use tidewheel_decode::{EventFormat, EventSchema, Field, FieldType, cloud_events};
use uuid::Uuid;

use super::text;

/// Columns that a sample shows besides the required ones.
const OPTIONAL_COLUMNS: usize = 3;
/// Where a command goes on in the next line. Line ends within JSON mean nothing, so copied lines work as they are.
const LINE_WIDTH: usize = 78;

/// How events reach a source.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Address<'a> {
    /// Such as `http://127.0.0.1:8080`.
    pub(crate) url: &'a str,
    /// Namespace and name of the source; none where it is the only one.
    pub(crate) source: Option<(&'a str, &'a str)>,
    /// Whether senders have to show a key.
    pub(crate) needs_key: bool,
}

/// A command that sends an event of this schema, which happened at `now_ms`. Columns in `generated` are left for ingestion to make;
/// `id` is what others of type uuid get.
pub(crate) fn curl(
    address: Address<'_>,
    schema: &EventSchema,
    generated: &[usize],
    now_ms: i64,
    id: Uuid,
) -> String {
    let path = match address.source {
        None => "/v1/events".to_owned(),
        Some((namespace, name)) => format!("/v1/sources/{namespace}/{name}/events"),
    };
    let key = if address.needs_key {
        " -H \"X-API-Key: $KEY\""
    } else {
        ""
    };
    let mut event = event(schema, generated, now_ms, id);
    if schema.format == EventFormat::CloudEvents {
        complete(&mut event, id);
    }
    let event = Value::Object(event).to_string();
    let command = format!(
        "curl {}{path}{key} --json '{}'",
        address.url,
        event.replace('\'', "\\u0027")
    );
    folded(&command)
}

fn event(schema: &EventSchema, generated: &[usize], now_ms: i64, id: Uuid) -> Map<String, Value> {
    let mut optional_left = OPTIONAL_COLUMNS;
    let mut event = Map::new();
    let sent = schema
        .fields
        .iter()
        .enumerate()
        .filter(|(index, _)| !generated.contains(index));
    for (_, field) in sent {
        if !field.required {
            if optional_left == 0 {
                continue;
            }
            optional_left -= 1;
        }
        insert(&mut event, &field.path, value(field, now_ms, id));
    }
    event
}

/// Makes a CloudEvent of what has the columns of one.
fn complete(event: &mut Map<String, Value>, id: Uuid) {
    event.insert("specversion".to_owned(), cloud_events::VERSION.into());
    for attribute in cloud_events::REQUIRED {
        event.entry(attribute).or_insert_with(|| match attribute {
            "id" => id.to_string().into(),
            _ => "a".into(),
        });
    }
}

fn insert(object: &mut Map<String, Value>, path: &[String], value: Value) {
    match path {
        [] => {}
        [name] => {
            object.insert(name.clone(), value);
        }
        [name, rest @ ..] => {
            let inner = object
                .entry(name.clone())
                .or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(inner) = inner {
                insert(inner, rest, value);
            }
        }
    }
}

fn value(field: &Field, now_ms: i64, id: Uuid) -> Value {
    match field.data_type {
        FieldType::Text => Value::from("a"),
        FieldType::Bigint => Value::from(1),
        FieldType::Double => Value::from(1.5),
        FieldType::Boolean => Value::from(true),
        FieldType::Timestamp => Value::from(text::timestamp(now_ms)),
        FieldType::Uuid => Value::from(id.to_string()),
        FieldType::Json => Value::Object(Map::new()),
    }
}

/// The command with line ends after commas of its JSON, where lines would become too long.
fn folded(command: &str) -> String {
    let Some((head, json)) = command.split_once('{') else {
        return command.to_owned();
    };
    let mut lines = vec![format!("{head}{{")];
    for piece in json.split_inclusive(',') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + piece.chars().count() <= LINE_WIDTH => {
                line.push_str(piece)
            }
            _ => lines.push(piece.to_owned()),
        }
    }
    lines.join("\n")
}
