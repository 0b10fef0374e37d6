//! Dead letters, read back from the log.
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Serialize;
use tidewheel_log::{Log, Record, first_record, read_to_end};
use tidewheel_planner::names::PipelineNames;

use crate::dev::pipelines::Pipelines;
use crate::failure::Failure;

/// Values up to this size are kept while dead letters are put in order; larger ones are read again, bytes.
const KEPT_VALUE_BYTES: usize = 16 << 10;

/// A dead letter, its value perhaps still in the log.
#[derive(Debug, Clone)]
pub(crate) struct DeadLetter {
    /// `<namespace>/<name>` of the Pipeline.
    pub(crate) pipeline: String,
    /// A stable word.
    pub(crate) reason: String,
    /// What is wrong, for people.
    pub(crate) message: String,
    /// The step that refused it.
    pub(crate) step: Option<String>,
    /// The field that is wrong.
    pub(crate) field: Option<String>,
    /// The source, or the aggregate step whose input it was.
    pub(crate) source: String,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    value: Value,
}

#[derive(Debug, Clone)]
enum Value {
    Here(Option<Bytes>),
    /// At this offset of the topic of dead letters.
    InLog(String, i64),
}

/// A dead letter as JSON has it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Shown<'a> {
    pipeline: &'a str,
    reason: &'a str,
    message: &'a str,
    step: Option<&'a str>,
    field: Option<&'a str>,
    source: &'a str,
    partition: i32,
    offset: i64,
    /// The original bytes, where they are text.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    /// The original bytes, where they are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
}

impl DeadLetter {
    fn new(pipeline: &str, topic: &str, record: Record) -> Self {
        let header = |name: &str| {
            let found = record.headers.iter().find(|header| header.name == name)?;
            Some(String::from_utf8_lossy(&found.value).into_owned())
        };
        let number = |name: &str| header(name).and_then(|text| text.parse::<i64>().ok());
        let is_large = record
            .value
            .as_ref()
            .is_some_and(|value| value.len() > KEPT_VALUE_BYTES);
        Self {
            pipeline: pipeline.to_owned(),
            reason: header("tidewheel-reason").unwrap_or_default(),
            message: header("tidewheel-message").unwrap_or_default(),
            step: header("tidewheel-step"),
            field: header("tidewheel-field"),
            source: header("tidewheel-source").unwrap_or_default(),
            partition: number("tidewheel-partition")
                .and_then(|partition| i32::try_from(partition).ok())
                .unwrap_or(-1),
            offset: number("tidewheel-offset").unwrap_or(-1),
            value: if is_large {
                Value::InLog(topic.to_owned(), record.offset)
            } else {
                Value::Here(record.value)
            },
        }
    }

    /// With its bytes.
    pub(crate) async fn shown(&self, log: &dyn Log) -> Result<Shown<'_>, Failure> {
        let bytes = match &self.value {
            Value::Here(bytes) => bytes.clone(),
            Value::InLog(topic, offset) => {
                let mut reader = log.reader(topic, 0, *offset).await?;
                let record = first_record(reader.as_mut()).await?;
                record.and_then(|record| record.value)
            }
        };
        let (value, value_base64) = match bytes.as_deref().map(std::str::from_utf8) {
            None => (None, None),
            Some(Ok(text)) => (Some(text.to_owned()), None),
            Some(Err(_)) => (None, bytes.map(|bytes| STANDARD.encode(bytes))),
        };
        Ok(Shown {
            pipeline: &self.pipeline,
            reason: &self.reason,
            message: &self.message,
            step: self.step.as_deref(),
            field: self.field.as_deref(),
            source: &self.source,
            partition: self.partition,
            offset: self.offset,
            value,
            value_base64,
        })
    }
}

/// The dead letters of all pipelines, by where they came from: an order that is the same in every run.
pub(crate) async fn read(log: &dyn Log, pipelines: &Pipelines) -> Result<Vec<DeadLetter>, Failure> {
    let mut letters = Vec::new();
    for pipeline in pipelines.iter() {
        let (namespace, name) = (&pipeline.plan.namespace, &pipeline.plan.name);
        let topic = PipelineNames::new(namespace, name).dead_letters();
        let label = format!("{namespace}/{name}");
        read_to_end(log, &topic, 0, |record| {
            letters.push(DeadLetter::new(&label, &topic, record));
        })
        .await?;
    }
    letters.sort_by(|a, b| {
        let place = |letter: &DeadLetter| (letter.partition, letter.offset);
        (&a.pipeline, &a.source, place(a), &a.step, &a.reason).cmp(&(
            &b.pipeline,
            &b.source,
            place(b),
            &b.step,
            &b.reason,
        ))
    });
    Ok(letters)
}
