//! The other half of a verdict: CEL rules.
use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
};

use cel::{Context, Program, objects::Key};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, ValidationRule,
};
use serde_json::Value;

use crate::{
    Duration, Kind,
    violation::{Code, Segment, Violation},
};

/// A rule, compiled.
struct Compiled {
    program: Program,
    /// Whether it compares with the old value: such a rule holds where there is none.
    transition: bool,
}

/// All rules of all kinds, by their text.
static PROGRAMS: LazyLock<HashMap<&'static str, Compiled>> = LazyLock::new(|| {
    let mut programs = HashMap::new();
    for kind in Kind::ALL {
        compile(kind.spec(), &mut programs);
    }
    programs
});

#[allow(
    clippy::expect_used,
    reason = "the rules are constants, and a test compiles them all"
)]
fn compile(schema: &'static JSONSchemaProps, programs: &mut HashMap<&'static str, Compiled>) {
    for rule in schema.x_kubernetes_validations.iter().flatten() {
        let program = Program::compile(&rule.rule).expect("rules of the API compile");
        let transition = program.references().has_variable("oldSelf");
        programs.insert(
            &rule.rule,
            Compiled {
                program,
                transition,
            },
        );
    }
    for property in schema
        .properties
        .iter()
        .flat_map(|properties| properties.values())
    {
        compile(property, programs);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(item)) = &schema.items {
        compile(item, programs);
    }
}

thread_local! {
    /// CEL's own functions, which take longer to set up than a rule to evaluate.
    static FUNCTIONS: Context<'static, 'static> = Context::default();
}

/// Evaluates the rules of `schema` itself on `value`, whose shape is good.
pub(crate) fn check(
    schema: &JSONSchemaProps,
    value: &Value,
    old: Option<&Value>,
    path: &[Segment],
    found: &mut Vec<Violation>,
) {
    for rule in schema.x_kubernetes_validations.iter().flatten() {
        let Some(compiled) = PROGRAMS.get(rule.rule.as_str()) else {
            continue;
        };
        if compiled.transition && old.is_none() {
            continue;
        }
        // Like the API server, a rule that cannot be evaluated counts as broken.
        if !holds(
            &compiled.program,
            schema,
            value,
            old.filter(|_| compiled.transition),
        ) {
            found.push(broken(rule, compiled.transition, path));
        }
    }
}

fn holds(program: &Program, schema: &JSONSchemaProps, value: &Value, old: Option<&Value>) -> bool {
    FUNCTIONS.with(|functions| {
        let mut context = functions.new_inner_scope();
        context.add_variable_from_value("self", to_cel(schema, value));
        if let Some(old) = old {
            context.add_variable_from_value("oldSelf", to_cel(schema, old));
        }
        matches!(program.execute(&context), Ok(cel::Value::Bool(true)))
    })
}

fn broken(rule: &ValidationRule, transition: bool, path: &[Segment]) -> Violation {
    let mut path = path.to_vec();
    let within = rule
        .field_path
        .iter()
        .flat_map(|within| within.split('.'))
        .filter(|name| !name.is_empty());
    path.extend(within.map(|name| Segment::Field(name.to_owned())));
    Violation {
        path,
        code: if transition {
            Code::Immutable
        } else {
            Code::RuleBroken
        },
        message: rule
            .message
            .clone()
            .unwrap_or_else(|| format!("breaks the rule `{}`", rule.rule)),
    }
}

/// The value as rules see it: typed by the schema, not by how the number or text was written.
fn to_cel(schema: &JSONSchemaProps, value: &Value) -> cel::Value {
    match value {
        Value::Null => cel::Value::Null,
        Value::Bool(bool) => cel::Value::Bool(*bool),
        Value::Number(number) if schema.type_.as_deref() == Some("integer") => {
            number.as_i64().map_or(cel::Value::Null, cel::Value::Int)
        }
        Value::Number(number) => number.as_f64().map_or(cel::Value::Null, cel::Value::Float),
        Value::String(text) if schema.format.as_deref() == Some("duration") => duration(text),
        Value::String(text) => cel::Value::String(Arc::new(text.clone())),
        Value::Array(items) => {
            let item = |value| match &schema.items {
                Some(JSONSchemaPropsOrArray::Schema(item)) => to_cel(item, value),
                _ => cel::Value::Null,
            };
            cel::Value::List(Arc::new(items.iter().map(item).collect()))
        }
        Value::Object(fields) => {
            // Rules do not see what has no declared type.
            let typed = fields.iter().filter_map(|(name, value)| {
                let property = schema
                    .properties
                    .as_ref()?
                    .get(name)
                    .filter(|property| property.type_.is_some())?;
                Some((Key::String(Arc::new(name.clone())), to_cel(property, value)))
            });
            cel::Value::Map(typed.collect::<HashMap<_, _>>().into())
        }
    }
}

fn duration(text: &str) -> cel::Value {
    let millis = text
        .parse()
        .ok()
        .and_then(|duration: Duration| i64::try_from(duration.as_millis()).ok());
    millis
        .and_then(chrono::Duration::try_milliseconds)
        .map_or(cel::Value::Null, cel::Value::Duration)
}
