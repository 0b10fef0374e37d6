//! Window arithmetic. All times are ms since the epoch, in UTC.
use tidewheel_planner::plan::{Late, LatePolicy, Window};

/// The start of the window that holds an event time.
pub fn start_of(window: Window, event_ms: i64) -> i64 {
    let Window::Tumbling { size_ms } = window;
    event_ms.div_euclid(size_ms) * size_ms
}

/// The end of the window that starts at `start_ms`; the first moment that is not in it.
pub fn end_of(window: Window, start_ms: i64) -> i64 {
    let Window::Tumbling { size_ms } = window;
    start_ms.saturating_add(size_ms)
}

/// The watermark at which a window takes no more rows.
pub fn closes_at(window: Window, late: Late, start_ms: i64) -> i64 {
    end_of(window, start_ms).saturating_add(late.allowed_ms)
}

/// The watermark at which a window is emitted first.
pub fn emits_at(window: Window, late: Late, start_ms: i64) -> i64 {
    match late.policy {
        LatePolicy::Amend => end_of(window, start_ms),
        LatePolicy::DeadLetter | LatePolicy::Drop => closes_at(window, late, start_ms),
    }
}

/// Counts the moments at which some window is emitted: two watermarks with the same count emit the same windows.
pub fn emission_count(window: Window, late: Late, watermark_ms: i64) -> i64 {
    let Window::Tumbling { size_ms } = window;
    let delay_ms = emits_at(window, late, 0) - end_of(window, 0);
    watermark_ms.saturating_sub(delay_ms).div_euclid(size_ms)
}

/// The first window start whose window may still take rows at this watermark.
pub fn first_open(window: Window, late: Late, watermark_ms: i64) -> i64 {
    let Window::Tumbling { size_ms } = window;
    watermark_ms
        .saturating_sub(late.allowed_ms)
        .div_euclid(size_ms)
        * size_ms
}
