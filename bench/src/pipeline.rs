//! The pipelines that are measured, as users would write them.
use std::sync::Arc;

use tidewheel_planner::plan::Plan;
use tidewheel_planner::{judge, load, problem};

use crate::Failure;

/// Windows of a minute by method.
pub(crate) const BY_METHOD: &str = "
    - name: per_minute
      aggregate:
        window: {tumbling: 1m}
        sql: |
          SELECT method, count(*) AS count, sum(metric) AS sum_metric, avg(metric) AS avg_metric,
                 min(metric) AS min_metric, max(metric) AS max_metric
          FROM clicks GROUP BY method";

/// Windows of ten seconds by method: results come often enough to show how far somebody is.
pub(crate) const BY_METHOD_SHORT: &str = "
    - name: per_method
      aggregate:
        window: {tumbling: 10s}
        sql: |
          SELECT method, count(*) AS count, sum(metric) AS sum_metric, min(metric) AS min_metric, max(metric) AS max_metric
          FROM clicks GROUP BY method";

/// Windows of a minute by user, each event once.
pub(crate) const BY_USER: &str = "
    - name: unique_clicks
      deduplicate: {from: clicks, by: [event_id], within: 10m}
    - name: per_minute
      aggregate:
        window: {tumbling: 1m}
        sql: |
          SELECT user_id, count(*) AS count, sum(metric) AS sum_metric, max(metric) AS max_metric
          FROM unique_clicks GROUP BY user_id";

/// The output that every pipeline has.
pub(crate) const WINDOWS: &str =
    "{name: per_minute, from: per_minute, postgres: {sink: warehouse}}";
/// The output of windows of ten seconds.
pub(crate) const SHORT_WINDOWS: &str =
    "{name: per_method, from: per_method, postgres: {sink: warehouse}}";
/// The output of every event.
pub(crate) const EVENTS: &str = "{name: events, from: clicks, postgres: {sink: warehouse}}";

/// Plans a pipeline of `steps` and `outputs`.
pub(crate) fn plan(
    unknown_fields: &str,
    partitions: u32,
    steps: &str,
    outputs: &[&str],
) -> Result<Arc<Plan>, Failure> {
    let text = resources("bench", unknown_fields, partitions, steps, outputs);
    let (_, mut plans, problems) = judge(load::load_texts([("bench.yaml", text.as_str())]));
    plans
        .pop()
        .map(Arc::new)
        .ok_or_else(|| problem::render(&problems).into())
}

/// The resources of a pipeline of `steps` and `outputs`: the source `clicks`, the Sink `warehouse`.
pub(crate) fn resources(
    namespace: &str,
    unknown_fields: &str,
    partitions: u32,
    steps: &str,
    outputs: &[&str],
) -> String {
    let outputs: String = outputs
        .iter()
        .map(|output| format!("    - {output}\n"))
        .collect();
    format!(
        "apiVersion: tidewheel.dev/v1alpha1
kind: EventSource
metadata: {{name: clicks, namespace: {namespace}}}
spec:
  schema:
    fields:
      - {{name: event_id, type: uuid, required: true, generate: Uuid}}
      - {{name: source, type: text, required: true}}
      - {{name: ts, type: timestamp, path: timestamp, required: true}}
      - {{name: user_id, type: text, path: attributes.user_id}}
      - {{name: metric, type: double, path: attributes.metric}}
      - {{name: method, type: text, path: attributes.method}}
      - {{name: code, type: bigint, path: attributes.code}}
    unknownFields: {unknown_fields}
  eventTime: {{field: ts, maxOutOfOrder: 5s}}
  key: [event_id]
  topic: {{partitions: {partitions}}}
  http: {{}}
---
apiVersion: tidewheel.dev/v1alpha1
kind: Sink
metadata: {{name: warehouse, namespace: {namespace}}}
spec:
  postgres:
    connection: {{secretRef: {{name: warehouse, key: url}}}}
    schema: public
---
apiVersion: tidewheel.dev/v1alpha1
kind: Pipeline
metadata: {{name: bench, namespace: {namespace}}}
spec:
  sources: [{{name: clicks}}]
  steps:{steps}
  outputs:
{outputs}"
    )
}
