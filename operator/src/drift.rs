//! Whether an object is as it should be. Pure.
use serde_json::Value;

/// Whether everything that is `wanted` is there. What others have added beside it is theirs: defaults of the API server, and what admission
/// has put there.
pub(crate) fn is_there(wanted: &Value, found: &Value) -> bool {
    match (wanted, found) {
        (Value::Object(wanted), Value::Object(found)) => wanted.iter().all(|(name, value)| {
            let nothing = is_nothing(value);
            found
                .get(name)
                .map_or(nothing, |found| is_there(value, found))
        }),
        (Value::Array(wanted), Value::Array(found)) => are_there(wanted, found),
        (Value::String(wanted), Value::String(found)) => {
            wanted == found || is_same_quantity(wanted, found)
        }
        (wanted, found) => wanted == found,
    }
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

/// Whether two texts are one amount, which the API server writes in its own way: `0.5` is `500m`.
fn is_same_quantity(a: &str, b: &str) -> bool {
    matches!((amount(a), amount(b)), (Some(a), Some(b)) if a == b)
}

fn amount(text: &str) -> Option<f64> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at_checked(digits)?;
    let factor = match suffix {
        "m" => 1e-3,
        "" => 1.0,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "Ki" => 1024.0,
        "Mi" => 1024.0 * 1024.0,
        "Gi" => 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * factor)
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
        let wanted = json!({"replicas": 1, "args": ["worker"], "ports": [{"name": "http", "port": 80}], "cpu": "1"});
        assert!(is_there(&wanted, &wanted));
        for (member, other) in [
            ("replicas", json!(2)),
            ("args", json!(["worker", "--more"])),
            ("ports", json!([{"name": "http", "port": 81}])),
            ("ports", json!([])),
            ("cpu", json!("2")),
            ("cpu", json!("one")),
        ] {
            let mut found = wanted.clone();
            found[member] = other;
            assert!(!is_there(&wanted, &found), "{found}");
        }
        assert!(!is_there(&wanted, &json!({"replicas": 1})));
    }
}
