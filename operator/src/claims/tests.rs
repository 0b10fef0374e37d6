//! Who fills a place goes first, then who is older, over all namespaces.
#![allow(clippy::unwrap_used, reason = "tests")]
use futures::{FutureExt as _, StreamExt as _};
use prometheus::Registry;
use serde_json::{Value, json};

use super::*;
use crate::bell::Queue;
use crate::children::ChildKind;
use crate::metrics::Metrics;

fn bell() -> (Bell<Pipeline>, Queue<Pipeline>) {
    Bell::new(&Metrics::new(&Registry::new()).unwrap())
}

/// A Pipeline that was made on a day of January.
fn pipeline((namespace, name): (&str, &str), day: u32, outputs: Value) -> Pipeline {
    serde_json::from_value(json!({
        "metadata": {"namespace": namespace, "name": name, "creationTimestamp": format!("2026-01-{day:02}T00:00:00Z")},
        "spec": {"sources": [{"name": "clicks"}], "outputs": outputs},
    }))
    .unwrap()
}

fn table(output: &str, sink: &str) -> Value {
    json!({"name": output, "from": "clicks", "postgres": {"sink": sink}})
}

fn topic(output: &str, topic: &str) -> Value {
    json!({"name": output, "from": "clicks", "kafka": {"sink": "hub", "topic": topic}})
}

fn with(mut pipeline: Pipeline, outputs: Value) -> Pipeline {
    pipeline.spec["outputs"] = outputs;
    pipeline
}

fn sink(name: &str) -> Option<Arc<Sink>> {
    let schema = match name {
        "warehouse" | "same" => "shop",
        "other" => "elsewhere",
        _ => return None,
    };
    let postgres =
        json!({"connection": {"secretRef": {"name": "db", "key": "url"}}, "schema": schema});
    let sink =
        json!({"metadata": {"namespace": "shop", "name": name}, "spec": {"postgres": postgres}});
    Some(Arc::new(serde_json::from_value(sink).unwrap()))
}

fn source((namespace, name): (&str, &str)) -> EventSource {
    let schema = json!({"fields": [{"name": "ts", "type": "timestamp", "required": true}]});
    let spec = json!({"schema": schema, "eventTime": {"field": "ts"}, "key": ["ts"], "http": {}});
    serde_json::from_value(
        json!({"metadata": {"namespace": namespace, "name": name}, "spec": spec}),
    )
    .unwrap()
}

/// What workers of a Pipeline were told, and the digest of that plan.
fn told(pipeline: &Pipeline) -> (DynamicObject, String) {
    let mut document = pipeline.document();
    let hash = Documents::read(&document.to_string()).unwrap().hash();
    document["metadata"]["generation"] = 7.into();
    let name = format!("{}-{}", pipeline.name(), &hash[..8]);
    let mut object =
        DynamicObject::new(&name, &ChildKind::ConfigMap.resource()).within(pipeline.namespace());
    let owner = json!({"apiVersion": "tidewheel.dev/v1alpha1", "kind": "Pipeline", "name": pipeline.name(), "uid": "a", "controller": true});
    object.metadata.owner_references = Some(vec![serde_json::from_value(owner).unwrap()]);
    object.data = json!({"data": {"resources.yaml": document.to_string()}});
    (object, hash)
}

fn claim(claims: &Claims, pipeline: &Pipeline) -> Option<String> {
    claims.pipeline(pipeline);
    let taken = claims.claim(pipeline, sink, &bell().0)?;
    assert_eq!(taken.reason, Reason::OutputTaken);
    Some(taken.message)
}

/// Whether it may have its outputs.
fn has(claims: &Claims, pipeline: &Pipeline) -> bool {
    claim(claims, pipeline).is_none()
}

#[test]
fn a_table_belongs_to_the_older_pipeline() {
    let claims = Claims::default();
    let older = pipeline(("shop", "kpis"), 1, json!([table("raw", "warehouse")]));
    let newer = pipeline(("shop", "another"), 2, json!([table("raw", "same")]));
    // Both are new to this process.
    claims.pipeline(&older);
    claims.pipeline(&newer);
    let message = claim(&claims, &newer).unwrap();
    let expected = "is already filled by the output `raw` of Pipeline shop/kpis";
    assert!(message.contains(expected), "{message}");
    assert!(has(&claims, &older));
    // A table of the name in another schema is another table.
    let elsewhere = with(newer.clone(), json!([table("raw", "other")]));
    assert!(has(&claims, &elsewhere));
    assert!(!has(&claims, &newer));
    let mut leaving = older.clone();
    leaving.metadata.deletion_timestamp = leaving.metadata.creation_timestamp.clone();
    claims.pipeline(&leaving);
    assert!(has(&claims, &newer));
    claims.pipeline_gone(&leaving);
    assert!(has(&claims, &newer));
}

#[test]
fn who_fills_a_place_goes_before_an_older_one_that_would_like_to() {
    let outputs = [
        json!([table("raw", "warehouse")]),
        json!([topic("raw", "orders")]),
    ];
    for outputs in outputs {
        let older = pipeline(("shop", "kpis"), 1, outputs.clone());
        let newer = pipeline(("shop", "another"), 2, outputs);
        let (specs, plan) = told(&newer);
        let mut running = newer.clone();
        running.status = json!({"plan": {"number": 1, "hash": plan}});

        // This process let it have it before the other asked.
        let claims = Claims::default();
        assert!(has(&claims, &newer));
        assert!(!has(&claims, &older));
        assert!(has(&claims, &newer));

        // Another process did, and workers run.
        let claims = Claims::default();
        claims.specs(&specs);
        claims.pipeline(&running);
        assert!(!has(&claims, &older));
        assert!(has(&claims, &running));

        // It wants it no longer, or cannot run as it is: its workers still fill it.
        let changed = with(running.clone(), json!([]));
        let claims = Claims::default();
        claims.specs(&specs);
        assert!(has(&claims, &changed));
        assert!(!has(&claims, &older));
        // What somebody removes by hand is made again, and counts until then.
        claims.specs_gone(&specs);
        assert!(!has(&claims, &older));
        claims.specs(&specs);
        // Workers of another plan have taken over from them.
        let mut next = changed.clone();
        next.status["plan"]["hash"] = "another".into();
        claims.pipeline(&next);
        assert!(!has(&claims, &older));
        claims.specs_gone(&specs);
        assert!(has(&claims, &older));
        assert!(!has(&claims, &running));
    }
}

#[test]
fn what_belongs_to_another_namespace_is_refused() {
    let claims = Claims::default();
    claims.source(&source(("b", "orders")));
    let theirs = pipeline(("b", "kpis"), 9, json!([topic("raw", "b.results")]));
    assert!(has(&claims, &theirs));
    for (name, why) in [
        ("b.orders", "belongs to EventSource b/orders"),
        ("b.orders.generator", "belongs to EventSource b/orders"),
        (
            "b.results",
            "is already filled by the output `raw` of Pipeline b/kpis",
        ),
        (
            "b.kpis.dead-letters",
            "are for the progress and state of Pipeline b/kpis",
        ),
    ] {
        let ours = pipeline(("a", "copy"), 1, json!([topic("out", name)]));
        let message = claim(&claims, &ours).unwrap();
        assert!(message.contains(why), "{message}");
    }
    for name in ["b.orders.more", "b.others", "b.kpis", "results"] {
        let ours = pipeline(("a", "copy"), 1, json!([topic("out", name)]));
        assert_eq!(claim(&claims, &ours), None, "{name}");
    }
    claims.source_gone(&source(("b", "orders")));
    assert!(has(
        &claims,
        &pipeline(("a", "copy"), 1, json!([topic("out", "b.orders")]))
    ));
    // A table of the name is in another namespace's Sink.
    assert!(has(
        &claims,
        &pipeline(("b", "tables"), 2, json!([table("raw", "warehouse")]))
    ));
    assert!(has(
        &claims,
        &pipeline(("shop", "tables"), 3, json!([table("raw", "warehouse")]))
    ));
}

#[test]
fn who_waits_is_told_when_there_may_be_room() {
    let claims = Claims::default();
    let outputs = json!([topic("raw", "orders")]);
    let first = pipeline(("shop", "kpis"), 1, outputs.clone());
    let second = pipeline(("team", "another"), 2, outputs);
    let (specs, _) = told(&first);
    claims.specs(&specs);
    assert!(has(&claims, &first));
    let (bell, mut queue) = bell();
    claims.pipeline(&second);
    assert!(claims.claim(&second, sink, &bell).is_some());
    let mut is_rung = || match queue.next().now_or_never() {
        None => false,
        Some(rung) => {
            let rung = rung.unwrap().unwrap();
            let name = (rung.namespace.as_deref(), rung.name.as_str());
            assert_eq!(name, (Some("team"), "another"));
            true
        }
    };
    let other = pipeline(("shop", "other"), 3, json!([topic("raw", "elsewhere")]));
    assert!(has(&claims, &other));
    assert!(has(&claims, &with(first.clone(), json!([]))));
    assert!(!is_rung(), "its workers are still there");
    claims.specs_gone(&specs);
    assert!(is_rung());
    assert!(has(&claims, &first));
    let mut leaving = first.clone();
    leaving.metadata.deletion_timestamp = leaving.metadata.creation_timestamp.clone();
    claims.pipeline(&leaving);
    assert!(is_rung());
    claims.pipeline_gone(&leaving);
    assert!(is_rung());
    assert!(claims.claim(&second, sink, &bell).is_none());
    assert!(has(&claims, &with(other, json!([]))));
    assert!(!is_rung(), "it waits no longer");
}

#[test]
fn nothing_is_kept_of_what_is_gone() {
    let claims = Claims::default();
    let pipeline = pipeline(
        ("shop", "kpis"),
        1,
        json!([table("raw", "warehouse"), topic("out", "orders")]),
    );
    let (specs, _) = told(&pipeline);
    claims.source(&source(("shop", "clicks")));
    claims.specs(&specs);
    assert!(has(&claims, &pipeline));
    claims.pipeline_gone(&pipeline);
    claims.specs_gone(&specs);
    claims.source_gone(&source(("shop", "clicks")));
    let index = claims.0.lock();
    assert!(index.claimants.is_empty() && index.named_by.is_empty());
    assert!(index.sources.is_empty() && index.waiting.is_empty());
}
