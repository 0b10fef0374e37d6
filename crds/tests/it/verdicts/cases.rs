//! What is good and what is refused; read here by our own judge's tests, and in `e2e/` by those of the API server.
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
pub(crate) struct Verdicts {
    pub(crate) bases: BTreeMap<String, Base>,
    pub(crate) cases: Vec<Case>,
}

#[derive(Deserialize)]
pub(crate) struct Base {
    pub(crate) kind: String,
    pub(crate) spec: Value,
}

#[derive(Deserialize)]
pub(crate) struct Case {
    pub(crate) promise: String,
    base: String,
    #[serde(default)]
    change: Value,
    old: Option<Value>,
    #[serde(default)]
    pub(crate) refused: Vec<String>,
    /// A CRD cannot say it, so an API server accepts.
    #[serde(default)]
    #[allow(dead_code, reason = "nobody but the API server is less strict")]
    pub(crate) stricter: bool,
}

impl Verdicts {
    pub(crate) fn read() -> Self {
        serde_yaml::from_str(include_str!("../verdicts.yaml")).unwrap()
    }

    /// As in `kind:`.
    pub(crate) fn kind_name(&self, case: &Case) -> &str {
        &self.bases[&case.base].kind
    }

    /// The spec of a case and the one before it.
    pub(crate) fn specs(&self, case: &Case) -> (Value, Option<Value>) {
        let base = &self.bases[&case.base].spec;
        (
            merged(base, &case.change),
            case.old.as_ref().map(|old| merged(base, old)),
        )
    }
}

/// A JSON merge patch (RFC 7396); no patch changes nothing.
fn merged(base: &Value, patch: &Value) -> Value {
    match (base, patch) {
        (_, Value::Null) => base.clone(),
        (Value::Object(base), Value::Object(patch)) => {
            let mut merge = base.clone();
            for (name, change) in patch {
                match (base.get(name), change) {
                    (_, Value::Null) => _ = merge.shift_remove(name),
                    (Some(old), _) => _ = merge.insert(name.clone(), merged(old, change)),
                    (None, _) => _ = merge.insert(name.clone(), change.clone()),
                }
            }
            Value::Object(merge)
        }
        _ => patch.clone(),
    }
}
