//! Events that only their source tells apart.
use std::sync::Arc;

use tidewheel_engine::stage1::{Recovered, SourceSetup, SourceTask, StartAt};
use tidewheel_engine::stage2::{RecoveredStep, StepTask};
use tidewheel_log::Record;
use tidewheel_planner::plan::Plan;
use tidewheel_planner::{judge, load, problem};

use crate::fixture::{MINUTE, Row, T0, event, record, rows_of, source_setup, step_setup};

/// The first and the last event over two sources.
fn ends() -> Arc<Plan> {
    let source = |name: &str| {
        format!(
            "apiVersion: tidewheel.dev/v1alpha1\nkind: EventSource\nmetadata: {{name: {name}, namespace: shop}}\nspec:\n  \
             schema: {{fields: [{{name: id, type: text, required: true}}, {{name: ts, type: timestamp, required: true}}]}}\n  \
             eventTime: {{field: ts, maxOutOfOrder: 0s}}\n  key: [id]\n  topic: {{partitions: 1}}\n  http: {{}}\n---\n"
        )
    };
    let text = format!(
        "{}{}apiVersion: tidewheel.dev/v1alpha1\nkind: Sink\nmetadata: {{name: warehouse, namespace: shop}}\nspec:\n  \
         postgres: {{connection: {{secretRef: {{name: warehouse, key: url}}}}}}\n---\n\
         apiVersion: tidewheel.dev/v1alpha1\nkind: Pipeline\nmetadata: {{name: kpis, namespace: shop}}\nspec:\n  \
         sources: [{{name: orders}}, {{name: clicks}}]\n  steps:\n    \
         - {{name: united, sql: 'SELECT id, ts FROM orders UNION ALL SELECT id, ts FROM clicks'}}\n    \
         - {{name: w, aggregate: {{window: {{tumbling: 1m}}, sql: 'SELECT first_value(id) AS f, last_value(id) AS l FROM united'}}}}\n  \
         outputs: [{{name: w, from: w, postgres: {{sink: warehouse}}}}]\n",
        source("orders"),
        source("clicks")
    );
    let (_, mut plans, problems) = judge(load::load_texts([("kpis.yaml", text.as_str())]));
    plans
        .pop()
        .unwrap_or_else(|| panic!("{}", problem::render(&problems)))
        .into()
}

/// The partials of an event named after the source at the start, and of one that closes its window.
fn partials(plan: &Arc<Plan>, source: usize) -> Vec<Record> {
    let setup = SourceSetup {
        source,
        source_partitions: vec![1, 1],
        ..source_setup(plan, 0, 1)
    };
    let mut task = SourceTask::begin(setup, Recovered::default(), &StartAt::default()).unwrap();
    let name = &plan.sources[source].name;
    let events = [
        record(0, 0, &event(name, 0, "")),
        record(1, 1, &event("later", MINUTE, "")),
    ];
    let effects = task.process(&events, 2, T0).unwrap();
    let is_partial = |topic: &str| topic.ends_with(".partials");
    let log = effects
        .log
        .into_iter()
        .filter(|record| is_partial(&record.topic));
    let stored = log.map(|record| Record {
        offset: 0,
        append_time_ms: T0,
        key: None,
        value: record.value,
        headers: Vec::new(),
    });
    stored.collect()
}

/// The row of the first window, when partials come in this order.
fn row(plan: &Arc<Plan>, partials: Vec<Record>) -> Row {
    let mut setup = step_setup(plan, 0, 0);
    setup.feeders = vec!["clicks/0".to_owned(), "orders/0".to_owned()];
    let mut task = StepTask::begin(setup, &RecoveredStep::default()).unwrap();
    let numbered = (0..)
        .zip(partials)
        .map(|(offset, record)| Record { offset, ..record });
    let records: Vec<Record> = numbered.collect();
    let effects = task.process(&records, records.len() as i64, T0).unwrap();
    rows_of(&effects.writes[0].rows).remove(0)
}

#[test]
fn a_tie_between_sources_is_broken_by_their_names_whichever_comes_first() {
    let plan = ends();
    let (orders, clicks) = (partials(&plan, 0), partials(&plan, 1));
    let in_turn = [orders.clone(), clicks.clone()].concat();
    let the_other_way = [clicks, orders].concat();
    for records in [in_turn, the_other_way] {
        let row = row(&plan, records);
        assert_eq!((row["f"].as_str(), row["l"].as_str()), ("clicks", "orders"));
    }
}
