//! Windows over windows: an aggregate step that reads the rows of another one.
//!
//! A task of the inner step folds the rows that it writes into partials for the outer one, in the transaction in which it writes them. To the
//! outer step it is what the task of a source partition is to the inner one: it says in its partials up to when no row comes any more.
//!
//! ```text
//!  inner    |....|....|....|....|       a row comes at the last moment of its window, once that is final
//!                ^    ^    ^    ^
//!  outer    |...................|
//! ```
//!
//! Each row is written once. So the inner step's windows take nothing after they were written, and nothing comes late for the outer one's.
use tidewheel_planner::plan::{Late, Plan, Window};

use crate::sabotage::{self, Bug};
use crate::window::{self, closes_at, emits_at, end_of, first_from, floor, last_start};

/// When the row of a window happened that ends at `end_ms`: at its last moment, ms.
pub fn row_ms(end_ms: i64) -> i64 {
    end_ms.saturating_sub(1)
}

/// The watermark of the rows of windows at this watermark of what the windows are made of, ms: no row comes any more whose time lies before.
pub fn rows_watermark(window: Window, late: Late, watermark_ms: i64) -> i64 {
    let emitted_at_ms = match window {
        Window::Session { .. } => floor(watermark_ms, window.emission_step_ms()),
        _ => watermark_ms,
    };
    match sabotage::is(Bug::FedTooEarly) {
        true => emitted_at_ms,
        false => emitted_at_ms.saturating_sub(late.allowed_ms),
    }
}

/// Counts the moments at which some window of a step, or of those over it, is emitted: two watermarks of the step with the same count emit the
/// same windows.
pub fn emission_count(plan: &Plan, step: usize, watermark_ms: i64) -> i64 {
    let Some(aggregate) = plan.aggregate(step) else {
        return 0;
    };
    let (window, late) = (aggregate.window, aggregate.late);
    let own = window::emission_count(window, late, watermark_ms);
    let rows_ms = rows_watermark(window, late, watermark_ms);
    let over = plan.fed_from(step);
    over.map(|outer| emission_count(plan, outer, rows_ms))
        .fold(own, i64::saturating_add)
}

/// The watermark of a step at which every window is closed and emitted that holds something up to `newest_ms`, those over it included.
pub fn closing_ms(plan: &Plan, step: usize, newest_ms: i64) -> i64 {
    let Some(aggregate) = plan.aggregate(step) else {
        return i64::MIN;
    };
    let (window, late) = (aggregate.window, aggregate.late);
    let start_ms = last_start(window, newest_ms);
    let own_ms = closes_at(window, late, start_ms).max(emits_at(window, late, start_ms));
    let row_ms = row_ms(end_of(window, start_ms));
    let over = plan.fed_from(step).map(|outer| {
        let rows_ms = closing_ms(plan, outer, row_ms).saturating_add(late.allowed_ms);
        match window {
            Window::Session { .. } => {
                let step_ms = window.emission_step_ms();
                floor(rows_ms.saturating_add(step_ms - 1), step_ms)
            }
            _ => rows_ms,
        }
    });
    over.fold(own_ms, i64::max)
}

/// Whether a task of a step with this watermark has emitted all that it emits once the watermark of every source is `sources_ms`.
pub fn has_reached(plan: &Plan, step: usize, watermark_ms: Option<i64>, sources_ms: i64) -> bool {
    let count = |ms| emission_count(plan, step, ms);
    match plan.fed_by(step) {
        None => watermark_ms >= Some(sources_ms),
        // It hears of what makes it emit something.
        Some(_) => watermark_ms.map(count) >= Some(count(watermark_at(plan, step, sources_ms))),
    }
}

/// The watermark of a step once that of every source is `sources_ms`.
fn watermark_at(plan: &Plan, step: usize, sources_ms: i64) -> i64 {
    let inner = plan.fed_by(step);
    let inner = inner.and_then(|inner| Some((inner, plan.aggregate(inner)?)));
    inner.map_or(sources_ms, |(inner, aggregate)| {
        let inner_ms = watermark_at(plan, inner, sources_ms);
        rows_watermark(aggregate.window, aggregate.late, inner_ms)
    })
}

/// Where windows have to begin at the latest, so that none is missing whose row comes at `from_ms` or later; none: sessions may begin at any
/// time before.
pub fn first_needed(window: Window, from_ms: i64) -> Option<i64> {
    match window {
        Window::Session { .. } => None,
        _ => first_from(
            window,
            from_ms.saturating_sub(window.size_ms()).saturating_add(1),
        ),
    }
}

/// The time from which on every row is there where only windows are that begin at `cut_ms` or later. Of sessions those that began before and
/// were written then are told apart by when: see the cut of generations.
pub fn rows_from(window: Window, cut_ms: i64) -> i64 {
    match window {
        Window::Session { .. } => cut_ms,
        _ => first_from(window, cut_ms)
            .unwrap_or(i64::MAX)
            .saturating_sub(window.every_ms())
            .saturating_add(window.size_ms()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPES: [(i64, i64); 6] = [(10, 10), (10, 5), (10, 4), (9, 6), (7, 3), (60, 59)];

    #[test]
    fn the_windows_from_the_first_needed_on_have_all_rows_and_no_later_one_has() {
        for (size_ms, every_ms) in SHAPES {
            let window = Window::overlapping(size_ms, every_ms);
            let starts = (-500..=500).filter(|start_ms| start_ms % every_ms == 0);
            let starts: Vec<i64> = starts.collect();
            for from_ms in -100..100 {
                let needed = starts
                    .iter()
                    .find(|&&start_ms| row_ms(end_of(window, start_ms)) >= from_ms);
                assert_eq!(first_needed(window, from_ms).as_ref(), needed);
                let left_out = starts.iter().filter(|&&start_ms| start_ms < from_ms);
                let last = left_out
                    .map(|&start_ms| row_ms(end_of(window, start_ms)))
                    .max();
                assert_eq!(Some(rows_from(window, from_ms) - 1), last);
            }
        }
    }
}
