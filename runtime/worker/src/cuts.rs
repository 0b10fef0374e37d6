//! The cuts of all steps that begin a new generation together, so that windows over windows have all rows of those that they are made of.
use std::collections::BTreeMap;

use tidewheel_engine::chain::{self, first_needed};
use tidewheel_engine::window::{last_start, rows_from};
use tidewheel_log::Log;
use tidewheel_planner::generations::NotRecomputed;
use tidewheel_planner::names::PipelineNames;
use tidewheel_planner::plan::{Plan, Window};

use crate::cut::{Begun, Cut, cut, first_whole};
use crate::error::WorkerError;
use crate::progress;

/// Where new generations begin, by step. `begun`: in the order of the plan.
///
/// Windows over windows need all rows of the inner ones. So those begin anew far enough back, though they may be final; and where they cannot,
/// because retention has taken events or because they were sessions, the outer ones begin where they have all rows: outer windows before that
/// stay as they are, those that were still open, too.
pub(crate) async fn cuts(
    log: &dyn Log,
    names: &PipelineNames,
    plan: &Plan,
    begun: &[Begun<'_>],
) -> Result<BTreeMap<usize, Cut>, WorkerError> {
    let mut cuts: BTreeMap<usize, Cut> = BTreeMap::new();
    for new in begun.iter().rev() {
        let mut at_most_ms = None;
        for outer in begun
            .iter()
            .filter(|outer| plan.fed_by(outer.step) == Some(new.step))
        {
            let needed_ms = match (at_ms(&cuts, outer.step), &outer.before[..]) {
                (Some(cut_ms), _) => first_needed(new.window, rows_from(outer.window, cut_ms)),
                (None, []) => {
                    // It begins with the window that is open now.
                    let open_ms = cut(log, names, plan, new, None).await?.at_ms;
                    open_ms.and_then(|ms| first_needed(new.window, last_start(outer.window, ms)))
                }
                (None, _) => Some(i64::MIN),
            };
            at_most_ms = lower(at_most_ms, needed_ms);
        }
        let mut cut = cut(log, names, plan, new, at_most_ms).await?;
        cut.rows_until_ms = written_until(log, names, new).await?;
        cuts.insert(new.step, cut);
    }
    for outer in begun {
        let inner = plan.fed_by(outer.step);
        let inner = begun.iter().find(|new| Some(new.step) == inner);
        let inner = inner.and_then(|inner| Some((inner.window, *cuts.get(&inner.step)?)));
        let Some((window, inner)) = inner else {
            continue;
        };
        let Some(inner_ms) = inner.at_ms else {
            continue;
        };
        let rows_ms = chain::rows_from(window, inner_ms);
        let rows_ms = inner.rows_until_ms.map_or(rows_ms, |ms| ms.max(rows_ms));
        let own_ms = at_ms(&cuts, outer.step);
        if own_ms.is_none_or(|own_ms| rows_from(outer.window, own_ms) < rows_ms) {
            let cut_ms = first_whole(outer.window, rows_ms);
            tracing::warn!(
                step = plan.steps[outer.step].name,
                cut_ms,
                "a changed step aggregates windows of which some are not written again: its own windows before the cut stay as they are"
            );
            let stay = NotRecomputed {
                from_ms: own_ms,
                until_ms: cut_ms,
            };
            let later = Cut {
                at_ms: Some(cut_ms),
                // Where it had none, none stay as they were.
                not_recomputed: (!outer.before.is_empty()).then_some(stay),
                ..Cut::default()
            };
            let own = cuts.entry(outer.step).or_default();
            *own = own.and(later);
        }
    }
    Ok(cuts)
}

fn at_ms(cuts: &BTreeMap<usize, Cut>, step: usize) -> Option<i64> {
    cuts.get(&step).and_then(|cut| cut.at_ms)
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
) -> Result<Option<i64>, WorkerError> {
    let mut until_ms = None;
    if let Window::Session { .. } = inner.window {
        for (name, before) in &inner.before {
            let tasks = progress::of_step(log, names, name, before.number).await?;
            let watermarks = tasks.iter().flatten().map(|task| task.watermark_ms);
            // It may not have come yet to where the one before it was.
            until_ms = watermarks.fold(until_ms.max(before.rows_until_ms), Option::max);
        }
    }
    Ok(until_ms)
}
