//! Idle source partitions: whose watermarks a decree looks at.
use std::sync::Arc;

use tidewheel_engine::stage1::{Recovered, SourceSetup, SourceTask, StartAt};
use tidewheel_engine::wire::watermark::WatermarkRecord;
use tidewheel_log::NewRecord;
use tidewheel_planner::plan::Plan;
use tidewheel_planner::{judge, load, problem};

use crate::fixture::{MINUTE, T0, event, record, source_setup};

const UNITED: &str = "SELECT id, ts FROM clicks UNION ALL SELECT id, ts FROM orders UNION ALL SELECT id, ts FROM visits";

/// A pipeline over three sources of which the aggregate step reads those in `sql`.
fn three_sources(sql: &str) -> Arc<Plan> {
    let source = |name: &str| {
        format!(
            "apiVersion: tidewheel.dev/v1alpha1\nkind: EventSource\nmetadata: {{name: {name}, namespace: shop}}\nspec:\n  \
             schema: {{fields: [{{name: id, type: text, required: true}}, {{name: ts, type: timestamp, required: true}}]}}\n  \
             eventTime: {{field: ts, maxOutOfOrder: 0s, idleAfter: 30s}}\n  key: [id]\n  http: {{}}\n---\n"
        )
    };
    let sink = "apiVersion: tidewheel.dev/v1alpha1\nkind: Sink\nmetadata: {name: warehouse, namespace: shop}\nspec:\n  \
         postgres: {connection: {secretRef: {name: warehouse, key: url}}}\n---\n";
    let pipeline = format!(
        "apiVersion: tidewheel.dev/v1alpha1\nkind: Pipeline\nmetadata: {{name: kpis, namespace: shop}}\nspec:\n  \
         sources: [{{name: clicks}}, {{name: orders}}, {{name: visits}}]\n  steps:\n    - {{name: united, sql: '{sql}'}}\n    \
         - {{name: w, aggregate: {{window: {{tumbling: 1m}}, sql: SELECT count(*) AS n FROM united}}}}\n  outputs:\n    \
         - {{name: wins, from: w, postgres: {{sink: warehouse}}}}\n    \
         - {{name: orders, from: orders, postgres: {{sink: warehouse}}}}\n    \
         - {{name: visits, from: visits, postgres: {{sink: warehouse}}}}\n"
    );
    let sources: String = ["clicks", "orders", "visits"].map(source).concat();
    let text = format!("{sources}{sink}{pipeline}");
    let (_, mut plans, problems) = judge(load::load_texts([("kpis.yaml", text.as_str())]));
    plans
        .pop()
        .unwrap_or_else(|| panic!("{}", problem::render(&problems)))
        .into()
}

/// Partition 0 of `clicks`, which has two; the other sources have one.
fn clicks(plan: &Arc<Plan>) -> SourceTask {
    let setup = SourceSetup {
        source_partitions: vec![2, 1, 1],
        ..source_setup(plan, 0, 2)
    };
    let mut task = SourceTask::begin(setup, Recovered::default(), &StartAt::default()).unwrap();
    let events = [record(0, 0, &event("a", 0, ""))];
    task.process(&events, 1, T0).unwrap();
    task
}

/// What the idle task decrees at `clock_ms`.
fn decreed(task: &mut SourceTask, clock_ms: i64) -> Option<i64> {
    task.at_end(T0).unwrap();
    let effects = task.at_end(clock_ms).unwrap()?;
    let told = |record: &NewRecord| record.topic.ends_with(".watermarks");
    let record = effects.log.into_iter().find(told)?;
    let record = WatermarkRecord::decode(record.value.as_ref().unwrap());
    record.unwrap().decree_ms
}

fn active(source: &str, partition: i32, watermark_ms: i64) -> WatermarkRecord {
    let mut record = WatermarkRecord::active(source, partition, 1);
    record.event_watermark_ms = Some(watermark_ms);
    record
}

#[test]
fn sources_that_feed_no_aggregate_are_not_waited_for() {
    let plan = three_sources("SELECT id, ts FROM clicks");
    let mut task = clicks(&plan);
    task.observe(active("clicks", 1, T0 + 5 * MINUTE));
    assert_eq!(decreed(&mut task, T0 + MINUTE), Some(T0 + 5 * MINUTE));
}

#[test]
fn sources_that_feed_no_aggregate_hold_nobody_back() {
    let plan = three_sources("SELECT id, ts FROM clicks");
    let mut task = clicks(&plan);
    task.observe(active("orders", 0, T0 + 2 * MINUTE));
    task.observe(active("clicks", 1, T0 + 5 * MINUTE));
    assert_eq!(decreed(&mut task, T0 + MINUTE), Some(T0 + 5 * MINUTE));
}

#[test]
fn sources_of_the_same_aggregate_are_waited_for() {
    let plan = three_sources(UNITED);
    let mut task = clicks(&plan);
    task.observe(active("clicks", 1, T0 + 5 * MINUTE));
    task.observe(active("orders", 0, T0 + 4 * MINUTE));
    assert_eq!(
        decreed(&mut task, T0 + MINUTE),
        None,
        "visits has not spoken"
    );
    task.observe(active("visits", 0, T0 + 9 * MINUTE));
    assert_eq!(decreed(&mut task, T0 + 2 * MINUTE), Some(T0 + 4 * MINUTE));
}
