//! Letters as people and programs are shown them.
use serde::Serialize;
use tidewheel_engine::wire::sent_again::Target;

use super::letters::Found;
use crate::view::text::timestamp;

/// A message longer than this is cut in tables, characters.
pub(super) const MESSAGE_CHARS: usize = 80;

/// A letter as JSON has it, without its bytes.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ShownLetter {
    /// Among the dead letters.
    offset: i64,
    at: String,
    reason: String,
    message: String,
    step: Option<String>,
    output: Option<String>,
    field: Option<String>,
    source: String,
    topic: Option<String>,
    partition: i32,
    /// In the source.
    source_offset: i64,
    bytes: Option<usize>,
    sent_again: Option<String>,
    /// Why it cannot be sent again.
    cannot_be_sent: Option<String>,
}

impl ShownLetter {
    pub(super) fn new(found: &Found) -> Self {
        let letter = &found.letter;
        let (step, output) = step_and_output(found);
        Self {
            offset: found.offset,
            at: timestamp(found.at_ms),
            reason: letter.reason.clone(),
            message: letter.message.clone(),
            step,
            output,
            field: letter.field.clone(),
            source: letter.input.clone(),
            topic: letter.topic.clone(),
            partition: letter.partition,
            source_offset: letter.offset,
            bytes: found.value_bytes,
            sent_again: found.sent_ms.map(timestamp),
            cannot_be_sent: letter.targets().err().map(|cannot| cannot.to_string()),
        }
    }
}

/// The step that refused it, or the output whose Sink did.
pub(super) fn step_and_output(found: &Found) -> (Option<String>, Option<String>) {
    match found.letter.target() {
        Some(Target::Step(name)) => (Some(name), None),
        Some(Target::Output(name)) => (None, Some(name)),
        None => (None, None),
    }
}

/// Where in the pipeline it happened, in few words.
pub(super) fn place(found: &Found) -> String {
    match (found.letter.target(), &found.letter.field) {
        (Some(target), _) => target.to_string(),
        (None, Some(field)) => format!("field {field}"),
        (None, None) => "the event".to_owned(),
    }
}

/// Whom it is for when it is sent again.
pub(super) fn audience(targets: &[Target]) -> String {
    let Some(last) = targets.last() else {
        return "all of the pipeline".to_owned();
    };
    let others = targets[..targets.len() - 1].iter();
    let others: String = others.map(|target| format!(", behind {target}")).collect();
    match last {
        Target::Step(_) => format!("{last} and what it feeds{others}"),
        Target::Output(_) => format!("{last}{others}"),
    }
}
