//! What a schema registry wants to be shown: a Secret that an EventSource names, and workers have.
use super::{
    shop::{AT_ONCE, Shop},
    topics::Topics,
    turns::undisturbed,
};

/// A topic that is there already, with a registry that nobody asks: no record names a schema.
const SPECS: &str = r#"
apiVersion: tidewheel.dev/v1alpha1
kind: EventSource
metadata: {name: orders, namespace: web}
spec:
  schema:
    fields:
      - {name: id, type: text, required: true}
      - {name: ts, type: timestamp, required: true}
  eventTime: {field: ts}
  kafka:
    topic: registries-orders
    format: Protobuf
    schemaRegistry: {url: "https://registry.example", secretRef: {name: registry}}
---
apiVersion: tidewheel.dev/v1alpha1
kind: Pipeline
metadata: {name: orders, namespace: web}
spec:
  sources: [{name: orders}]
  outputs:
    - {name: orders, from: orders, postgres: {sink: warehouse}}
"#;

fn secret(shop: &Shop, password: &str) {
    shop.apply(&format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: registry, namespace: web}}\nstringData: {{username: reader, password: {password}}}\n"
    ));
}

#[test]
fn workers_have_the_secret_of_a_schema_registry_once_it_is_there_and_as_it_is() {
    let shop = Shop::new("registries");
    Topics::of(&shop).make("registries-orders");
    shop.apply_example("sink.yaml");
    shop.secret(shop.cluster.postgres_in_pods());
    shop.apply(SPECS);
    let pipeline = "pipeline/orders";
    shop.until_reason(pipeline, "Ready", "SecretMissing");
    let said = shop.message(pipeline, "Ready");
    assert!(said.contains("no Secret `registry`"), "{said}");
    assert_eq!(shop.of_pods("worker", ".metadata.name").len(), 0);

    let turn = undisturbed();
    secret(&shop, "first-password-77c1");
    shop.until_within(AT_ONCE, "there are workers", || {
        !shop.of_pods("worker", ".metadata.name").is_empty()
    });
    drop(turn);
    shop.wait_for(pipeline, "Ready");
    let mounted = shop.of_pods("worker", ".spec.volumes[*].secret.secretName");
    let has_both = |names: &String| {
        let names: Vec<&str> = names.split(' ').collect();
        names.contains(&"registry") && names.contains(&"warehouse")
    };
    assert!(mounted.iter().all(has_both), "{mounted:?}");

    let before = shop.of_pods("worker", ".metadata.uid");
    secret(&shop, "second-password-a90e");
    shop.until("no worker of before is there", || {
        let now = shop.of_pods("worker", ".metadata.uid");
        !now.is_empty() && !now.iter().any(|uid| before.contains(uid))
    });
    shop.wait_for(pipeline, "Ready");
    // Neither password stands where those may look who may not read Secrets.
    let shown = shop.kubectl(&[
        "get",
        "eventsources,pipelines,configmaps,deployments,pods,events",
        "--output=yaml",
    ]);
    assert!(shown.contains("registry.example"), "the specs are there");
    assert!(!shown.contains("-password-"));
}
