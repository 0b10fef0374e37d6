//! What an API server does to a spec before it judges it: nulls become absent, absent fields get their defaults.
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray,
};
use serde_json::{Map, Value};

/// `value` without nulls and with defaults, as far as `schema` knows its fields.
pub(crate) fn with_defaults(schema: &JSONSchemaProps, value: &Value) -> Value {
    match (value, &schema.properties, &schema.items) {
        (Value::Object(fields), Some(_), _) => Value::Object(object_with_defaults(schema, fields)),
        (Value::Array(items), _, Some(JSONSchemaPropsOrArray::Schema(item))) => Value::Array(
            items
                .iter()
                .map(|value| with_defaults(item, value))
                .collect(),
        ),
        _ => value.clone(),
    }
}

fn object_with_defaults(
    schema: &JSONSchemaProps,
    fields: &Map<String, Value>,
) -> Map<String, Value> {
    let mut object = Map::new();
    let properties = schema.properties.iter().flatten();
    for (name, value) in fields {
        match schema
            .properties
            .as_ref()
            .and_then(|properties| properties.get(name))
        {
            Some(_) if value.is_null() => {}
            Some(property) => _ = object.insert(name.clone(), with_defaults(property, value)),
            None => _ = object.insert(name.clone(), value.clone()),
        }
    }
    for (name, property) in properties {
        if let (false, Some(default)) = (object.contains_key(name), &property.default) {
            object.insert(name.clone(), with_defaults(property, &default.0));
        }
    }
    object
}
