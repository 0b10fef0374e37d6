//! Windows of which nobody can say what they have to be.
use tidewheel_planner::generations::AllottedStep;

use super::oracle::Key;

/// Windows that were open, and of which retention had taken events, when a new generation of their step began: they are as they happened to be.
#[derive(Default)]
pub(crate) struct Unknown {
    /// Between which starts they are; without the first all from the beginning, ms.
    starts: Vec<(Option<i64>, i64)>,
}

impl Unknown {
    /// A generation begins, and what earlier ones wrote from its cut on goes.
    pub(crate) fn begin(&mut self, generation: &AllottedStep) {
        for (_, until_ms) in &mut self.starts {
            let cut_ms = generation.cut_ms.unwrap_or(i64::MIN);
            *until_ms = cut_ms.min(*until_ms);
        }
        let windows = generation.not_recomputed.into_iter();
        let windows = windows.map(|windows| (windows.from_ms, windows.until_ms));
        self.starts.extend(windows);
    }

    pub(crate) fn holds(&self, start_ms: i64) -> bool {
        let is_in = |(from_ms, until_ms): &(Option<i64>, i64)| {
            from_ms.is_none_or(|from_ms| from_ms <= start_ms) && start_ms < *until_ms
        };
        self.starts.iter().any(is_in)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// The other ones of what was found.
    pub(crate) fn known<T>(&self, mut found: Vec<(Key, T)>) -> Vec<(Key, T)> {
        found.retain(|((start_ms, _), _)| !self.holds(*start_ms));
        found
    }
}
