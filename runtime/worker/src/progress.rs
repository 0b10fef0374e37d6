//! How far tasks have come and what of a source is gone, as the log says it.
use tidewheel_engine::wire::state::{
    Checkpoint, SOURCE_PROGRESS_KEY, SourceProgress, StepKey, StepProgress,
};
use tidewheel_log::{Log, LogError, first_record};
use tidewheel_planner::names::PipelineNames;
use tidewheel_planner::plan::Source;

use crate::error::WorkerError;
use crate::recovery::read_compacted;

/// The progress of the task of a source partition; none where it has not begun.
pub(crate) async fn of_source(
    log: &dyn Log,
    names: &PipelineNames,
    source: &str,
    partition: i32,
) -> Result<Option<SourceProgress>, WorkerError> {
    let topic = names.state(source);
    if log.topic(&topic).await?.is_none() {
        return Ok(None);
    }
    let state = read_compacted(log, &topic, partition).await?;
    let progress = state
        .get(SOURCE_PROGRESS_KEY.as_bytes())
        .map(|bytes| SourceProgress::decode(bytes))
        .transpose();
    progress.map_err(WorkerError::Progress)
}

/// The progress of every task of a generation of an aggregate step; none where one of them has not begun.
pub(crate) async fn of_step(
    log: &dyn Log,
    names: &PipelineNames,
    step: &str,
    generation: i64,
) -> Result<Option<Vec<StepProgress>>, WorkerError> {
    let topic = names.state(step);
    let Some(info) = log.topic(&topic).await? else {
        return Ok(None);
    };
    let key = StepKey::Progress.encode(generation);
    let mut tasks = Vec::new();
    for partition in 0..info.partitions {
        let state = read_compacted(log, &topic, partition).await?;
        let Some(bytes) = state.get(&key) else {
            return Ok(None);
        };
        tasks.push(StepProgress::decode(bytes)?);
    }
    Ok(Some(tasks))
}

/// The lowest of some times, all of which have to be there; none of none.
pub(crate) fn lowest(all: impl IntoIterator<Item = Option<i64>>) -> Option<i64> {
    let all: Option<Vec<i64>> = all.into_iter().collect();
    all?.into_iter().min()
}

/// When the records before `earliest`, which are gone, had come at the latest, ms; none where nothing is known of any.
///
/// In somebody else's topic the records that follow may claim that they came before those.
pub(crate) async fn gone_came_by(
    log: &dyn Log,
    (source, partition): (&Source, i32),
    progress: Option<&SourceProgress>,
    earliest: i64,
) -> Result<Option<i64>, LogError> {
    let mut reader = log.reader(&source.topic, partition, earliest).await?;
    let oldest = first_record(reader.as_mut()).await?;
    let oldest_ms = oldest.map(|record| record.append_time_ms);
    let told_ms = match oldest_ms.is_none() || source.foreign {
        true => progress.and_then(|progress| told_at(progress, earliest)),
        false => None,
    };
    Ok(oldest_ms.max(told_ms))
}

/// The first position at `offset` or behind it that a task remembers.
pub(crate) fn next_checkpoint(progress: &SourceProgress, offset: i64) -> Option<&Checkpoint> {
    let mut checkpoints = progress.checkpoints.iter();
    checkpoints.find(|checkpoint| checkpoint.position.next_offset >= offset)
}

/// When the records before `earliest` had come at the latest, ms, as far as it is known.
fn told_at(progress: &SourceProgress, earliest: i64) -> Option<i64> {
    next_checkpoint(progress, earliest)
        .map(|checkpoint| checkpoint.append_time_ms)
        .or(progress.append_time_ms)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn every_partition_has_to_have_a_watermark() {
        assert_eq!(lowest([Some(7), Some(5)]), Some(5));
        assert_eq!(lowest([Some(7), None]), None);
        assert_eq!(lowest([]), None);
    }

    #[test]
    fn what_is_gone_had_come_by_the_next_checkpoint() {
        let checkpoint = |next_offset: i64, append_time_ms: i64| {
            format!(
                r#"{{"position":{{"next_offset":{next_offset},"watermark_ms":null}},"event_watermark_ms":null,"append_time_ms":{append_time_ms}}}"#
            )
        };
        let progress = format!(
            r#"{{"version":1,"revision":1,"start_offset":0,"main":{{"next_offset":30,"watermark_ms":null}},"append_time_ms":300,
            "event_watermark_ms":null,"steps":{{}},"outputs":{{}},"checkpoints":[{},{}]}}"#,
            checkpoint(10, 100),
            checkpoint(20, 200)
        );
        let progress = SourceProgress::decode(progress.as_bytes()).unwrap();
        let told: Vec<_> = [5, 10, 11, 21].map(|at| told_at(&progress, at)).to_vec();
        assert_eq!(told, [Some(100), Some(100), Some(200), Some(300)]);
    }
}
