//! A database that takes connections and never says a word.
use std::fmt::Write as _;

use super::{
    flow::Flow,
    shop::{AT_ONCE, Shop},
    turns::undisturbed,
};
use crate::cluster::pod;

/// How many Pipelines wait for that database: more than are looked at in one moment on any ordinary machine.
const PIPELINES: usize = 24;

/// Whoever connects is kept waiting.
const SERVICE: &str = r"
apiVersion: v1
kind: Service
metadata: {name: hole, namespace: web}
spec: {selector: {app: hole}, ports: [{port: 5432}]}
";

/// Pipelines without pods that need a table each.
fn pipelines() -> String {
    let mut yaml = String::new();
    for number in 0..PIPELINES {
        let _ = write!(
            yaml,
            "---
apiVersion: tidewheel.dev/v1alpha1
kind: Pipeline
metadata: {{name: hangs-{number}, namespace: web}}
spec:
  suspend: true
  sources: [{{name: clicks}}]
  outputs:
    - {{name: rows_{number}, from: clicks, postgres: {{sink: warehouse}}}}
"
        );
    }
    yaml
}

#[test]
fn a_database_that_hangs_slows_nobody_who_does_not_use_it() {
    let well = Shop::new("beside-hangs");
    well.apply_all();
    for what in ["eventsource/clicks", "pipeline/web-analytics"] {
        well.wait_for(what, "Ready");
    }
    let flow = Flow::begin(&well);
    flow.until_rows_grow_by(&well, 200);

    let shop = Shop::new("hangs");
    let listen = [
        "nc",
        "-ll",
        "-p",
        "5432",
        "-e",
        "/bin/busybox",
        "sleep",
        "3600",
    ];
    let hole = pod(shop.name, "hole", shop.cluster.toolbox_image(), &listen, "");
    shop.cluster
        .apply(&hole.replace("{name: hole,", "{name: hole, labels: {app: hole},"))
        .unwrap();
    shop.apply(SERVICE);
    shop.wait_for("pod/hole", "Ready");
    for file in ["source.yaml", "sink.yaml"] {
        shop.apply_example(file);
    }
    shop.secret("postgres://nobody:nothing@hole.hangs.svc:5432/none");
    shop.apply(&pipelines());

    // For as long as it takes until it is given up, and tried again.
    let _turn = undisturbed();
    for turn in 0..3 {
        let before = well.uid("service/clicks-ingest");
        well.delete(&["service/clicks-ingest"]);
        let what = format!("the Service of another is back, turn {turn}");
        well.until_within(AT_ONCE, &what, || {
            ![String::new(), before.clone()].contains(&well.uid("service/clicks-ingest"))
        });
        flow.until_rows_grow_by(&well, 200);
    }
    for what in ["sink/warehouse", "pipeline/hangs-0"] {
        shop.until_reason(what, "Ready", "DatabaseUnavailable");
        let said = shop.message(what, "Ready");
        assert!(said.contains("no answer within"), "{said}");
    }
    let suspended = shop.kubectl(&[
        "get",
        "pipelines",
        "--output=jsonpath={.items[*].metadata.name}",
    ]);
    assert_eq!(suspended.split(' ').count(), PIPELINES);
    let pipeline = well.example("pipeline.yaml");
    let deployment = "deployment/web-analytics-worker";
    let generation = || {
        let path = "--output=jsonpath={.metadata.generation}";
        well.kubectl(&["get", deployment, path])
    };
    let before = generation();
    well.apply(&pipeline.replace("code >= 400", "code > 399"));
    well.until_within(AT_ONCE, "a change of another rolls out", || {
        generation() != before
    });
    well.wait_for("pipeline/web-analytics", "Ready");
    flow.until_rows_grow_by(&well, 200);
    flow.end(&well);
}
