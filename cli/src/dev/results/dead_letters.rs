//! Dead letters, read back from the log.
use bytes::Bytes;
use serde::Serialize;
use tidewheel_engine::wire::dead_letter::Letter;
use tidewheel_log::{Log, Record, first_record};
use tidewheel_planner::names::PipelineNames;

use crate::dead_letters::bytes::text_or_base64;
use crate::dead_letters::letters::each_letter;
use crate::dev::pipelines::Pipelines;
use crate::failure::Failure;

/// Values up to this size are kept while dead letters are put in order; larger ones are read again, bytes.
const KEPT_VALUE_BYTES: usize = 16 << 10;

/// A dead letter, its value perhaps still in the log.
#[derive(Debug, Clone)]
pub(crate) struct DeadLetter {
    /// `<namespace>/<name>` of the Pipeline.
    pub(crate) pipeline: String,
    /// What is wrong, and where it came from.
    pub(crate) letter: Letter,
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
pub(crate) struct ShownLetter<'a> {
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
    fn new(pipeline: &str, topic: &str, letter: Letter, record: Record) -> Self {
        let is_large = record
            .value
            .as_ref()
            .is_some_and(|value| value.len() > KEPT_VALUE_BYTES);
        Self {
            pipeline: pipeline.to_owned(),
            letter,
            value: if is_large {
                Value::InLog(topic.to_owned(), record.offset)
            } else {
                Value::Here(record.value)
            },
        }
    }

    /// With its bytes.
    pub(crate) async fn shown(&self, log: &dyn Log) -> Result<ShownLetter<'_>, Failure> {
        let bytes = match &self.value {
            Value::Here(bytes) => bytes.clone(),
            Value::InLog(topic, offset) => {
                let mut reader = log.reader(topic, 0, *offset).await?;
                let record = first_record(reader.as_mut()).await?;
                record.and_then(|record| record.value)
            }
        };
        let (value, value_base64) = text_or_base64(bytes.as_deref());
        let letter = &self.letter;
        Ok(ShownLetter {
            pipeline: &self.pipeline,
            reason: &letter.reason,
            message: &letter.message,
            step: letter.step.as_deref(),
            field: letter.field.as_deref(),
            source: &letter.input,
            partition: letter.partition,
            offset: letter.offset,
            value,
            value_base64,
        })
    }
}

/// The dead letters of all pipelines, by where they came from: an order that is the same in every run.
pub(crate) async fn read(log: &dyn Log, pipelines: &Pipelines) -> Result<Vec<DeadLetter>, Failure> {
    let mut letters = Vec::new();
    for pipeline in pipelines.iter() {
        let plan = &pipeline.plan;
        let topic = PipelineNames::new(&plan.namespace, &plan.name).dead_letters();
        let label = plan.full_name();
        each_letter(log, &topic, |letter, record| {
            letters.push(DeadLetter::new(&label, &topic, letter, record));
        })
        .await?;
    }
    letters.sort_by(|a, b| {
        let place = |letter: &Letter| (letter.partition, letter.offset);
        let (of_a, of_b) = (&a.letter, &b.letter);
        (
            &a.pipeline,
            &of_a.input,
            place(of_a),
            &of_a.step,
            &of_a.reason,
        )
            .cmp(&(
                &b.pipeline,
                &of_b.input,
                place(of_b),
                &of_b.step,
                &of_b.reason,
            ))
    });
    Ok(letters)
}
