//! Folds what is pending of a window into what was emitted of it.
use std::collections::HashMap;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use datafusion_common::DataFusionError;
use tidewheel_planner::plan::{Aggregate, Plan};

use super::StepTask;
use super::emission::{Emission, count_emission, evaluate_run, index_groups};
use crate::error::EngineError;
use crate::wire::WireError;

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
        let before = self
            .windows
            .by_start
            .get(&start_ms)
            .and_then(|window| window.emitted.as_ref())
            .map(|run| run.batch.clone());
        let Some(before) = before else {
            let first = count_emission(&pending, |_| true).map_err(failed)?;
            let new = evaluate_run(plan, self.setup.step, aggregate, &first)?;
            self.windows.settle(start_ms, first);
            return Ok(Some((new, None)));
        };
        let key_columns: Vec<usize> = (0..=aggregate.group_columns).collect();
        let keys_of = |run: &RecordBatch| {
            run.project(&key_columns)
                .map_err(|error| WireError::new("run", error).into())
                .and_then(|keys| index_groups(&keys))
        };
        let dirty = keys_of(&pending)?;
        let merged = self
            .windows
            .fold(aggregate, &[&before, &pending])
            .map_err(failed)?;
        let dirty_rows = rows_of(&keys_of(&merged)?, &dirty);
        let is_dirty: Vec<bool> = mark(merged.num_rows(), &dirty_rows);
        let merged = count_emission(&merged, |row| is_dirty[row]).map_err(failed)?;
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

fn mark(count: usize, rows: &[u32]) -> Vec<bool> {
    let mut marks = vec![false; count];
    rows.iter().for_each(|&row| marks[row as usize] = true);
    marks
}
