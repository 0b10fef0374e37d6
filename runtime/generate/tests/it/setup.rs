//! An EventSource with every kind of value and type, and what is needed to run it.
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use serde_json::Value;
use tidewheel_crds::event_source::{FieldType, UnknownFields};
use tidewheel_crds::{EventSourceSpec, Kind, admitted, violations};
use tidewheel_decode as decode;
use tidewheel_generate::Generator;
use tidewheel_ingest::Source;
use tidewheel_log::Clock;

/// 2026-01-01T00:00:00Z.
pub(crate) const NEW_YEAR_MS: i64 = 1_767_225_600_000;

pub(crate) const EVERYTHING: &str = r#"
schema:
  unknownFields: Reject
  fields:
    - {name: id, type: uuid, required: true}
    - {name: made_id, type: uuid, required: true, generate: Uuid}
    - {name: ts, type: timestamp, required: true}
    - {name: sent, type: timestamp, path: meta.sent}
    - {name: user_id, type: text, path: meta.user.id, required: true}
    - {name: page, type: bigint}
    - {name: method, type: text, path: meta.method}
    - {name: ok, type: boolean}
    - {name: items, type: bigint}
    - {name: share, type: double}
    - {name: height, type: double}
    - {name: age, type: bigint}
    - {name: price, type: double}
    - {name: bytes, type: bigint}
    - {name: trace, type: text}
    - {name: tags, type: json}
    - {name: rare, type: text, path: rarely.there}
    - {name: never, type: text, path: not.there}
    - {name: not_listed, type: text}
eventTime: {field: ts, maxOutOfOrder: 5s}
key: [user_id]
generator:
  eventsPerSecond: 500
  count: 20000
  seed: 7
  fields:
    - {field: id, uuid: {}}
    - {field: ts, time: {jitter: 5s}}
    - {field: sent, time: {}}
    - {field: user_id, zipf: {cardinality: 2000, prefix: "user \"ü\"-"}}
    - {field: page, zipf: {cardinality: 50, exponent: 0}}
    - {field: method, oneOf: [{value: GET, weight: 9}, {value: POST}, {value: NEVER, weight: 0}]}
    - {field: ok, oneOf: [{value: true}, {value: false}]}
    - {field: items, uniform: {min: 0.5, max: 6.5}}
    - {field: share, uniform: {min: -1, max: 1}}
    - {field: height, normal: {mean: 175, stddev: 8}}
    - {field: age, normal: {mean: 40, stddev: 12}}
    - {field: price, logNormal: {median: 20, sigma: 0.5}}
    - {field: bytes, logNormal: {median: 1500, sigma: 1.2}, nullProbability: 0.25}
    - {field: trace, uuid: {}}
    - {field: tags, constant: {value: {a: [1, null, "x"]}}}
    - {field: rare, constant: {value: here}, nullProbability: 0.9}
    - {field: never, constant: {value: here}, nullProbability: 1}
"#;

/// The spec of `yaml`, which keeps every rule of the API.
pub(crate) fn spec(yaml: &str) -> EventSourceSpec {
    let value: Value = serde_yaml::from_str(yaml).unwrap();
    assert_eq!(violations(Kind::EventSource, &value, None), []);
    serde_json::from_value(admitted(Kind::EventSource, &value)).unwrap()
}

/// A source of few columns that makes `count` events a thousand a second.
pub(crate) fn small(count: u64) -> EventSourceSpec {
    spec(&format!(
        "
schema:
  fields:
    - {{name: id, type: uuid, required: true, generate: Uuid}}
    - {{name: ts, type: timestamp, required: true}}
    - {{name: user_id, type: text}}
eventTime: {{field: ts}}
key: [user_id]
generator:
  eventsPerSecond: 1000
  count: {count}
  fields:
    - {{field: ts, time: {{}}}}
    - {{field: user_id, zipf: {{cardinality: 20}}}}
"
    ))
}

pub(crate) fn generator(yaml: &str) -> Generator {
    Generator::new(&spec(yaml)).unwrap()
}

/// All events, a millisecond apart.
pub(crate) fn all(mut generator: Generator) -> Vec<Bytes> {
    (NEW_YEAR_MS..)
        .map_while(|now_ms| generator.next(now_ms))
        .collect()
}

pub(crate) fn parsed(events: &[Bytes]) -> Vec<Value> {
    let parse = |event: &Bytes| serde_json::from_slice(event).unwrap();
    events.iter().map(parse).collect()
}

pub(crate) fn schema(spec: &EventSourceSpec) -> decode::EventSchema {
    let field = |field: &tidewheel_crds::event_source::Field| decode::Field {
        name: field.name.clone(),
        part: tidewheel_decode::Part::Value,
        path: field.path().split('.').map(str::to_owned).collect(),
        data_type: match field.type_ {
            FieldType::Text => decode::FieldType::Text,
            FieldType::Bigint => decode::FieldType::Bigint,
            FieldType::Double => decode::FieldType::Double,
            FieldType::Boolean => decode::FieldType::Boolean,
            FieldType::Timestamp => decode::FieldType::Timestamp,
            FieldType::Uuid => decode::FieldType::Uuid,
            FieldType::Json => decode::FieldType::Json,
        },
        required: field.required,
    };
    decode::EventSchema {
        fields: spec.schema.fields.iter().map(field).collect(),
        format: decode::EventFormat::Json,
        unknown: match spec.schema.unknown_fields {
            UnknownFields::Keep => decode::UnknownFields::Keep,
            UnknownFields::Drop => decode::UnknownFields::Drop,
            UnknownFields::Reject => decode::UnknownFields::Reject,
        },
    }
}

pub(crate) fn source(spec: &EventSourceSpec) -> Source {
    let schema = schema(spec);
    let key = schema
        .fields
        .iter()
        .position(|field| field.name == "user_id");
    Source {
        namespace: "shop".into(),
        name: "clicks".into(),
        topic: "shop.clicks".into(),
        generated: Vec::new(),
        key: key.into_iter().collect(),
        schema: Arc::new(schema),
        api_keys: None,
        cors_origins: Vec::new(),
        events_per_second_per_key: None,
    }
}

/// A clock that stands still until it is told.
#[derive(Debug)]
pub(crate) struct Hand(AtomicI64);

impl Hand {
    pub(crate) fn at(now_ms: i64) -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(now_ms)))
    }

    pub(crate) fn advance(&self, by_ms: i64) {
        self.0.fetch_add(by_ms, Ordering::Relaxed);
    }
}

impl Clock for Hand {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}
