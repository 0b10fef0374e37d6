//! Schemas of Avro, made ready for who reads with them.
use std::collections::HashMap;

use arrow_avro::reader::{Decoder, ReaderBuilder};
use arrow_avro::schema::{
    AvroSchema as ReadySchema, Fingerprint, FingerprintAlgorithm, SchemaStore,
};
use serde_json::{Map, Value, json};

/// How many types a schema may have once every name stands for what it means: names of names multiply.
const MAX_TYPES: usize = 10_000;

/// Logical types that are read as such, with the type that each is of. All others are read as what they are of, as the specification says.
/// So is a uuid of `string`: whether that is one, its column says.
const LOGICAL: [(&str, &str); 11] = [
    ("decimal", "bytes"),
    ("date", "int"),
    ("time-millis", "int"),
    ("time-micros", "long"),
    ("timestamp-millis", "long"),
    ("timestamp-micros", "long"),
    ("timestamp-nanos", "long"),
    ("local-timestamp-millis", "long"),
    ("local-timestamp-micros", "long"),
    ("local-timestamp-nanos", "long"),
    ("decimal", "fixed"),
];

/// A schema of Avro that values can be read with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AvroSchema {
    /// As JSON, in which no name stands for a type.
    text: String,
}

/// A schema that values cannot be read with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AvroSchemaError(String);

impl AvroSchema {
    /// Reads a schema. Types that it does not define are those of `referenced`.
    ///
    /// # Errors
    /// What is wrong with the first that is no schema, or cannot be read with.
    pub fn parse(schema: &str, referenced: &[String]) -> Result<Self, AvroSchemaError> {
        let root = document(schema)?;
        let mut spelled = Spelled::default();
        let referenced = referenced.iter().map(|schema| document(schema));
        for schema in referenced.collect::<Result<Vec<_>, _>>()? {
            spelled.collect(&schema, "");
        }
        spelled.collect(&root, "");
        let ready = spelled.out(&root, "")?.schema;
        if ready.get("type").and_then(Value::as_str) != Some("record") {
            return Err(wrong("it is no record, and an event is one"));
        }
        let schema = Self {
            text: ready.to_string(),
        };
        schema.decoder(0, 1)?;
        Ok(schema)
    }

    /// What reads values that name this schema by `id`, so many in a batch.
    pub(super) fn decoder(&self, id: u32, values: usize) -> Result<Decoder, AvroSchemaError> {
        let unreadable = |error: arrow::error::ArrowError| wrong(error.to_string());
        let id = Fingerprint::Id(id);
        let mut store = SchemaStore::new_with_type(FingerprintAlgorithm::Id);
        let ready = ReadySchema::new(self.text.clone());
        store.set(id, ready).map_err(unreadable)?;
        ReaderBuilder::new()
            .with_writer_schema_store(store)
            .with_active_fingerprint(id)
            .with_batch_size(values)
            .build_decoder()
            .map_err(unreadable)
    }
}

fn document(text: &str) -> Result<Value, AvroSchemaError> {
    serde_json::from_str(text).map_err(|error| wrong(format!("it is no JSON: {error}")))
}

fn wrong(reason: impl Into<String>) -> AvroSchemaError {
    AvroSchemaError(reason.into())
}

/// A type with every name in it spelled out.
struct Ready {
    schema: Value,
    /// Whether each of its values takes bytes. An array of others says in a few bytes that it has billions of items.
    takes_bytes: bool,
}

/// Spells out what names stand for, and leaves out what says nothing of how values are written.
#[derive(Default)]
struct Spelled {
    /// By full name: what defines it, and the namespace where it does.
    definitions: HashMap<String, (Map<String, Value>, String)>,
    /// The records around the type in hand, by full name.
    around: Vec<String>,
    types: usize,
}

impl Spelled {
    /// Finds the definitions of names.
    fn collect(&mut self, schema: &Value, namespace: &str) {
        match schema {
            Value::Array(branches) => branches
                .iter()
                .for_each(|branch| self.collect(branch, namespace)),
            Value::Object(object) => {
                let mut within = namespace.to_owned();
                if let Some(name) = declared_name(object, namespace) {
                    within = namespace_of(&name).to_owned();
                    let definition = (object.clone(), namespace.to_owned());
                    self.definitions.insert(name, definition);
                }
                let fields = object.get("fields").and_then(Value::as_array);
                let of_fields = fields.into_iter().flatten().map(|field| &field["type"]);
                let nested = ["type", "items", "values"].iter();
                let nested = nested.filter_map(|part| object.get(*part));
                for part in nested.chain(of_fields) {
                    self.collect(part, &within);
                }
            }
            _ => {}
        }
    }

    fn out(&mut self, schema: &Value, namespace: &str) -> Result<Ready, AvroSchemaError> {
        self.types += 1;
        if self.types > MAX_TYPES {
            return Err(wrong(format!("it has more than {MAX_TYPES} types")));
        }
        match schema {
            Value::String(name) => self.by_name(name, namespace),
            Value::Array(branches) => {
                let branches = branches.iter();
                let branches = branches.map(|branch| Ok(self.out(branch, namespace)?.schema));
                Ok(Ready {
                    schema: Value::Array(branches.collect::<Result<_, _>>()?),
                    takes_bytes: true,
                })
            }
            Value::Object(object) => self.object(object, namespace),
            other => Err(wrong(format!("{other} is no type"))),
        }
    }

    fn by_name(&mut self, name: &str, namespace: &str) -> Result<Ready, AvroSchemaError> {
        if is_primitive(name) {
            return Ok(Ready {
                schema: name.into(),
                takes_bytes: name != "null",
            });
        }
        let found = self.definitions.get(&full_name(name, namespace));
        let found = found.or_else(|| self.definitions.get(name)).cloned();
        let Some((definition, namespace)) = found else {
            return Err(wrong(format!("there is no type `{name}`")));
        };
        self.object(&definition, &namespace)
    }

    fn object(
        &mut self,
        object: &Map<String, Value>,
        namespace: &str,
    ) -> Result<Ready, AvroSchemaError> {
        let kind = match object.get("type") {
            Some(Value::String(kind)) => kind.as_str(),
            // Such as `{"type": {"type": "array", ...}}`.
            Some(nested) => return self.out(nested, namespace),
            None => return Err(wrong("a type has no `type`")),
        };
        match kind {
            "record" | "error" => self.record(object, namespace),
            "enum" => Ok(Ready {
                schema: named(object, namespace, "enum", &["symbols"])?,
                takes_bytes: true,
            }),
            "fixed" => fixed(object, namespace),
            "array" => {
                let items = self.out(member(object, "items")?, namespace)?;
                if !items.takes_bytes {
                    return Err(wrong("the items of an array take no bytes"));
                }
                Ok(Ready {
                    schema: json!({"type": "array", "items": items.schema}),
                    takes_bytes: true,
                })
            }
            "map" => {
                let values = self.out(member(object, "values")?, namespace)?;
                Ok(Ready {
                    schema: json!({"type": "map", "values": values.schema}),
                    takes_bytes: true,
                })
            }
            _ => match logical(object, kind) {
                Some(logical) => Ok(Ready {
                    schema: with(json!({"type": kind}), object, logical),
                    takes_bytes: true,
                }),
                None => self.by_name(kind, namespace),
            },
        }
    }

    fn record(
        &mut self,
        object: &Map<String, Value>,
        namespace: &str,
    ) -> Result<Ready, AvroSchemaError> {
        let mut schema = named(object, namespace, "record", &[])?;
        let name = declared_name(object, namespace).unwrap_or_default();
        if self.around.contains(&name) {
            return Err(wrong(format!(
                "the record `{name}` holds itself, which is not read"
            )));
        }
        let within = namespace_of(&name).to_owned();
        self.around.push(name);
        let mut takes_bytes = false;
        let mut fields = Vec::new();
        for field in member(object, "fields")?.as_array().into_iter().flatten() {
            let ready = self.out(&field["type"], &within)?;
            takes_bytes |= ready.takes_bytes;
            fields.push(json!({"name": field["name"], "type": ready.schema}));
        }
        self.around.pop();
        schema["fields"] = fields.into();
        Ok(Ready {
            schema,
            takes_bytes,
        })
    }
}

fn fixed(object: &Map<String, Value>, namespace: &str) -> Result<Ready, AvroSchemaError> {
    let mut schema = named(object, namespace, "fixed", &["size"])?;
    let is_uuid = object.get("logicalType") == Some(&"uuid".into()) && schema["size"] == 16;
    if is_uuid {
        schema["logicalType"] = "uuid".into();
    } else if let Some(logical) = logical(object, "fixed") {
        schema = with(schema, object, logical);
    }
    Ok(Ready {
        takes_bytes: schema["size"] != 0,
        schema,
    })
}

/// A type that has a name, with these of its members.
fn named(
    object: &Map<String, Value>,
    namespace: &str,
    kind: &str,
    members: &[&str],
) -> Result<Value, AvroSchemaError> {
    let Some(name) = declared_name(object, namespace) else {
        return Err(wrong(format!("a type of {kind} has no `name`")));
    };
    let namespace = namespace_of(&name);
    let own = name.rsplit('.').next().unwrap_or_default();
    let mut schema = json!({"type": kind, "name": own, "namespace": namespace});
    for name in members {
        schema[*name] = member(object, name)?.clone();
    }
    Ok(schema)
}

fn member<'a>(object: &'a Map<String, Value>, name: &str) -> Result<&'a Value, AvroSchemaError> {
    let found = object.get(name);
    found.ok_or_else(|| wrong(format!("a type has no `{name}`")))
}

/// The logical type of a type, where it is read as such.
fn logical<'a>(object: &'a Map<String, Value>, kind: &str) -> Option<&'a str> {
    let logical = object.get("logicalType")?.as_str()?;
    LOGICAL.contains(&(logical, kind)).then_some(logical)
}

fn with(mut schema: Value, object: &Map<String, Value>, logical: &str) -> Value {
    schema["logicalType"] = logical.into();
    for name in ["precision", "scale"] {
        if let Some(value) = object.get(name) {
            schema[name] = value.clone();
        }
    }
    schema
}

fn declared_name(object: &Map<String, Value>, namespace: &str) -> Option<String> {
    let kind = object.get("type")?.as_str()?;
    if !matches!(kind, "record" | "error" | "enum" | "fixed") {
        return None;
    }
    let own = object.get("namespace").and_then(Value::as_str);
    let name = object.get("name")?.as_str()?;
    Some(full_name(name, own.unwrap_or(namespace)))
}

fn full_name(name: &str, namespace: &str) -> String {
    if name.contains('.') || namespace.is_empty() {
        name.to_owned()
    } else {
        format!("{namespace}.{name}")
    }
}

fn namespace_of(full_name: &str) -> &str {
    full_name
        .rsplit_once('.')
        .map_or("", |(namespace, _)| namespace)
}

fn is_primitive(name: &str) -> bool {
    matches!(
        name,
        "null" | "boolean" | "int" | "long" | "float" | "double" | "bytes" | "string"
    )
}
