//! Whether topics are still those that a task has worked with: one that was deleted and made anew has the same name, and offsets that mean
//! something else. The log tells the two apart by no id that clients could ask for.
use std::collections::BTreeMap;

use tidewheel_engine::Position;
use tidewheel_engine::wire::state::SourceProgress;
use tidewheel_log::{Log, Offsets, first_record};

use crate::error::AttemptError;
use crate::status::TaskKey;

/// Fails where the partition of a source cannot be the one that `progress` was made in: it ends before, or its last covered record was appended
/// later than any that was covered.
pub(crate) async fn check(
    log: &dyn Log,
    topic: &str,
    partition: i32,
    progress: &SourceProgress,
    offsets: Offsets,
) -> Result<(), AttemptError> {
    let covered = progress.main.next_offset;
    let made_anew = |evidence: String| {
        Err(AttemptError::MadeAnew {
            topic: topic.to_owned(),
            partition,
            covered,
            evidence,
        })
    };
    if offsets.end < covered {
        return made_anew(format!("it ends at offset {}", offsets.end));
    }
    let (last, Some(covered_ms)) = (covered - 1, progress.append_time_ms) else {
        return Ok(());
    };
    if last < offsets.earliest {
        return Ok(());
    }
    let mut reader = log.reader(topic, partition, last).await?;
    let found = first_record(reader.as_mut()).await?;
    match found.filter(|record| record.offset == last) {
        Some(record) if record.append_time_ms > covered_ms => {
            made_anew(format!("offset {last} holds another record"))
        }
        _ => Ok(()),
    }
}

/// Fails where a task without progress has written tables: it says in its state where it begins before it writes anything. A partition of
/// the state topic in which nothing ever was is another one; where something was, that first word may only not have been committed.
pub(crate) async fn check_state(
    log: &dyn Log,
    topic: &str,
    key: &TaskKey,
    written: &BTreeMap<String, Position>,
) -> Result<(), AttemptError> {
    if written.is_empty() || log.offsets(topic, key.1).await?.end > 0 {
        return Ok(());
    }
    let outputs = written
        .iter()
        .map(|(name, at)| format!("output {name} was written up to offset {}", at.next_offset));
    Err(AttemptError::StateGone {
        key: key.clone(),
        topic: topic.to_owned(),
        outputs: outputs.collect::<Vec<_>>().join(", "),
    })
}
