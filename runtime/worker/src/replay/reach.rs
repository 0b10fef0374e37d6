//! How far back the topic of a source reaches.
use tidewheel_engine::wire::state::SourceProgress;
use tidewheel_log::{Log, LogError};
use tidewheel_planner::plan::{Plan, Relation, Source, StepKind};

use crate::progress::gone_came_by;

/// The event time, ms, from which on a partition of a source still has every event; none: it has all that the pipeline ever read.
///
/// `first`: where the pipeline began to read it.
pub(super) async fn reaches_back_to(
    log: &dyn Log,
    (source, partition): (&Source, i32),
    progress: Option<&SourceProgress>,
    (first, earliest): (i64, i64),
) -> Result<Option<i64>, LogError> {
    if earliest <= first {
        return Ok(None);
    }
    let gone_ms = gone_came_by(log, (source, partition), progress, earliest).await?;
    // Whatever came by then claimed a time of at most `maxFuture` after that.
    let max_future_ms = i64::try_from(source.max_future_ms).unwrap_or(i64::MAX);
    let reaches_ms = gone_ms
        .unwrap_or(i64::MAX)
        .saturating_add(max_future_ms)
        .saturating_add(1);
    Ok(Some(reaches_ms))
}

/// The longest horizon of the deduplications before a step, ms.
pub(super) fn within_ms(plan: &Plan, step: usize) -> i64 {
    let kind = &plan.steps[step].kind;
    let own_ms = match kind {
        StepKind::Deduplicate(deduplicate) => {
            i64::try_from(deduplicate.within_ms).unwrap_or(i64::MAX)
        }
        StepKind::Rows(_) | StepKind::Aggregate(_) => 0,
    };
    let before = kind.reads().iter().map(|relation| match relation {
        Relation::Step(before) => within_ms(plan, *before),
        Relation::Source(_) => 0,
    });
    // One deduplication after another: what the first has to know reaches back from what the second has to know.
    own_ms.saturating_add(before.max().unwrap_or(0))
}
