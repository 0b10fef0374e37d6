//! The cut between two generations of an aggregate step: windows that start before it stay as the old generation wrote them, those
//! from it on are deleted and computed anew.
//!
//! ```text
//!  old, 10 s   |....|....|....|....|    final up to here: F
//!  new, 15 s   |......|......|......|
//!              ^ cut             ^ F
//! ```
//!
//! No event may be counted in two windows that stay, or in none, but where windows overlap anyway. So the cut is the last moment up to `F` at which an old and a new window begin
//! together. Where that cannot be, because an even older generation wrote windows since then, the cut is `F` itself, and events between it
//! and the first new window that starts after it are in none.
//!
//! Where retention has taken events since then, the cut is where the first window begins that has lost none, but not before `F`: open
//! windows before it stay as they are, though they are not final, because nobody can tell any more what belongs to them.
//!
//! Of sessions `F` is where the first begins that is not final. A session belongs to the generation under which it begins: the new one reads
//! from the gap before the cut, and leaves out what began before it. Where sessions become windows of another kind or the other way round,
//! those over the cut stay as they are or have no row.
use std::collections::BTreeMap;

use tidewheel_engine::chain::{self, first_needed};
use tidewheel_engine::window::{first_from, first_open, last_start, rows_from};
use tidewheel_engine::wire::state::{SourceProgress, StepProgress};
use tidewheel_log::Log;
use tidewheel_planner::generations::AllottedStep;
use tidewheel_planner::names::PipelineNames;
use tidewheel_planner::plan::{Late, LatePolicy, Plan, Source, Window};
use tidewheel_planner::window::greatest_common_divisor;

use crate::context::sources_of;
use crate::error::WorkerError;
use crate::progress::{self, gone_came_by, lowest, next_checkpoint};

/// A new generation of a step.
pub(crate) struct Begun<'a> {
    /// Index into the plan's steps.
    pub(crate) step: usize,
    /// Its windows.
    pub(crate) window: Window,
    /// What was before, under its own name or another.
    pub(crate) before: Vec<(&'a String, &'a AllottedStep)>,
}

/// Where new generations begin, by step, ms; none: nothing of what was before is final. `begun`: in the order of the plan.
///
/// Windows over windows need all rows of the inner ones. So those begin anew far enough back, though they may be final; and where they cannot,
/// because retention has taken events or because they were sessions, the outer ones begin where they have all rows: outer windows before that
/// stay as they are, those that were still open, too.
pub(crate) async fn cuts(
    log: &dyn Log,
    names: &PipelineNames,
    plan: &Plan,
    begun: &[Begun<'_>],
) -> Result<BTreeMap<usize, Option<i64>>, WorkerError> {
    let mut cuts: BTreeMap<usize, Option<i64>> = BTreeMap::new();
    for new in begun.iter().rev() {
        let mut at_most_ms = None;
        for outer in begun
            .iter()
            .filter(|outer| plan.fed_by(outer.step) == Some(new.step))
        {
            let needed_ms = match (cuts.get(&outer.step).copied().flatten(), &outer.before[..]) {
                (Some(cut_ms), _) => first_needed(new.window, rows_from(outer.window, cut_ms)),
                (None, []) => {
                    // It begins with the window that is open now.
                    let open_ms = cut(log, names, plan, new, None).await?;
                    open_ms.and_then(|ms| first_needed(new.window, last_start(outer.window, ms)))
                }
                (None, _) => Some(i64::MIN),
            };
            at_most_ms = lower(at_most_ms, needed_ms);
        }
        cuts.insert(new.step, cut(log, names, plan, new, at_most_ms).await?);
    }
    for outer in begun {
        let inner = plan.fed_by(outer.step);
        let inner = begun.iter().find(|new| Some(new.step) == inner);
        let Some((inner, Some(inner_ms))) =
            inner.and_then(|inner| Some((inner, *cuts.get(&inner.step)?)))
        else {
            continue;
        };
        let rows_ms = written_until(log, names, inner)
            .await?
            .max(chain::rows_from(inner.window, inner_ms));
        let own_ms = cuts.get(&outer.step).copied().flatten();
        if own_ms.is_none_or(|own_ms| rows_from(outer.window, own_ms) < rows_ms) {
            let cut_ms = first_whole(outer.window, rows_ms);
            tracing::warn!(
                step = plan.steps[outer.step].name,
                cut_ms,
                "a changed step aggregates windows of which some are not written again: its own windows before the cut stay as they are"
            );
            cuts.insert(outer.step, Some(cut_ms));
        }
    }
    Ok(cuts)
}

fn lower(a: Option<i64>, b: Option<i64>) -> Option<i64> {
    a.into_iter().chain(b).min()
}

/// Up to when there may be rows of sessions that an earlier generation has written and a new one does not write again, ms: those that began
/// before the cut.
async fn written_until(
    log: &dyn Log,
    names: &PipelineNames,
    inner: &Begun<'_>,
) -> Result<i64, WorkerError> {
    let mut until_ms = i64::MIN;
    if let Window::Session { .. } = inner.window {
        for (name, before) in &inner.before {
            let tasks = progress::of_step(log, names, name, before.number).await?;
            let watermarks = tasks.iter().flatten().filter_map(|task| task.watermark_ms);
            until_ms = watermarks.fold(until_ms, i64::max);
        }
    }
    Ok(until_ms)
}

/// Where a step's new generation begins, at `at_most_ms` if that can be, ms; none: nothing of what was before it is final.
async fn cut(
    log: &dyn Log,
    names: &PipelineNames,
    plan: &Plan,
    new: &Begun<'_>,
    at_most_ms: Option<i64>,
) -> Result<Option<i64>, WorkerError> {
    let (step, window) = (new.step, new.window);
    if new.before.is_empty() && at_most_ms.is_none() {
        return Ok(None);
    }
    let kept_from_ms = kept_from(log, names, plan, step).await?;
    let mut cut_ms = None;
    if new.before.is_empty() {
        // It has no windows yet, but those over it have.
        let is_whole = at_most_ms.is_none_or(|ms| kept_from_ms <= rows_from(window, ms));
        return Ok((!is_whole).then(|| first_whole(window, kept_from_ms)));
    }
    for &(name, before) in &new.before {
        let open_ms = first_open_window(log, names, name, before).await?;
        let open_ms = open_ms.map(|ms| at_most_ms.map_or(ms, |at_most_ms| ms.min(at_most_ms)));
        let final_ms = open_ms.max(before.cut_ms);
        let (whole_ms, taken) = cut_after(final_ms, before, window, kept_from_ms);
        if taken {
            tracing::warn!(
                step = plan.steps[step].name,
                final_ms,
                cut_ms = whole_ms,
                "retention has taken events of windows that a changed step would compute anew: those before the cut stay as they are"
            );
        }
        cut_ms = cut_ms.max(whole_ms);
    }
    Ok(cut_ms.filter(|&cut_ms| cut_ms > i64::MIN))
}

/// The cut after one generation, and whether retention moved it: events before `kept_from_ms` are gone.
fn cut_after(
    final_ms: Option<i64>,
    before: &AllottedStep,
    window: Window,
    kept_from_ms: i64,
) -> (Option<i64>, bool) {
    let together_ms = final_ms.and_then(|final_ms| together(final_ms, before, window));
    let from_ms = match (together_ms, final_ms) {
        (Some(together_ms), _) => rows_from(window, together_ms),
        (None, final_ms) => final_ms.unwrap_or(i64::MIN),
    };
    match kept_from_ms <= from_ms {
        true => (together_ms.or(final_ms), false),
        false => (final_ms.max(Some(first_whole(window, kept_from_ms))), true),
    }
}

/// The start of the first window that has lost none of its events where those before `kept_from_ms` are gone.
fn first_whole(window: Window, kept_from_ms: i64) -> i64 {
    match window {
        Window::Session { gap_ms } => kept_from_ms.saturating_add(gap_ms),
        _ => first_from(window, kept_from_ms).unwrap_or(i64::MAX),
    }
}

/// The last moment up to `final_ms` at which a window of the generation before and one of these begin together, unless it lies in what an
/// even older generation wrote.
fn together(final_ms: i64, before: &AllottedStep, window: Window) -> Option<i64> {
    let (before_ms, every_ms) = (before.window().every_ms(), window.every_ms());
    let common_ms =
        before_ms.checked_mul(every_ms / greatest_common_divisor(before_ms, every_ms))?;
    let together_ms = final_ms.div_euclid(common_ms).checked_mul(common_ms)?;
    (before.cut_ms.is_none_or(|cut_ms| cut_ms <= together_ms)).then_some(together_ms)
}

/// The start of the first window of a generation that may still change: no partition of any source can add to those before it.
async fn first_open_window(
    log: &dyn Log,
    names: &PipelineNames,
    step: &str,
    of: &AllottedStep,
) -> Result<Option<i64>, WorkerError> {
    let Some(tasks) = progress::of_step(log, names, step, of.number).await? else {
        return Ok(None);
    };
    let late = Late {
        allowed_ms: of.allowed_ms,
        policy: LatePolicy::Amend,
    };
    let open_ms = |task: &StepProgress| {
        let open_ms = first_open(of.window(), late, task.watermark_ms?);
        Some((task.sessions_from_ms).map_or(open_ms, |from_ms| from_ms.min(open_ms)))
    };
    Ok(lowest(tasks.iter().map(open_ms)))
}

/// The event time from which on the log still has every event of the sources that feed a step, ms.
async fn kept_from(
    log: &dyn Log,
    names: &PipelineNames,
    plan: &Plan,
    step: usize,
) -> Result<i64, WorkerError> {
    let mut kept_from_ms = i64::MIN;
    for source in sources_of(plan, step) {
        let source = &plan.sources[source];
        let max_future_ms = i64::try_from(source.max_future_ms).unwrap_or(i64::MAX);
        let partitions = log.topic(&source.topic).await?;
        for partition in 0..partitions.map_or(0, |topic| topic.partitions) {
            let earliest = log.offsets(&source.topic, partition).await?.earliest;
            let progress = progress::of_source(log, names, &source.name, partition).await?;
            let Some(progress) = progress.filter(|progress| progress.start_offset < earliest)
            else {
                continue;
            };
            let place = (source, partition);
            let came_ms = gone_came_by(log, place, Some(&progress), earliest).await?;
            // Where nothing was ever read, no window lacks anything that had been in it.
            let Some(came_ms) = came_ms else { continue };
            // Whatever came by then claimed a time of at most `maxFuture` after that.
            let gone_ms = came_ms.saturating_add(max_future_ms);
            let gone_ms = gone_ms.min(newest_of(source, &progress, earliest).unwrap_or(i64::MAX));
            kept_from_ms = kept_from_ms.max(gone_ms.saturating_add(1));
        }
    }
    Ok(kept_from_ms)
}

/// The newest time of the records before `earliest`, or a later one, ms; none where they were not all read, or none had a time.
fn newest_of(source: &Source, progress: &SourceProgress, earliest: i64) -> Option<i64> {
    let all_were_read = earliest <= progress.main.next_offset;
    let watermark_ms = match next_checkpoint(progress, earliest) {
        Some(checkpoint) => checkpoint.event_watermark_ms,
        None => progress.event_watermark_ms.filter(|_| all_were_read),
    }?;
    let out_of_order_ms = i64::try_from(source.max_out_of_order_ms).unwrap_or(i64::MAX);
    Some(watermark_ms.saturating_add(out_of_order_ms))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn before(size_ms: i64, cut_ms: Option<i64>) -> AllottedStep {
        AllottedStep {
            fingerprint: String::new(),
            number: 1,
            cut_ms,
            size_ms,
            every_ms: None,
            gap_ms: None,
            allowed_ms: 0,
            feeders: BTreeMap::new(),
            outputs: BTreeSet::new(),
            retired: false,
        }
    }

    fn tumbling(size_ms: i64) -> Window {
        Window::Tumbling { size_ms }
    }

    #[test]
    fn where_windows_overlap_their_starts_count_and_not_their_size() {
        let hopping = Window::overlapping(60, 20);
        let overlapped = AllottedStep {
            every_ms: Some(20),
            ..before(60, None)
        };
        assert_eq!(together(130, &overlapped, hopping), Some(120));
        assert_eq!(together(150, &overlapped, hopping), Some(140));
        assert_eq!(together(150, &overlapped, tumbling(60)), Some(120));
        assert_eq!(together(150, &before(30, None), hopping), Some(120));
    }

    #[test]
    fn sessions_begin_anywhere() {
        let sessions = Window::Session { gap_ms: 60 };
        let before_them = AllottedStep {
            gap_ms: Some(60),
            ..before(60, None)
        };
        assert_eq!(together(123, &before_them, sessions), Some(123));
        assert_eq!(together(123, &before_them, tumbling(60)), Some(120));
        assert_eq!(together(123, &before(60, None), sessions), Some(120));
    }

    #[test]
    fn windows_of_one_size_go_on_where_the_old_ones_end() {
        assert_eq!(together(120, &before(60, None), tumbling(60)), Some(120));
    }

    #[test]
    fn sizes_that_divide_go_back_to_the_start_of_the_larger_window() {
        assert_eq!(together(180, &before(60, None), tumbling(30)), Some(180));
        assert_eq!(together(180, &before(60, None), tumbling(120)), Some(120));
        assert_eq!(together(-60, &before(60, None), tumbling(120)), Some(-120));
    }

    #[test]
    fn sizes_that_do_not_divide_go_back_to_where_both_begin() {
        assert_eq!(together(50, &before(10, None), tumbling(15)), Some(30));
        assert_eq!(together(20, &before(10, None), tumbling(15)), Some(0));
    }

    #[test]
    fn nothing_goes_back_into_an_even_older_generation() {
        assert_eq!(together(50, &before(10, Some(30)), tumbling(15)), Some(30));
        assert_eq!(together(50, &before(10, Some(31)), tumbling(15)), None);
    }

    #[test]
    fn a_window_is_whole_that_begins_when_the_first_kept_event_may_have_happened_or_later() {
        let starts = [-1, 0, 1, 60].map(|kept_ms| first_whole(tumbling(60), kept_ms));
        assert_eq!(starts, [0, 0, 60, 60]);
        assert_eq!(first_whole(Window::overlapping(60, 20), 21), 40);
        assert_eq!(first_whole(Window::Session { gap_ms: 30 }, 21), 51);
        assert_eq!(first_whole(tumbling(60), i64::MAX), i64::MAX);
    }

    #[test]
    fn sizes_that_never_meet_within_the_calendar_do_not_overflow() {
        assert_eq!(
            together(50, &before(i64::MAX, None), tumbling(i64::MAX - 1)),
            None
        );
    }
}
