//! Whether a source's topic is still the one that a task's progress speaks of: a topic that was deleted and made anew has the same name,
//! and offsets that mean something else. The log tells the two apart by no id that clients could ask for.
use tidewheel_engine::wire::state::SourceProgress;
use tidewheel_log::{Log, Offsets, first_record};

use crate::error::AttemptError;

/// Fails where the partition cannot be the one that `progress` was made in: it ends before, or its last covered record was appended
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
