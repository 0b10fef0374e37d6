//! Whether an object is as it should be. Pure.
use serde_json::Value;

use crate::amount::is_same_amount;

/// Whether everything that is `wanted` is there. What others have added beside it is theirs: defaults of the API server, and what admission
/// has put there.
pub(crate) fn is_there(wanted: &Value, found: &Value) -> bool {
    match (wanted, found) {
        (Value::Object(wanted), Value::Object(found)) => wanted.iter().all(|(name, value)| {
            let nothing = is_nothing(value);
            let is_there = match name.as_str() {
                "requests" | "limits" => are_amounts_there,
                _ => is_there,
            };
            found
                .get(name)
                .map_or(nothing, |found| is_there(value, found))
        }),
        (Value::Array(wanted), Value::Array(found)) => are_there(wanted, found),
        (wanted, found) => wanted == found,
    }
}

/// Whether all amounts are there. The API server writes each in its own way: `0.5` is `500m`.
fn are_amounts_there(wanted: &Value, found: &Value) -> bool {
    let (Value::Object(wanted), Value::Object(found)) = (wanted, found) else {
        return is_there(wanted, found);
    };
    let is_same = |wanted: &Value, found: &Value| match (wanted, found) {
        (Value::String(wanted), Value::String(found)) => is_same_amount(wanted, found),
        (wanted, found) => is_there(wanted, found),
    };
    wanted.iter().all(|(name, wanted)| {
        let found = found.get(name);
        found.is_some_and(|found| is_same(wanted, found))
    })
}

/// What the API server leaves out.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Items with names are found by them; others stand in their places.
fn are_there(wanted: &[Value], found: &[Value]) -> bool {
    let by_name = wanted.iter().all(|item| item.get("name").is_some());
    if by_name {
        return wanted.iter().all(|item| {
            let mut named = found
                .iter()
                .filter(|other| other.get("name") == item.get("name"));
            named.any(|other| is_there(item, other))
        });
    }
    wanted.len() == found.len()
        && wanted
            .iter()
            .zip(found)
            .all(|(wanted, found)| is_there(wanted, found))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_others_add_is_no_drift() {
        let wanted = json!({"spec": {"containers": [{"name": "worker", "image": "a", "resources": {"requests": {"cpu": "0.5"}}}], "none": {}}});
        let found = json!({"spec": {
            "containers": [
                {"name": "proxy", "image": "b"},
                {"name": "worker", "image": "a", "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}}, "imagePullPolicy": "Always"},
            ],
            "dnsPolicy": "ClusterFirst",
        }});
        assert!(is_there(&wanted, &found));
    }

    #[test]
    fn what_is_gone_or_another_is_drift() {
        let wanted = json!({"replicas": 1, "args": ["worker"], "ports": [{"name": "http", "port": 80}], "cpu": "1", "limits": {"cpu": "1"}});
        assert!(is_there(&wanted, &wanted));
        for (member, other) in [
            ("replicas", json!(2)),
            ("args", json!(["worker", "--more"])),
            ("ports", json!([{"name": "http", "port": 81}])),
            ("ports", json!([])),
            ("cpu", json!("2")),
            ("cpu", json!("1000m")),
            ("limits", json!({"cpu": "2"})),
            ("limits", json!({"memory": "1"})),
            ("limits", json!("1")),
        ] {
            let mut found = wanted.clone();
            found[member] = other;
            assert!(!is_there(&wanted, &found), "{found}");
        }
        assert!(!is_there(&wanted, &json!({"replicas": 1})));
    }
}
