//! What an output of windows has to write: the difference between what it had of a window and what it has now, or all of it again.
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use datafusion_common::DataFusionError;
use tidewheel_planner::plan::{Aggregate, Plan, TableKind};

use super::emission::{Emission, evaluate_run, index_groups};
use super::{StepTask, WindowOutput};
use crate::effects::{TableWrite, WindowRow};
use crate::error::EngineError;
use crate::ledger::Ledger;
use crate::sabotage::{self, Bug};
use crate::wire::WireError;
use crate::wire::batch::concat;
use crate::wire::dead_letter::Reason;

/// What one output has to write after a batch, window by window.
#[derive(Default)]
pub(super) struct Changes {
    upserts: Vec<RecordBatch>,
    /// Which group each row of the upserts is.
    windows: Vec<WindowRow>,
    deletes: Vec<RecordBatch>,
}

impl Changes {
    pub(super) fn add(
        &mut self,
        step: usize,
        new: &Emission,
        old: Option<&Emission>,
        changed: Changed,
        (generation, partition, offset): (i64, i32, i64),
    ) -> Result<(), DataFusionError> {
        if !changed.upserts.is_empty() {
            self.windows.extend(changed.windows);
            self.upserts.push(new.table_rows(
                step,
                &changed.upserts,
                generation,
                partition,
                offset,
            )?);
        }
        let deletes = !changed.deletes.is_empty() && !sabotage::is(Bug::NoDeletes);
        if let Some(old) = old.filter(|_| deletes) {
            self.deletes.push(old.table_rows(
                step,
                &changed.deletes,
                generation,
                partition,
                offset,
            )?);
        }
        Ok(())
    }
}

/// Rows of an emission that an output has to write, and of the one before that it has to delete.
pub(super) struct Changed {
    upserts: Vec<u32>,
    /// Which group each of them is.
    windows: Vec<WindowRow>,
    deletes: Vec<u32>,
}

impl StepTask {
    /// Gives outputs whose sink was set back everything that is kept of emitted windows, in place of what has just changed of it.
    pub(super) fn repair(
        &mut self,
        plan: &Plan,
        aggregate: &Aggregate,
        changes: &mut BTreeMap<usize, Changes>,
    ) -> Result<(), EngineError> {
        if !self.outputs.iter().any(|output| output.repair) {
            return Ok(());
        }
        let position = (self.told_generation(), self.setup.partition, self.at);
        for output in self.outputs.iter().filter(|output| output.repair) {
            changes.insert(output.output, Changes::default());
        }
        let emitted: Vec<RecordBatch> = self
            .windows
            .by_start
            .values()
            .filter_map(|window| window.emitted.as_ref())
            .map(|run| run.batch.clone())
            .collect();
        for run in emitted {
            let emission = evaluate_run(plan, self.setup.step, aggregate, &run)?;
            for output in self.outputs.iter().filter(|output| output.repair) {
                let rows = emission.row_of_group(output.step);
                let upserts: Vec<u32> = rows.iter().copied().flatten().collect();
                let all = Changed {
                    windows: emission.window_rows(output.step, &upserts)?,
                    upserts,
                    deletes: Vec::new(),
                };
                let changes = changes.entry(output.output).or_default();
                changes
                    .add(output.step, &emission, None, all, position)
                    .map_err(|error| self.failed(&error))?;
                // An amendment may have removed what the table had when it was saved.
                let gone: Vec<u32> = (0..)
                    .zip(&rows)
                    .filter(|(_, row)| row.is_none())
                    .map(|(group, _)| group)
                    .collect();
                let TableKind::Windows { key } = plan.outputs[output.output].kind() else {
                    continue;
                };
                if !gone.is_empty() {
                    let deletes = emission.table_keys(output.step, &gone, key, position);
                    changes
                        .deletes
                        .push(deletes.map_err(|error| self.failed(&error))?);
                }
            }
        }
        self.outputs
            .iter_mut()
            .for_each(|output| output.repair = false);
        Ok(())
    }

    pub(super) fn writes(
        &self,
        changes: BTreeMap<usize, Changes>,
    ) -> Result<Vec<TableWrite>, EngineError> {
        let damaged = |error| EngineError::from(WireError::new("window rows", error));
        changes
            .into_iter()
            .filter(|(_, changes)| !(changes.upserts.is_empty() && changes.deletes.is_empty()))
            .map(|(output, changes)| {
                let any = changes
                    .upserts
                    .first()
                    .or(changes.deletes.first())
                    .map(RecordBatch::schema);
                let empty = || any.clone().map(RecordBatch::new_empty);
                let all = |batches: &[RecordBatch]| {
                    if batches.is_empty() {
                        Ok(empty())
                    } else {
                        concat(batches).map(Some).map_err(damaged)
                    }
                };
                let rows = all(&changes.upserts)?
                    .unwrap_or_else(|| RecordBatch::new_empty(Arc::new(Schema::empty())));
                Ok(TableWrite {
                    output,
                    generation: self.generation,
                    rows,
                    deletes: all(&changes.deletes)?,
                    windows: changes.windows,
                })
            })
            .collect()
    }
}

/// Compares what an output had of the changed groups with what it has now, and enters the difference into its ledger.
pub(super) fn compare(
    output: &mut WindowOutput,
    start_ms: i64,
    new: &Emission,
    old: Option<&Emission>,
    plan: &Plan,
) -> Result<Changed, EngineError> {
    let mut upserts = Vec::new();
    let rows = new.row_of_group(output.step);
    for (group, row) in rows.iter().enumerate() {
        *fate(&mut output.ledger, &output.chain, new, group, plan) +=
            new.contributions[group] as u64;
        upserts.extend(*row);
    }
    let mut deletes = Vec::new();
    if let Some(old) = old {
        let old_rows = old.row_of_group(output.step);
        let groups = index_groups(&old.keys)?;
        let new_groups = index_groups(&new.keys)?;
        for (key, old_group) in groups {
            let (group, ledger) = (old_group as usize, &mut output.ledger);
            let fate = if output.refused.remove(start_ms, key) {
                ledger.dead_lettered(Reason::Refused)
            } else {
                fate(ledger, &output.chain, old, group, plan)
            };
            *fate = fate.saturating_sub(old.contributions[group] as u64);
            let vanished = new_groups
                .get(&key)
                .is_some_and(|&group| rows[group as usize].is_none());
            deletes.extend(old_rows[old_group as usize].filter(|_| vanished));
        }
        deletes.sort_unstable();
    }
    let windows = new.window_rows(output.step, &upserts)?;
    Ok(Changed {
        upserts,
        windows,
        deletes,
    })
}

/// The count that a group's contributions stand under in a ledger.
pub(super) fn fate<'a>(
    ledger: &'a mut Ledger,
    chain: &[usize],
    emission: &Emission,
    group: usize,
    plan: &Plan,
) -> &'a mut u64 {
    for &step in chain {
        if emission
            .failures
            .iter()
            .any(|(failed, at, _)| *failed as usize == group && *at == step)
        {
            return ledger.dead_lettered(Reason::Evaluation);
        }
        let there = emission
            .relations
            .get(&step)
            .is_some_and(|rows| rows.records.binary_search(&(group as u32)).is_ok());
        if !there {
            return ledger
                .filtered
                .entry(plan.steps[step].name.clone())
                .or_default();
        }
    }
    &mut ledger.written
}
