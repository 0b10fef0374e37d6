//! Records that name schemas: tasks wait for those that cannot be read, say so, and ask again.
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tidewheel_decode::avro::AvroSchema;
use tidewheel_decode::protobuf::ProtobufSchema;
use tidewheel_decode::writer_schema::WriterSchema;
use tidewheel_log::{Cleanup, EmbeddedLog, Log as _, NewRecord, Options, TopicSettings};
use tidewheel_sinks::Sink;
use tidewheel_sinks::embedded::Columns;
use tidewheel_worker::{Control, Limits, Schemas, SchemasError, SchemasOf, SystemTimer, Worker};
use tokio_util::sync::CancellationToken;

use crate::fixture::{SINK, TABLES, create_tables, create_topics, plan};

const SPECS: &str = "apiVersion: tidewheel.dev/v1alpha1
kind: EventSource
metadata: {name: events, namespace: shop}
spec:
  schema:
    fields:
      - {name: id, type: text, required: true}
      - {name: ts, type: timestamp, required: true}
  eventTime: {field: ts}
  kafka: {topic: Theirs, format: FORMAT, schemaRegistry: {url: http://registry.example}}
---
apiVersion: tidewheel.dev/v1alpha1
kind: Pipeline
metadata: {name: kpis, namespace: shop}
spec:
  sources: [{name: events}]
  outputs:
    - {name: rows, from: events, postgres: {sink: tables}}
---
";

type Answer = Result<Arc<WriterSchema>, SchemasError>;

/// Gives these answers, each when it is told to, and the last again and again.
struct Told {
    answers: Mutex<VecDeque<Answer>>,
    asked: Mutex<Vec<u32>>,
}

impl Told {
    fn next(&self) {
        let mut answers = self.answers.lock();
        if answers.len() > 1 {
            answers.pop_front();
        }
    }
}

#[async_trait]
impl Schemas for Told {
    async fn schema(&self, id: u32) -> Answer {
        self.asked.lock().push(id);
        self.answers.lock()[0].clone()
    }
}

/// Waits until the task is blocked for a reason, or not at all.
async fn until_blocked(control: &Control, wanted: Option<&str>) {
    let key = ("events".to_owned(), 0);
    let reached = async {
        loop {
            let status = control.status();
            let found = status.get(&key).filter(|task| task.has_begun());
            if found.is_some_and(|task| task.blocked.as_deref() == wanted) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let reached = tokio::time::timeout(Duration::from_secs(20), reached).await;
    assert!(reached.is_ok(), "{wanted:?} is not {:?}", control.status());
}

#[tokio::test(flavor = "current_thread")]
async fn a_task_waits_for_schemas_of_avro_and_says_why() {
    let schema = r#"{"type": "record", "name": "E", "fields": [{"name": "id", "type": "string"},
        {"name": "ts", "type": {"type": "long", "logicalType": "timestamp-millis"}}]}"#;
    let schema = WriterSchema::Avro(AvroSchema::parse(schema, &[]).unwrap());
    waits("Avro", schema, |id| vec![0, 0, 0, 0, id, 2, b'a' + id, 2]).await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_task_waits_for_schemas_of_protobuf_and_says_why() {
    let schema = "syntax = 'proto3'; message E { string id = 1; int64 ts = 2; }";
    let schema = WriterSchema::Protobuf(ProtobufSchema::parse(schema, &[]).unwrap());
    let value = |id| vec![0, 0, 0, 0, id, 0, 0x0a, 1, b'a' + id, 0x10, 1];
    waits("Protobuf", schema, value).await;
}

/// A task whose records in a format are `value`, each of a schema of its own, all of which say the same.
async fn waits(format: &str, schema: WriterSchema, value: impl Fn(u8) -> Vec<u8>) {
    let specs = SPECS.replace("FORMAT", format);
    let plan = plan(&format!("{TABLES}{specs}"));
    let log = EmbeddedLog::in_memory(Options::default());
    create_topics(&log, &plan);
    let theirs = TopicSettings {
        name: "Theirs".to_owned(),
        partitions: 1,
        cleanup: Cleanup::Retention { ms: None },
    };
    log.create_topic(&theirs).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let database = create_tables(&folder.path().join("tables.db"), &plan).await;
    let told = Arc::new(Told {
        answers: Mutex::new(VecDeque::from([
            Err(SchemasError::Unavailable("it is away".to_owned())),
            Err(SchemasError::NotYet("it has none yet".to_owned())),
            Ok(Arc::new(schema)),
        ])),
        asked: Mutex::default(),
    });
    let record = |id| NewRecord {
        topic: "Theirs".to_owned(),
        partition: Some(0),
        value: Some(value(id).into()),
        ..NewRecord::default()
    };
    log.append(vec![record(1), record(2)]).await.unwrap();
    let schemas = SchemasOf::from([("events".to_owned(), told.clone() as Arc<dyn Schemas>)]);
    let sink = Arc::new(database.clone()) as Arc<dyn Sink>;
    let worker = Worker::reading(
        plan.clone(),
        Arc::new(log.clone()),
        BTreeMap::from([(SINK.to_owned(), sink)]),
        schemas,
        Arc::new(SystemTimer),
        Limits::default(),
    );
    let worker = worker.await.unwrap();
    let control = worker.control();
    let stop = CancellationToken::new();
    let inputs: Vec<_> = worker.inputs(&stop).into_iter().map(tokio::spawn).collect();

    let table = plan.outputs[0].table().unwrap();
    until_blocked(&control, Some("it is away")).await;
    assert!(
        told.asked.lock().iter().all(|id| *id == 1),
        "nor are others"
    );
    told.next();
    until_blocked(&control, Some("it has none yet")).await;
    assert!(
        database
            .rows(table, Columns::Data)
            .await
            .unwrap()
            .is_empty()
    );
    told.next();
    until_blocked(&control, None).await;
    while database.rows(table, Columns::Data).await.unwrap().len() < 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(
        told.asked.lock().contains(&2),
        "both are waited for together"
    );
    let attempts = control.status()[&("events".to_owned(), 0)].work.attempts;
    assert_eq!(attempts, 1, "waiting is no failure");
    stop.cancel();
    for input in inputs {
        input.await.unwrap();
    }
}
