//! Which windows lie between two times, and whether workers are done with them.
use std::ops::RangeInclusive;

use tidewheel_engine::window::{first_from, first_open};
use tidewheel_log::Log;
use tidewheel_planner::names::PipelineNames;
use tidewheel_planner::plan::{Late, Plan, StepKind, Window};

use super::{For, ReplayError, ReplayedOutput};
use crate::context::sources_of;
use crate::progress::{self, lowest};

/// Two times, ms since the epoch: windows count that lie between them as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first moment.
    pub from_ms: i64,
    /// The first moment that is not in it any more.
    pub to_ms: i64,
}

/// The starts of the first and of the last window that lie in a range as a whole; none where none does.
pub(super) fn starts_in(window: Window, range: Range) -> Option<RangeInclusive<i64>> {
    let first_ms = first_from(window, range.from_ms)?;
    let last_ms = range
        .to_ms
        .checked_sub(window.size_ms())?
        .div_euclid(window.every_ms())
        .checked_mul(window.every_ms())?;
    (first_ms <= last_ms).then_some(first_ms..=last_ms)
}

/// Fails where workers may still write any of these windows.
pub(super) async fn check_final(
    log: &dyn Log,
    names: &PipelineNames,
    plan: &Plan,
    outputs: &[ReplayedOutput],
    (range, tables): (Range, For),
) -> Result<(), ReplayError> {
    let mut open: Option<(String, Option<i64>)> = None;
    for replayed in outputs {
        let Some(step) = plan.steps.iter().position(|s| s.name == replayed.step) else {
            continue;
        };
        let StepKind::Aggregate(aggregate) = &plan.steps[step].kind else {
            continue;
        };
        let watermark_ms = match tables {
            For::ItsTables => merged_watermark(log, names, replayed).await?,
            For::OtherTables => read_watermark(log, names, plan, step).await?,
        };
        let until_ms = watermark_ms.map(|ms| final_until(aggregate.window, aggregate.late, ms));
        let earlier = open.as_ref().is_none_or(|(_, other)| until_ms < *other);
        if until_ms.is_none_or(|until_ms| until_ms < replayed.end_ms()) && earlier {
            open = Some((replayed.step.clone(), until_ms));
        }
    }
    match open {
        None => Ok(()),
        Some((step, until_ms)) => Err(ReplayError::NotFinal {
            step,
            until_ms: until_ms.filter(|&until_ms| until_ms > range.from_ms),
        }),
    }
}

/// Where the last window ends that takes no more rows at this watermark.
fn final_until(window: Window, late: Late, watermark_ms: i64) -> i64 {
    first_open(window, late, watermark_ms)
        .saturating_sub(window.every_ms())
        .saturating_add(window.size_ms())
}

/// The watermark up to which the tasks of a step have written their windows: the lowest of all, ms; none until each has one.
async fn merged_watermark(
    log: &dyn Log,
    names: &PipelineNames,
    replayed: &ReplayedOutput,
) -> Result<Option<i64>, ReplayError> {
    let tasks = progress::of_step(log, names, &replayed.step, replayed.generation).await?;
    let tasks = tasks.unwrap_or_default();
    Ok(lowest(tasks.iter().map(|task| task.watermark_ms)))
}

/// The watermark up to which the sources of a step were read: the lowest of all partitions, ms; none until each has one.
async fn read_watermark(
    log: &dyn Log,
    names: &PipelineNames,
    plan: &Plan,
    step: usize,
) -> Result<Option<i64>, ReplayError> {
    let mut watermarks_ms = Vec::new();
    for source in sources_of(plan, step) {
        let source = &plan.sources[source];
        let partitions = log.topic(&source.topic).await?;
        for partition in 0..partitions.map_or(0, |topic| topic.partitions) {
            let progress = progress::of_source(log, names, &source.name, partition).await?;
            watermarks_ms.push(progress.and_then(|progress| progress.main.watermark_ms));
        }
    }
    Ok(lowest(watermarks_ms))
}

#[cfg(test)]
mod tests {
    use tidewheel_planner::plan::LatePolicy;

    use super::*;

    fn range(from_ms: i64, to_ms: i64) -> Range {
        Range { from_ms, to_ms }
    }

    #[test]
    fn windows_count_that_lie_in_a_range_as_a_whole() {
        let minutes = Window::Tumbling { size_ms: 60 };
        assert_eq!(starts_in(minutes, range(0, 180)), Some(0..=120));
        assert_eq!(starts_in(minutes, range(1, 179)), Some(60..=60));
        assert_eq!(starts_in(minutes, range(1, 119)), None);
        assert_eq!(starts_in(minutes, range(-61, 0)), Some(-60..=-60));
        assert_eq!(starts_in(minutes, range(180, 0)), None);
        let hopping = Window::overlapping(60, 20);
        assert_eq!(starts_in(hopping, range(10, 119)), Some(20..=40));
        assert_eq!(starts_in(minutes, range(i64::MAX, i64::MIN)), None);
    }

    #[test]
    fn windows_are_final_once_they_take_no_more_rows() {
        let late = Late {
            allowed_ms: 30,
            policy: LatePolicy::Amend,
        };
        let minutes = Window::Tumbling { size_ms: 60 };
        assert_eq!(final_until(minutes, late, 149), 60);
        assert_eq!(final_until(minutes, late, 150), 120);
        let hopping = Window::overlapping(60, 20);
        assert_eq!(final_until(hopping, late, 89), 40);
        assert_eq!(final_until(hopping, late, 90), 60);
    }
}
