//! The windows of an aggregate step, and the panes that they are made of.
//!
//! Windows that overlap share what they hold: the bounds of all windows of a step cut time into *panes* of equal length, each of which is
//! wholly in a window or not at all. An event is aggregated once, in its pane, and the panes of a window are merged when it is emitted
//! (J. Li et al., "No Pane, No Gain: Efficient Evaluation of Sliding-Window Aggregates over Data Streams", SIGMOD Record 34(1), 2005).
//!
//! ```text
//!  10 s, every 4 s   |---------|
//!                        |---------|
//!                            |---------|
//!  panes of 2 s      | | | | | | | | | |
//! ```

/// The windows of an aggregate step. Those of equal size are aligned to the epoch in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// Windows of equal size that follow each other.
    Tumbling {
        /// Size of a window.
        size_ms: i64,
    },
    /// Windows of equal size that overlap.
    Hopping {
        /// Size of a window.
        size_ms: i64,
        /// How far the starts of two windows are apart, less than the size.
        every_ms: i64,
    },
    /// Windows of each group's own, which hold its events as long as they follow each other by less than the gap. They begin with their
    /// first event and end the gap after their last one.
    Session {
        /// How far apart events are no longer in one, which is the size of a window of one event.
        gap_ms: i64,
    },
}

impl Window {
    /// How many panes a window may have: a day of minutes. Each emission merges all of them.
    pub const MAX_PANES: i64 = 1_440;

    /// Windows of `size_ms`, of which one starts every `every_ms`: both more than 0, the latter not above the former.
    pub const fn overlapping(size_ms: i64, every_ms: i64) -> Self {
        if every_ms == size_ms {
            Self::Tumbling { size_ms }
        } else {
            Self::Hopping { size_ms, every_ms }
        }
    }

    /// Size of a window; the least that it may have.
    pub const fn size_ms(self) -> i64 {
        match self {
            Self::Tumbling { size_ms } | Self::Hopping { size_ms, .. } => size_ms,
            Self::Session { gap_ms } => gap_ms,
        }
    }

    /// How far the starts of two windows are apart; the least that they may be. A session may begin at any moment.
    pub const fn every_ms(self) -> i64 {
        match self {
            Self::Tumbling { size_ms } => size_ms,
            Self::Hopping { every_ms, .. } => every_ms,
            Self::Session { .. } => 1,
        }
    }

    /// How far the moments are apart at which windows are emitted. Sessions end at any time: those are emitted together that end within a
    /// sixteenth of the gap, but at least a second and at most a minute.
    pub fn emission_step_ms(self) -> i64 {
        match self {
            Self::Tumbling { .. } | Self::Hopping { .. } => self.every_ms(),
            Self::Session { gap_ms } => (gap_ms / 16).clamp(1_000, 60_000),
        }
    }

    /// Length of a pane. A tumbling window is one; a session is made of moments.
    pub const fn pane_ms(self) -> i64 {
        match self {
            Self::Session { .. } => 1,
            Self::Tumbling { size_ms } => size_ms,
            Self::Hopping { size_ms, every_ms } => greatest_common_divisor(size_ms, every_ms),
        }
    }
}

/// The greatest number that divides both, which are above 0 (Euclid).
pub const fn greatest_common_divisor(mut a: i64, mut b: i64) -> i64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
