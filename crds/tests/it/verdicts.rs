mod cases;

use std::{collections::BTreeMap, fmt::Write};

use serde_json::Value;
use tidewheel_crds::{
    EventSourceSpec, Kind, PipelineSpec, SinkSpec, admitted, name_violation, violations,
};

use self::cases::{Case, Verdicts};

impl Verdicts {
    fn kind(&self, case: &Case) -> Kind {
        self.kind_name(case).parse().unwrap()
    }
}

#[test]
fn every_case_is_accepted_or_refused_as_it_says() {
    let verdicts = Verdicts::read();
    let mut wrong = String::new();
    for case in &verdicts.cases {
        let (spec, old) = verdicts.specs(case);
        let mut found: Vec<String> = violations(verdicts.kind(case), &spec, old.as_ref())
            .iter()
            .map(ToString::to_string)
            .collect();
        found.sort();
        let mut expected = case.refused.clone();
        expected.sort();
        if found != expected {
            writeln!(
                wrong,
                "{}\n  expected {expected:#?}\n  found {found:#?}",
                case.promise
            )
            .unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn every_rule_has_a_case_that_breaks_it() {
    let verdicts = Verdicts::read();
    let names = name_violation("a.b");
    let refused: Vec<&String> = verdicts
        .cases
        .iter()
        .flat_map(|case| &case.refused)
        .chain(&names)
        .collect();
    for rule in crate::definitions::all_rules() {
        let message = rule.message.expect("a rule has a message");
        assert!(
            refused.iter().any(|refused| refused.ends_with(&message)),
            "no case breaks: {message}"
        );
    }
}

/// Reads an admitted spec into its type.
fn read(kind: Kind, spec: &Value) -> serde_json::Result<()> {
    let spec = admitted(kind, spec);
    match kind {
        Kind::EventSource => serde_json::from_value::<EventSourceSpec>(spec).map(drop),
        Kind::Pipeline => serde_json::from_value::<PipelineSpec>(spec).map(drop),
        Kind::Sink => serde_json::from_value::<SinkSpec>(spec).map(drop),
    }
}

#[test]
fn what_is_accepted_can_be_read() {
    let verdicts = Verdicts::read();
    for case in verdicts.cases.iter().filter(|case| case.refused.is_empty()) {
        let spec = verdicts.specs(case).0;
        read(verdicts.kind(case), &spec)
            .unwrap_or_else(|error| panic!("{}: {error}", case.promise));
    }
}

/// `value` with each place in it replaced by each of the `others`.
fn mutations(value: &Value, others: &[Value]) -> Vec<Value> {
    let mut mutated = others.to_vec();
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                for changed in mutations(field, others) {
                    let mut fields = fields.clone();
                    fields.insert(name.clone(), changed);
                    mutated.push(Value::Object(fields));
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                for changed in mutations(item, others) {
                    let mut items = items.clone();
                    items[index] = changed;
                    mutated.push(Value::Array(items));
                }
            }
        }
        _ => {}
    }
    mutated
}

#[test]
fn whatever_is_written_anywhere_is_refused_or_can_be_read() {
    let others = serde_json::json!([
        null, true, 0, -1, 1.5, 1e300, 18_446_744_073_709_551_615_u64, "", "x", "_x", "0s", "9999d", "2026-13-01T00:00:00Z", [], ["x"], {}, {"x": 1}
    ]);
    let verdicts = Verdicts::read();
    let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for base in verdicts.bases.values() {
        let kind: Kind = base.kind.parse().unwrap();
        let (accepted, refused) = counts.entry(&base.kind).or_default();
        for spec in mutations(&base.spec, others.as_array().unwrap()) {
            if violations(kind, &spec, Some(&base.spec)).is_empty() {
                *accepted += 1;
                read(kind, &spec).unwrap_or_else(|error| panic!("{spec}: {error}"));
            } else {
                *refused += 1;
            }
        }
    }
    for (kind, (accepted, refused)) in counts {
        assert!(
            accepted > 5 && refused > 100,
            "{kind}: {accepted} accepted, {refused} refused"
        );
    }
}

#[test]
fn a_null_counts_as_absent() {
    let spec = serde_json::json!({
        "sources": [{"name": "clicks", "start": null}],
        "steps": null,
        "outputs": [{"name": "raw", "from": "clicks", "postgres": {"sink": "warehouse", "table": null}}],
    });
    assert_eq!(violations(Kind::Pipeline, &spec, None), []);
    assert_eq!(
        admitted(Kind::Pipeline, &spec)["sources"][0]["start"],
        "Earliest"
    );
    let spec = serde_json::json!({"postgres": null});
    assert_eq!(violations(Kind::Sink, &spec, None).len(), 1);
}

#[test]
fn a_spec_that_is_no_object_is_refused() {
    for kind in Kind::ALL {
        for spec in [
            Value::Null,
            Value::Bool(true),
            "text".into(),
            serde_json::json!([]),
            serde_json::json!({"a": 1}),
        ] {
            assert!(!violations(kind, &spec, None).is_empty(), "{kind} {spec}");
        }
    }
}

#[test]
fn names_of_resources_hold_no_dots() {
    assert_eq!(name_violation("shop-kpis"), None);
    assert!(
        name_violation("shop.kpis")
            .unwrap()
            .starts_with("names hold no dots")
    );
    assert_eq!(
        name_violation("Shop").as_deref(),
        Some(
            "`Shop` cannot name a resource: write lower-case letters, digits and `-`, without dots"
        )
    );
    assert!(name_violation("").is_some());
    assert!(name_violation(&"a".repeat(64)).is_some());
}
