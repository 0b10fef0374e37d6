//! What the view knows: the newest snapshot, rates over the last seconds, and which pipeline is looked at.
use std::collections::{BTreeMap, VecDeque};

use super::snapshot::{Pipeline, Snapshot};

/// Over how long rates are taken, ms: long enough to be read, short enough to follow.
const RATE_OVER_MS: i64 = 5_000;

/// What the view knows.
#[derive(Debug, Default)]
pub(crate) struct Model {
    snapshot: Snapshot,
    /// When and how many records, by pipeline.
    seen: BTreeMap<String, VecDeque<(i64, u64)>>,
    looked_at: usize,
}

impl Model {
    /// Takes a newer snapshot in.
    pub(crate) fn update(&mut self, snapshot: Snapshot) {
        let now_ms = snapshot.now_ms;
        self.seen.retain(|name, _| {
            snapshot
                .pipelines
                .iter()
                .any(|pipeline| pipeline.name == *name)
        });
        for pipeline in &snapshot.pipelines {
            let seen = self.seen.entry(pipeline.name.clone()).or_default();
            // A task that begins again counts from zero again.
            if seen
                .back()
                .is_some_and(|&(at_ms, records)| pipeline.records < records || now_ms < at_ms)
            {
                seen.clear();
            }
            seen.push_back((now_ms, pipeline.records));
            // The sample just beyond the span stays: it is what the span begins with.
            while seen
                .get(1)
                .is_some_and(|&(at_ms, _)| now_ms - at_ms >= RATE_OVER_MS)
            {
                seen.pop_front();
            }
        }
        self.snapshot = snapshot;
        self.looked_at = self
            .looked_at
            .min(self.snapshot.pipelines.len().saturating_sub(1));
    }

    /// Looks at the pipeline after this one.
    pub(crate) fn look_at_next(&mut self) {
        self.looked_at = (self.looked_at + 1) % self.snapshot.pipelines.len().max(1);
    }

    /// Looks at the pipeline before this one.
    pub(crate) fn look_at_previous(&mut self) {
        let pipelines = self.snapshot.pipelines.len().max(1);
        self.looked_at = (self.looked_at + pipelines - 1) % pipelines;
    }

    /// The newest snapshot.
    pub(crate) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The pipeline that is looked at, and its place in the list.
    pub(crate) fn looked_at(&self) -> Option<(usize, &Pipeline)> {
        Some((self.looked_at, self.snapshot.pipelines.get(self.looked_at)?))
    }

    /// Records a second that a pipeline took over the last seconds.
    pub(crate) fn events_per_second(&self, pipeline: &str) -> f64 {
        let Some(seen) = self.seen.get(pipeline) else {
            return 0.0;
        };
        match (seen.front(), seen.back()) {
            (Some((from_ms, before)), Some((to_ms, after))) if to_ms > from_ms => {
                (after - before) as f64 * 1_000.0 / (to_ms - from_ms) as f64
            }
            _ => 0.0,
        }
    }
}
