//! Folds what is pending of a window into what was emitted of it.
use std::collections::HashMap;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use datafusion_common::DataFusionError;
use tidewheel_planner::plan::{Aggregate, Plan};

use super::StepTask;
use super::emission::{Emission, count_emission, evaluate_run, index_groups};
use crate::error::EngineError;
use crate::wire::{WireError, placement};

impl StepTask {
    /// Folds what is pending into what was emitted. The changed groups as they are now, and as they were.
    pub(super) fn settle(
        &mut self,
        plan: &Plan,
        aggregate: &Aggregate,
        start_ms: i64,
    ) -> Result<Option<(Emission, Option<Emission>)>, EngineError> {
        let failed = |error: DataFusionError| {
            EngineError::aggregation(&plan.steps[self.setup.step].name, &error)
        };
        let Some(pending) = self.windows.pending(aggregate, start_ms).map_err(failed)? else {
            return Ok(None);
        };
        let times = self.replayed.remove(&start_ms).unwrap_or_default();
        let key_columns: Vec<usize> = (0..=aggregate.group_columns).collect();
        let keys_of = |run: &RecordBatch| {
            run.project(&key_columns)
                .map_err(|error| WireError::new("run", error).into())
                .and_then(|keys| index_groups(&keys))
        };
        let before = self
            .windows
            .by_start
            .get(&start_ms)
            .and_then(|window| window.emitted.as_ref())
            .map(|run| run.batch.clone());
        let Some(before) = before else {
            let mut added = vec![1; pending.num_rows()];
            if !times.is_empty() {
                let rows = keys_of(&pending)?;
                rows.iter()
                    .for_each(|(key, &row)| added[row as usize] = emissions(&times, key));
            }
            let first = count_emission(&pending, &added).map_err(failed)?;
            let new = evaluate_run(plan, self.setup.step, aggregate, &first)?;
            self.windows.settle(start_ms, first);
            return Ok(Some((new, None)));
        };
        let dirty = keys_of(&pending)?;
        let merged = self
            .windows
            .fold(aggregate, &[&before, &pending])
            .map_err(failed)?;
        let rows = keys_of(&merged)?;
        let dirty_rows = rows_of(&rows, &dirty);
        let mut added = vec![0; merged.num_rows()];
        for key in dirty.keys() {
            if let Some(&row) = rows.get(key) {
                added[row as usize] = emissions(&times, key);
            }
        }
        let merged = count_emission(&merged, &added).map_err(failed)?;
        let changed = |run: &RecordBatch, rows: Vec<u32>| -> Result<Emission, EngineError> {
            let rows = take_record_batch(run, &UInt32Array::from(rows))
                .map_err(|error| failed(error.into()))?;
            evaluate_run(plan, self.setup.step, aggregate, &rows)
        };
        let new = changed(&merged, dirty_rows)?;
        let old = changed(&before, rows_of(&keys_of(&before)?, &dirty))?;
        self.windows.settle(start_ms, merged);
        Ok(Some((new, Some(old))))
    }

    /// Takes note of partials of a window that are read again. Where it was due already, each of them may have been emitted on its own: how
    /// batches were cut then is not known. Counting all of them keeps `_revision` from going back.
    pub(super) fn count_again(
        &mut self,
        plan: &Plan,
        aggregate: &Aggregate,
        start_ms: i64,
        partials: &RecordBatch,
    ) -> Result<(), EngineError> {
        if !self.is_due(aggregate, start_ms) {
            return Ok(());
        }
        if !self.replayed.contains_key(&start_ms) {
            // What came before it was due was emitted without these.
            self.settle(plan, aggregate, start_ms)?;
        }
        let keys = &partials.columns()[..=aggregate.group_columns];
        let keys = placement::fingerprints(keys, partials.num_rows())?;
        let times = self.replayed.entry(start_ms).or_default();
        keys.into_iter()
            .for_each(|key| *times.entry(key).or_default() += 1);
        Ok(())
    }
}

/// How often a group counts as emitted now: once, and as often as it may have been where the log is read again.
fn emissions(times: &HashMap<u128, i64>, key: &u128) -> i64 {
    times.get(key).copied().unwrap_or(1)
}

/// The rows in `run` of the groups in `wanted`, ascending.
fn rows_of(run: &HashMap<u128, u32>, wanted: &HashMap<u128, u32>) -> Vec<u32> {
    let mut rows: Vec<u32> = wanted
        .keys()
        .filter_map(|key| run.get(key).copied())
        .collect();
    rows.sort_unstable();
    rows
}
