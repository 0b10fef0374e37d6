//! What is left of a spec without the members that break its schema.
use serde_json::{Value, json};
use tidewheel_crds::{Kind, PipelineSpec, remainder, violations};

fn rest(kind: Kind, spec: &Value) -> Option<Value> {
    remainder(kind, spec, &violations(kind, spec, None))
}

fn pipeline(step: Value) -> Value {
    json!({
        "sources": [{"name": "orders"}],
        "steps": [step],
        "outputs": [{"name": "rows", "from": "kpi", "postgres": {"sink": "db"}}],
    })
}

#[test]
fn unknown_and_wrong_optional_members_are_left_out_and_nothing_else() {
    let window = json!({"tumbling": "1m"});
    let spec = pipeline(json!({"name": "kpi", "aggregate": {
        "window": window, "sql": "SELECT 1", "late": {"allowed": 20, "polcy": "Drop", "policy": "Amend"},
    }}));
    let rest: PipelineSpec = serde_json::from_value(rest(Kind::Pipeline, &spec).unwrap()).unwrap();
    let meant =
        pipeline(json!({"name": "kpi", "aggregate": {"window": window, "sql": "SELECT 1"}}));
    assert_eq!(rest, serde_json::from_value(meant).unwrap());
}

#[test]
fn without_a_required_member_the_optional_one_around_it_is_left_out() {
    let spec = pipeline(json!({"name": "kpi", "aggregate": {"window": {"tumbling": "1m"}}}));
    let rest: PipelineSpec = serde_json::from_value(rest(Kind::Pipeline, &spec).unwrap()).unwrap();
    assert_eq!(rest.steps[0].name, "kpi");
    assert_eq!(rest.steps[0].kind(), None);
}

#[test]
fn windows_of_no_kind_are_left_to_be_told_of() {
    let hopping = json!({"hopping": {"size": "10m"}});
    for window in [json!({}), hopping] {
        let step = json!({"name": "kpi", "aggregate": {"window": window, "sql": "SELECT 1"}});
        let spec = pipeline(step);
        let rest: PipelineSpec =
            serde_json::from_value(rest(Kind::Pipeline, &spec).unwrap()).unwrap();
        let aggregate = rest.steps[0].aggregate.as_ref().unwrap();
        assert_eq!(aggregate.window.kind(), None);
    }
}

#[test]
fn nothing_is_left_where_more_depends_on_what_is_wrong() {
    let mut spec = pipeline(json!({"name": "kpi", "sql": "SELECT 1"}));
    let steps = spec.as_object_mut().unwrap().remove("steps").unwrap();
    spec["stpes"] = steps;
    assert_eq!(rest(Kind::Pipeline, &spec), None);
    spec["steps"] = json!("kpi");
    assert_eq!(rest(Kind::Pipeline, &spec), None);
}
