//! A pipeline over one source, its topics and its tables.
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tidewheel_log::{Cleanup, EmbeddedLog, Log, TopicSettings};
use tidewheel_planner::load::load_texts;
use tidewheel_planner::names::PipelineNames;
use tidewheel_planner::plan::Plan;
use tidewheel_planner::{judge, problem, topics};
use tidewheel_sinks::OutputId;
use tidewheel_sinks::embedded::Database;
use tidewheel_worker::{Worker, topic_settings};

pub(crate) const SINK: &str = "shop/tables";

/// A source `events` with the given event time, and a sink.
pub(crate) fn source(partitions: i32, event_time: &str) -> String {
    format!("{}{TABLES}", event_source("events", partitions, event_time))
}

/// The sink of every output.
pub(crate) const TABLES: &str = "apiVersion: tidewheel.dev/v1alpha1
kind: Sink
metadata: {name: tables, namespace: shop}
spec:
  postgres: {connection: {secretRef: {name: tables, key: url}}}
---
";

/// A source with the given event time.
pub(crate) fn event_source(name: &str, partitions: i32, event_time: &str) -> String {
    format!(
        "apiVersion: tidewheel.dev/v1alpha1
kind: EventSource
metadata: {{name: {name}, namespace: shop}}
spec:
  schema:
    fields:
      - {{name: id, type: text, required: true}}
      - {{name: ts, type: timestamp, required: true}}
      - {{name: kind, type: text}}
      - {{name: n, type: bigint}}
      - {{name: x, type: double}}
      - {{name: raw, type: text}}
      - {{name: d, type: bigint}}
      - {{name: tags, type: text}}
    unknownFields: Drop
  eventTime: {{field: ts, {event_time}}}
  key: [id]
  topic: {{partitions: {partitions}}}
  http: {{}}
---
"
    )
}

/// The plan of the only pipeline in `yaml`.
pub(crate) fn plan(yaml: &str) -> Arc<Plan> {
    let (_, mut plans, problems) = judge(load_texts([("pipeline.yaml", yaml)]));
    assert!(!plans.is_empty(), "{}\n{yaml}", problem::render(&problems));
    Arc::new(plans.remove(0))
}

pub(crate) fn names(plan: &Plan) -> PipelineNames {
    PipelineNames::new(&plan.namespace, &plan.name)
}

/// Creates every topic of `plan` that carries no generation in its name. None forgets anything by age: clocks here are of the tests' making.
pub(crate) fn create_topics(log: &EmbeddedLog, plan: &Plan) {
    for topic in [topics::of_plan_sources(plan), topics::of_pipeline(plan)].concat() {
        let mut settings = topic_settings(&topic);
        if let Cleanup::Retention { ms } = &mut settings.cleanup {
            *ms = None;
        }
        log.create_topic(&settings).unwrap();
    }
}

/// Creates the topics of partials that `worker` needs.
pub(crate) fn create_partials(log: &EmbeddedLog, worker: &Worker) {
    for (name, partitions) in worker.partials_topics() {
        log.create_topic(&TopicSettings {
            name,
            partitions: partitions as i32,
            cleanup: Cleanup::Retention { ms: None },
        })
        .unwrap();
    }
}

/// Opens the tables of `plan`.
pub(crate) async fn create_tables(path: &Path, plan: &Plan) -> Database {
    let database = Database::open(path).await.unwrap();
    for output in &plan.outputs {
        let Some(table) = output.table() else {
            continue;
        };
        let id = OutputId {
            pipeline: format!("{}/{}", plan.namespace, plan.name),
            output: output.name.clone(),
        };
        database.create_table(&id, table).await.unwrap();
    }
    database
}

/// All records of a partition, in order.
pub(crate) async fn read_all(
    log: &dyn Log,
    topic: &str,
    partition: i32,
) -> Vec<tidewheel_log::Record> {
    let offsets = log.offsets(topic, partition).await.unwrap();
    let mut reader = log
        .reader(topic, partition, offsets.earliest)
        .await
        .unwrap();
    let mut records = Vec::new();
    // The embedded log needs no time, and no runtime to measure it; Kafka needs a little.
    let mut wait = Duration::ZERO;
    loop {
        let fetched = reader.fetch(100_000, usize::MAX, wait).await.unwrap();
        records.extend(fetched.records);
        if fetched.at_end {
            return records;
        }
        wait = Duration::from_millis(100);
    }
}

/// The value of a header, as text.
pub(crate) fn header(record: &tidewheel_log::Record, name: &str) -> Option<String> {
    let found = record.headers.iter().find(|header| header.name == name)?;
    Some(String::from_utf8(found.value.to_vec()).unwrap())
}
