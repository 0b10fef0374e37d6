//! Events that a generator makes.
use super::{delete_at_once, shop::Shop};

const COUNT: usize = 20_000;

const SOURCE: &str = r#"
apiVersion: tidewheel.dev/v1alpha1
kind: EventSource
metadata: {name: clicks, namespace: web}
spec:
  schema:
    fields:
      - {name: event_id, type: uuid, required: true}
      - {name: ts, type: timestamp, required: true}
      - {name: method, type: text}
  eventTime: {field: ts, maxOutOfOrder: 5s}
  key: [event_id]
  generator:
    eventsPerSecond: 500
    count: COUNT
    fields:
      - {field: event_id, uuid: {}}
      - {field: ts, time: {jitter: 5s}}
      - {field: method, oneOf: [{value: GET, weight: 9}, {value: POST}]}
---
apiVersion: tidewheel.dev/v1alpha1
kind: Pipeline
metadata: {name: made-up, namespace: web}
spec:
  sources: [{name: clicks}]
  outputs:
    - {name: made_up, from: clicks, postgres: {sink: warehouse}}
"#;

#[test]
fn a_generator_whose_pod_is_deleted_makes_each_of_its_events_once() {
    let shop = Shop::new("generated");
    shop.apply_example("sink.yaml");
    shop.secret(shop.cluster.postgres_in_pods());
    shop.apply(&SOURCE.replace("COUNT", &COUNT.to_string()));
    for what in ["eventsource/clicks", "pipeline/made-up"] {
        shop.wait_for(what, "Ready");
    }
    let count = || shop.sql("SELECT count(*), count(DISTINCT event_id) FROM made_up");
    let so_far = || {
        let count = shop.sql("SELECT count(*) FROM made_up");
        count.parse::<usize>().unwrap_or(0)
    };
    shop.until("some of them are rows", || so_far() > 0);
    let pod = shop.of_pods("generate", ".metadata.name");
    let [pod] = &pod[..] else { panic!("{pod:?}") };
    delete_at_once(shop.cluster, shop.name, pod, "--timeout=60s");
    assert!(so_far() < COUNT, "it was in the middle of it");
    shop.until("all of them are rows", || so_far() >= COUNT);
    assert_eq!(count(), format!("{COUNT}|{COUNT}"));
    shop.wait_for("eventsource/clicks", "Ready");
}
