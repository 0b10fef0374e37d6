//! Window arithmetic. All times are ms since the epoch, in UTC.
//!
//! An event is aggregated in its pane (see [`tidewheel_planner::window`]), which lies in one window where windows do not overlap, and in
//! several where they do.
use tidewheel_planner::plan::{Late, LatePolicy, Window};

use crate::sabotage::{self, Bug};

/// The start of the last window that holds a time: of the only one where windows do not overlap.
pub fn last_start(window: Window, at_ms: i64) -> i64 {
    floor(at_ms, window.every_ms())
}

/// The start of the first window that holds a time; of sessions, as if there were nothing but that time.
pub fn first_start(window: Window, at_ms: i64) -> i64 {
    if let Window::Session { .. } = window {
        return at_ms;
    }
    let every_ms = window.every_ms();
    floor(at_ms.saturating_sub(window.size_ms()), every_ms).saturating_add(every_ms)
}

/// The starts of the windows that hold the pane that starts at `pane_ms`, but for those before `from_ms`; ascending.
pub fn starts_over(
    window: Window,
    pane_ms: i64,
    from_ms: Option<i64>,
) -> impl Iterator<Item = i64> {
    let (first_ms, last_ms) = (first_start(window, pane_ms), last_start(window, pane_ms));
    let next = move |start_ms: &i64| start_ms.checked_add(window.every_ms());
    std::iter::successors(Some(first_ms), next)
        .take_while(move |&start_ms| start_ms <= last_ms)
        .filter(move |start_ms| from_ms.is_none_or(|from_ms| from_ms <= *start_ms))
}

/// The end of the window that starts at `start_ms`; the first moment that is not in it.
pub fn end_of(window: Window, start_ms: i64) -> i64 {
    start_ms.saturating_add(window.size_ms())
}

/// The watermark at which a window takes no more rows; at which no session takes a row of that time.
pub fn closes_at(window: Window, late: Late, start_ms: i64) -> i64 {
    match window {
        Window::Session { .. } => start_ms.saturating_add(late.allowed_ms).saturating_add(1),
        _ => end_of(window, start_ms).saturating_add(late.allowed_ms),
    }
}

/// The watermark at which a window is emitted first; a session of one event.
pub fn emits_at(window: Window, late: Late, start_ms: i64) -> i64 {
    if let Window::Session { .. } = window {
        let step_ms = window.emission_step_ms();
        let due_ms = end_of(window, start_ms).saturating_add(late.allowed_ms);
        return floor(due_ms.saturating_add(step_ms - 1), step_ms);
    }
    match late.policy {
        LatePolicy::Amend => end_of(window, start_ms),
        LatePolicy::DeadLetter | LatePolicy::Drop => closes_at(window, late, start_ms),
    }
}

/// Counts the moments at which some window is emitted: two watermarks with the same count emit the same windows.
pub fn emission_count(window: Window, late: Late, watermark_ms: i64) -> i64 {
    let offset_ms = match window {
        Window::Session { .. } => 0,
        _ => emits_at(window, late, 0),
    };
    watermark_ms
        .saturating_sub(offset_ms)
        .div_euclid(window.emission_step_ms())
}

/// The last moment up to a watermark at which sessions are emitted: those are final that end the allowance before it.
pub fn sessions_final_at(window: Window, watermark_ms: i64) -> i64 {
    floor(watermark_ms, window.emission_step_ms())
}

/// The first window start whose window may still take rows at this watermark; the first time at which a row may still come to sessions.
pub fn first_open(window: Window, late: Late, watermark_ms: i64) -> i64 {
    if let Window::Session { .. } = window {
        return watermark_ms.saturating_sub(late.allowed_ms);
    }
    let every_ms = window.every_ms();
    let closed_ms = watermark_ms
        .saturating_sub(late.allowed_ms)
        .saturating_sub(window.size_ms());
    floor(closed_ms, every_ms).saturating_add(every_ms)
}

/// The first time whose rows have a part in windows that start at `cut_ms` or later. Of sessions it is before that: where such rows belong to
/// one that started earlier, it may go on behind the cut.
pub fn rows_from(window: Window, cut_ms: i64) -> i64 {
    match window {
        Window::Session { .. } if sabotage::is(Bug::SessionsDivided) => cut_ms,
        Window::Session { gap_ms } => cut_ms.saturating_sub(gap_ms).saturating_add(1),
        _ => cut_ms,
    }
}

/// The start of the first window that starts at `from_ms` or later; none where the calendar ends before. Sessions may start whenever.
pub fn first_from(window: Window, from_ms: i64) -> Option<i64> {
    let every_ms = window.every_ms();
    let before = from_ms.div_euclid(every_ms);
    let starts = if from_ms.rem_euclid(every_ms) == 0 {
        before
    } else {
        before.checked_add(1)?
    };
    starts.checked_mul(every_ms)
}

/// The last multiple of `step_ms` that is not after `at_ms`.
pub(crate) fn floor(at_ms: i64, step_ms: i64) -> i64 {
    at_ms.div_euclid(step_ms).saturating_mul(step_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPES: [(i64, i64); 7] = [
        (10, 10),
        (10, 5),
        (10, 1),
        (10, 4),
        (9, 6),
        (7, 3),
        (60, 59),
    ];
    const POLICIES: [LatePolicy; 3] = [LatePolicy::Amend, LatePolicy::DeadLetter, LatePolicy::Drop];

    /// Every window of a shape near the epoch, from the definition alone.
    fn all(size_ms: i64, every_ms: i64) -> Vec<(i64, i64)> {
        let starts = (-500..=500).filter(|start_ms| start_ms % every_ms == 0);
        starts
            .map(|start_ms| (start_ms, start_ms + size_ms))
            .collect()
    }

    #[test]
    fn the_windows_over_a_pane_are_those_that_hold_every_moment_of_it() {
        for (size_ms, every_ms) in SHAPES {
            let window = Window::overlapping(size_ms, every_ms);
            for at_ms in -100..100 {
                let holding = all(size_ms, every_ms).into_iter();
                let holding =
                    holding.filter(|(start_ms, end_ms)| (*start_ms..*end_ms).contains(&at_ms));
                let holding: Vec<i64> = holding.map(|(start_ms, _)| start_ms).collect();
                let pane_ms = floor(at_ms, window.pane_ms());
                assert!(pane_ms <= at_ms && at_ms < pane_ms + window.pane_ms());
                let over: Vec<i64> = starts_over(window, pane_ms, None).collect();
                assert_eq!(over, holding, "{size_ms} every {every_ms}: {at_ms}");
                assert_eq!(last_start(window, at_ms), *holding.last().unwrap_or(&0));
                let later: Vec<i64> = starts_over(window, pane_ms, Some(at_ms - 2)).collect();
                let expected = holding
                    .into_iter()
                    .filter(|start_ms| at_ms - 2 <= *start_ms);
                assert_eq!(later, expected.collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn the_first_open_window_is_the_first_that_is_not_closed() {
        for (size_ms, every_ms) in SHAPES {
            let window = Window::overlapping(size_ms, every_ms);
            let late = Late {
                allowed_ms: 3,
                policy: LatePolicy::Amend,
            };
            for watermark_ms in -100..100 {
                let starts = all(size_ms, every_ms)
                    .into_iter()
                    .map(|(start_ms, _)| start_ms);
                let open =
                    starts.filter(|&start_ms| watermark_ms < closes_at(window, late, start_ms));
                assert_eq!(Some(first_open(window, late, watermark_ms)), open.min());
            }
        }
    }

    #[test]
    fn watermarks_that_emit_the_same_windows_count_the_same() {
        for (size_ms, every_ms) in SHAPES {
            let window = Window::overlapping(size_ms, every_ms);
            for policy in POLICIES {
                let late = Late {
                    allowed_ms: 3,
                    policy,
                };
                let emitted = |watermark_ms: i64| {
                    let starts = all(size_ms, every_ms).into_iter();
                    starts
                        .filter(|&(start_ms, _)| emits_at(window, late, start_ms) <= watermark_ms)
                        .count()
                };
                for watermark_ms in -100..100 {
                    let more = emitted(watermark_ms + 1) > emitted(watermark_ms);
                    let counts = [watermark_ms, watermark_ms + 1]
                        .map(|watermark_ms| emission_count(window, late, watermark_ms));
                    assert_eq!(
                        counts[1] > counts[0],
                        more,
                        "{size_ms} every {every_ms}: {watermark_ms}"
                    );
                }
            }
        }
    }
}
