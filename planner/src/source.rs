//! EventSources: from their specs to what the engine decodes.
use std::sync::Arc;

use tidewheel_crds::event_source::{
    EventSourceSpec, Field, FieldType, From, KafkaFormat, UnknownFields,
};
use tidewheel_crds::pipeline::SourceRef;
use tidewheel_decode as decode;

use crate::fingerprint::{self, digest};
use crate::names::source_topic;
use crate::nearest::suggestion;
use crate::plan::{SchemaRegistry, Source, Start};
use crate::problem::{Code, Problem};
use crate::resource::{Resource, member};

/// The columns of an EventSource's events, as ingest and engine decode them.
///
/// # Errors
/// Everything that does not fit together.
pub fn event_schema(
    source: &Resource<EventSourceSpec>,
) -> Result<decode::EventSchema, Vec<Problem>> {
    let spec = &source.spec;
    let schema = decode::EventSchema {
        fields: spec
            .schema
            .fields
            .iter()
            .map(|field| decode::Field {
                name: field.name.clone(),
                part: part(field),
                path: path(field),
                data_type: field_type(field.type_),
                // Without event time an event belongs to no window.
                required: field.required || field.name == spec.event_time.field,
            })
            .collect(),
        unknown: match spec.schema.unknown_fields {
            UnknownFields::Keep => decode::UnknownFields::Keep,
            UnknownFields::Drop => decode::UnknownFields::Drop,
            UnknownFields::Reject => decode::UnknownFields::Reject,
        },
        format: match spec.format() {
            KafkaFormat::Json => decode::EventFormat::Json,
            KafkaFormat::CloudEvents => decode::EventFormat::CloudEvents,
            KafkaFormat::Avro => decode::EventFormat::Avro,
            KafkaFormat::Protobuf => decode::EventFormat::Protobuf,
        },
    };
    let problems = judge(source, &schema);
    if problems.is_empty() {
        Ok(schema)
    } else {
        Err(problems)
    }
}

fn part(field: &Field) -> decode::Part {
    match field.from {
        None => decode::Part::Value,
        Some(From::Key) => decode::Part::Key,
        Some(From::Header) => decode::Part::Header(field.header.clone().unwrap_or_default()),
        Some(From::Timestamp) => decode::Part::Timestamp,
        Some(From::Offset) => decode::Part::Offset,
        Some(From::Partition) => decode::Part::Partition,
    }
}

fn path(field: &Field) -> Vec<String> {
    match field.from {
        None => field.path().split('.').map(str::to_owned).collect(),
        Some(_) => Vec::new(),
    }
}

fn field_type(field_type: FieldType) -> decode::FieldType {
    match field_type {
        FieldType::Text => decode::FieldType::Text,
        FieldType::Bigint => decode::FieldType::Bigint,
        FieldType::Double => decode::FieldType::Double,
        FieldType::Boolean => decode::FieldType::Boolean,
        FieldType::Timestamp => decode::FieldType::Timestamp,
        FieldType::Uuid => decode::FieldType::Uuid,
        FieldType::Json => decode::FieldType::Json,
    }
}

fn judge(source: &Resource<EventSourceSpec>, schema: &decode::EventSchema) -> Vec<Problem> {
    let (spec, subject) = (&source.spec, source.subject());
    let mut problems = Vec::new();
    if schema.validate().is_err() {
        problems.extend(clashes(source, schema));
    }
    let names = || spec.schema.fields.iter().map(|f| f.name.as_str());
    let path = member!["spec", "eventTime", "field"];
    match spec
        .schema
        .fields
        .iter()
        .find(|f| f.name == spec.event_time.field)
    {
        None => {
            let message = format!(
                "the event time `{}` is not a column of the schema",
                spec.event_time.field
            );
            let help = suggestion(
                &spec.event_time.field,
                "columns",
                names().collect::<Vec<_>>(),
            );
            problems.push(
                subject
                    .error(&path, Code::InvalidSource, message)
                    .help(help),
            );
        }
        Some(field) if field.type_ != FieldType::Timestamp => {
            let message = format!("the event time `{}` is not a timestamp", field.name);
            let help = "declare the column with `type: timestamp`: RFC 3339 texts and milliseconds since 1970 are both read";
            problems.push(
                subject
                    .error(&path, Code::InvalidSource, message)
                    .help(help),
            );
        }
        Some(_) => {}
    }
    for (index, key) in spec.key.iter().enumerate() {
        if !names().any(|name| name == key) {
            let message = format!("the key column `{key}` is not a column of the schema");
            let help = suggestion(key, "columns", names().collect::<Vec<_>>());
            problems.push(
                subject
                    .error(&member!["spec", "key", index], Code::InvalidSource, message)
                    .help(help),
            );
        }
    }
    problems
}

/// Every field that cannot be, by itself or beside an earlier one.
fn clashes(source: &Resource<EventSourceSpec>, schema: &decode::EventSchema) -> Vec<Problem> {
    let judge = |fields: &[&decode::Field]| {
        let fields = fields.iter().map(|field| (*field).clone()).collect();
        let alone = decode::EventSchema {
            fields,
            unknown: schema.unknown,
            format: schema.format,
        };
        alone.validate().err()
    };
    let mut good: Vec<&decode::Field> = Vec::new();
    let mut problems = Vec::new();
    for (index, field) in schema.fields.iter().enumerate() {
        let beside = || good.iter().find_map(|earlier| judge(&[*earlier, field]));
        let Some(error) = judge(&[field]).or_else(beside) else {
            good.push(field);
            continue;
        };
        let written = source.spec.schema.fields.get(index);
        let of_name = matches!(
            error,
            decode::SchemaError::EmptyName { .. }
                | decode::SchemaError::ReservedName { .. }
                | decode::SchemaError::DuplicateName { .. }
        );
        let member = if matches!(error, decode::SchemaError::PartOfAnotherType { .. }) {
            "from"
        } else if of_name || written.is_none_or(|field| field.path.is_none()) {
            "name"
        } else {
            "path"
        };
        let text = error.to_string();
        let (message, help) = text
            .split_once("; ")
            .unwrap_or((text.as_str(), "choose another"));
        let path = member!["spec", "schema", "fields", index, member];
        let problem = source.subject().error(&path, Code::InvalidSource, message);
        problems.push(problem.help(help));
    }
    problems
}

/// The topic that holds the events of an EventSource: its own, or the one that it names.
pub fn topic(source: &Resource<EventSourceSpec>) -> String {
    match &source.spec.kafka {
        Some(kafka) => kafka.topic.clone(),
        None => source_topic(&source.id.namespace, &source.id.name),
    }
}

/// The source as a pipeline reads it, and its fingerprint.
pub(crate) fn plan(
    source: &Resource<EventSourceSpec>,
    reference: &SourceRef,
) -> Result<(Source, String), Vec<Problem>> {
    let events = Arc::new(event_schema(source)?);
    let spec = &source.spec;
    let index = |name: &String| events.fields.iter().position(|f| f.name == *name);
    let key: Vec<usize> = spec.key.iter().filter_map(index).collect();
    // Both are there: `event_schema` has judged.
    let event_time = index(&spec.event_time.field).unwrap_or_default();
    let topic = topic(source);
    let mut parts = vec![
        "source".to_owned(),
        topic.clone(),
        event_time.to_string(),
        spec.event_time.max_out_of_order.as_millis().to_string(),
    ];
    parts.extend(fingerprint::event_schema(&events, &key));
    let fingerprint = digest(parts.iter().map(String::as_str));
    let planned = Source {
        name: source.id.name.clone(),
        topic,
        foreign: spec.kafka.is_some(),
        registry: spec.kafka.as_ref().and_then(|kafka| {
            let registry = kafka.schema_registry.as_ref()?;
            Some(SchemaRegistry {
                url: registry.url.clone(),
                secret: registry
                    .secret_ref
                    .as_ref()
                    .map(|secret| secret.name.clone()),
            })
        }),
        partitions: u32::try_from(spec.topic.partitions).unwrap_or(1).max(1),
        retention_ms: spec.topic.retention.as_millis(),
        events,
        key,
        event_time,
        max_out_of_order_ms: spec.event_time.max_out_of_order.as_millis(),
        max_future_ms: spec.event_time.max_future.as_millis(),
        idle_after_ms: spec.event_time.idle_after.as_millis(),
        start: match reference.start {
            tidewheel_crds::Start::Earliest => Start::Earliest,
            tidewheel_crds::Start::Latest => Start::Latest,
            tidewheel_crds::Start::At(millis) => Start::At(millis),
        },
    };
    Ok((planned, fingerprint))
}
