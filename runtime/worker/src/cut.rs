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
use tidewheel_engine::window::{first_from, first_open, rows_from};
use tidewheel_engine::wire::state::{SourceProgress, StepProgress};
use tidewheel_log::Log;
use tidewheel_planner::generations::{AllottedStep, NotRecomputed};
use tidewheel_planner::names::PipelineNames;
use tidewheel_planner::plan::{Late, LatePolicy, Plan, Window};
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

/// Where a generation begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Cut {
    /// The start of its first window, ms; none: nothing before it is final.
    pub(crate) at_ms: Option<i64>,
    /// What it cannot compute anew.
    pub(crate) not_recomputed: Option<NotRecomputed>,
    /// See [`AllottedStep::rows_until_ms`].
    pub(crate) rows_until_ms: Option<i64>,
}

/// Where a step's new generation begins, at `at_most_ms` if that can be.
pub(crate) async fn cut(
    log: &dyn Log,
    names: &PipelineNames,
    plan: &Plan,
    new: &Begun<'_>,
    at_most_ms: Option<i64>,
) -> Result<Cut, WorkerError> {
    let (step, window) = (new.step, new.window);
    if new.before.is_empty() && at_most_ms.is_none() {
        return Ok(Cut::default());
    }
    let kept_from_ms = kept_from(log, names, plan, step).await?;
    if new.before.is_empty() {
        // It has no windows yet, but those over it have.
        let is_whole = at_most_ms.is_none_or(|ms| kept_from_ms <= rows_from(window, ms));
        return Ok(Cut {
            at_ms: (!is_whole).then(|| first_whole(window, kept_from_ms)),
            ..Cut::default()
        });
    }
    let mut cut = Cut::default();
    for &(name, before) in &new.before {
        let open_ms = first_open_window(log, names, name, before).await?;
        let ends = Ends {
            final_ms: open_ms.max(before.cut_ms),
            begin_ms: open_ms
                .map(|ms| at_most_ms.map_or(ms, |at_most_ms| ms.min(at_most_ms)))
                .max(before.cut_ms),
        };
        let after = cut_after(ends, before, window, kept_from_ms);
        if let Some(windows) = after.not_recomputed {
            tracing::warn!(
                step = plan.steps[step].name,
                windows.from_ms,
                windows.until_ms,
                "retention has taken events of windows that a changed step would compute anew: those before the cut stay as they are"
            );
        }
        cut = cut.and(after);
    }
    cut.at_ms = cut.at_ms.filter(|&at_ms| at_ms > i64::MIN);
    Ok(cut)
}

impl Cut {
    /// The cut after what this one comes after, and `other` too.
    pub(crate) fn and(self, other: Self) -> Self {
        let both = self.not_recomputed.zip(other.not_recomputed);
        let all = both.map(|(one, other)| NotRecomputed {
            from_ms: one.from_ms.min(other.from_ms),
            until_ms: one.until_ms.max(other.until_ms),
        });
        Self {
            at_ms: self.at_ms.max(other.at_ms),
            not_recomputed: all.or(self.not_recomputed).or(other.not_recomputed),
            rows_until_ms: self.rows_until_ms.max(other.rows_until_ms),
        }
    }
}

/// Where a generation ends.
#[derive(Debug, Clone, Copy)]
struct Ends {
    /// Its windows before this are final, ms.
    final_ms: Option<i64>,
    /// The next one is to begin here or before, ms: earlier than that where windows over its windows need theirs.
    begin_ms: Option<i64>,
}

/// The cut after one generation, where events before `kept_from_ms` are gone.
fn cut_after(ends: Ends, before: &AllottedStep, window: Window, kept_from_ms: i64) -> Cut {
    let Ends { final_ms, begin_ms } = ends;
    let together_ms = begin_ms.and_then(|begin_ms| together(begin_ms, before, window));
    let from_ms = match (together_ms, begin_ms) {
        (Some(together_ms), _) => rows_from(window, together_ms),
        (None, begin_ms) => begin_ms.unwrap_or(i64::MIN),
    };
    if kept_from_ms <= from_ms {
        return Cut {
            at_ms: together_ms.or(begin_ms),
            ..Cut::default()
        };
    }
    let whole_ms = first_whole(window, kept_from_ms);
    // Where everything that lacks events is final, nothing stays open.
    let is_open = final_ms.is_none_or(|final_ms| final_ms < whole_ms);
    Cut {
        at_ms: begin_ms.max(Some(whole_ms)),
        not_recomputed: is_open.then_some(NotRecomputed {
            from_ms: final_ms,
            until_ms: whole_ms,
        }),
        ..Cut::default()
    }
}

/// The start of the first window that has lost none of its events where those before `kept_from_ms` are gone.
pub(crate) fn first_whole(window: Window, kept_from_ms: i64) -> i64 {
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
            let gone_ms = gone_ms.min(newest_of(&progress, earliest).unwrap_or(i64::MAX));
            kept_from_ms = kept_from_ms.max(gone_ms.saturating_add(1));
        }
    }
    Ok(kept_from_ms)
}

/// The newest time of the records before `earliest`, or a later one, ms; none where they were not all read, or none had a time, or
/// nobody knows how far their watermark was behind them.
fn newest_of(progress: &SourceProgress, earliest: i64) -> Option<i64> {
    let all_were_read = earliest <= progress.main.next_offset;
    let watermark_ms = match next_checkpoint(progress, earliest) {
        Some(checkpoint) => checkpoint.event_watermark_ms,
        None => progress.event_watermark_ms.filter(|_| all_were_read),
    }?;
    Some(watermark_ms.saturating_add(progress.out_of_order?.most_ms))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

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
            not_recomputed: None,
            rows_until_ms: None,
            feeders: BTreeMap::new(),
            oldest: BTreeMap::new(),
            outputs: BTreeSet::new(),
            retired: false,
        }
    }

    /// Nobody needs anything that is final.
    fn at(final_ms: Option<i64>) -> Ends {
        Ends {
            final_ms,
            begin_ms: final_ms,
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
    fn windows_that_lost_events_and_were_not_final_stay() {
        let after = |final_ms, kept_from_ms| {
            cut_after(at(final_ms), &before(60, None), tumbling(60), kept_from_ms)
        };
        let stay = |from_ms, until_ms| Some(NotRecomputed { from_ms, until_ms });
        let cut = |at_ms, not_recomputed| Cut {
            at_ms,
            not_recomputed,
            ..Cut::default()
        };
        assert_eq!(after(Some(120), 120), cut(Some(120), None));
        assert_eq!(after(Some(120), 121), cut(Some(180), stay(Some(120), 180)));
        assert_eq!(after(None, 121), cut(Some(180), stay(None, 180)));
        assert_eq!(after(None, i64::MIN), cut(None, None));
        // The windows of both sizes begin together at 120 only, where events are gone; those of 15 that are not final begin at 130.
        let smaller = cut_after(at(Some(130)), &before(10, None), tumbling(60), 125);
        assert_eq!(smaller, cut(Some(180), stay(Some(130), 180)));
    }

    #[test]
    fn what_is_final_and_needed_again_is_computed_as_far_as_it_can_be() {
        let ends = Ends {
            final_ms: Some(240),
            begin_ms: Some(60),
        };
        let after = |kept_from_ms| cut_after(ends, &before(60, None), tumbling(60), kept_from_ms);
        let cut = |at_ms, not_recomputed| Cut {
            at_ms,
            not_recomputed,
            ..Cut::default()
        };
        assert_eq!(after(0), cut(Some(60), None));
        assert_eq!(after(61), cut(Some(120), None));
        let stay = NotRecomputed {
            from_ms: Some(240),
            until_ms: 300,
        };
        assert_eq!(after(241), cut(Some(300), Some(stay)));
    }

    #[test]
    fn what_stays_of_several_is_told_as_one() {
        let one = cut_after(at(Some(120)), &before(60, None), tumbling(60), 121);
        let other = cut_after(at(Some(60)), &before(60, None), tumbling(60), 121);
        let expected = NotRecomputed {
            from_ms: Some(60),
            until_ms: 180,
        };
        assert_eq!(one.and(other).not_recomputed, Some(expected));
        assert_eq!(Cut::default().and(one), one);
        assert_eq!(one.and(Cut::default()), one);
    }

    #[test]
    fn sizes_that_never_meet_within_the_calendar_do_not_overflow() {
        assert_eq!(
            together(50, &before(i64::MAX, None), tumbling(i64::MAX - 1)),
            None
        );
    }
}
