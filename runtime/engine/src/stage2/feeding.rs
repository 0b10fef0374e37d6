//! Windows over windows: what a task writes of its windows, folded for the aggregate steps that read it. See [`chain`](crate::chain).
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Int32Array, Int64Array, RecordBatch, UInt32Array};
use datafusion_common::DataFusionError;
use tidewheel_log::NewRecord;
use tidewheel_planner::plan::{Aggregate, Plan, Relation, Window};

use super::changes::fate;
use super::emission::{Emission, chain};
use super::group_letters::describe;
use super::{StepSetup, StepTask, aggregate_of};
use crate::chain::{emission_count, row_ms, rows_watermark};
use crate::error::EngineError;
use crate::ledger::Ledger;
use crate::partials::{Audience, Folds, Placed, address, by_first_window, folded, joined, place};
use crate::rows::{Failure, Rows, evaluate};
use crate::timestamp::timestamps;
use crate::window::{first_start, last_start, rows_from};
use crate::wire::dead_letter::Reason;
use crate::wire::partial::PartialHeader;
use crate::wire::placement;
use crate::wire::state::StepProgress;

/// An aggregate step over the windows of a task.
#[derive(Debug)]
pub(super) struct Fed {
    step: usize,
    /// The step whose rows it reads: that of the task, or one that follows on it.
    from: usize,
    /// The steps from the task's own to that one.
    chain: Vec<usize>,
    /// Number of its generation.
    generation: i64,
    /// Its windows that start before this belong to earlier generations, ms.
    cut_ms: Option<i64>,
    /// Partials that were not sent yet.
    placed: Vec<Placed>,
    /// The emission count last told to each partition of its partials.
    told: Vec<Option<i64>>,
    /// Fates of the rows since the generation began.
    ledger: Ledger,
}

impl Fed {
    /// Those over the windows of a task, which goes on from `progress`.
    pub(super) fn all(setup: &StepSetup, progress: Option<&StepProgress>) -> Vec<Self> {
        let plan = &setup.plan;
        let fed = |step: usize| {
            let aggregate = aggregate_of(plan, step);
            let Some(&Relation::Step(from)) = aggregate.argument.inputs.first() else {
                return None;
            };
            let name = &plan.steps[step].name;
            let generation = setup.generations.steps.get(name);
            let ledger = progress.and_then(|progress| progress.fed.get(name));
            Some(Self {
                step,
                from,
                chain: chain(plan, setup.step, from),
                generation: generation.map_or(1, |generation| generation.number),
                cut_ms: generation.and_then(|generation| generation.cut_ms),
                placed: Vec::new(),
                told: vec![None; aggregate.partitions as usize],
                ledger: ledger.cloned().unwrap_or_default(),
            })
        };
        plan.fed_from(setup.step).filter_map(fed).collect()
    }

    /// Folds the rows of an emission. What cannot be computed of them.
    fn take(&mut self, plan: &Plan, emission: &Emission) -> Result<Vec<Failure>, EngineError> {
        let name = &plan.steps[self.step].name;
        let failed = |error: DataFusionError| EngineError::aggregation(name, &error);
        let aggregate = aggregate_of(plan, self.step);
        let Some(rows) = emission.relations.get(&self.from) else {
            return Ok(Vec::new());
        };
        self.ledger.read += emission.contributions.len() as u64;
        let left_out = (0..emission.contributions.len())
            .filter(|&group| rows.records.binary_search(&(group as u32)).is_err());
        for group in left_out {
            *fate(&mut self.ledger, &self.chain, emission, group, plan) += 1;
        }
        let (arguments, mut failures) = evaluate(&aggregate.argument, &[Some(rows)]);
        let kept = arguments.records.len() + failures.len();
        if kept < rows.records.len() {
            let filtered = (rows.records.len() - kept) as u64;
            *self.ledger.filtered.entry(name.clone()).or_default() += filtered;
        }
        let (arguments, shortened) = self
            .since_cut(aggregate, emission, arguments)
            .map_err(failed)?;
        let calls = call_rows(aggregate, emission, &arguments)?;
        let event_ms = |group: u32| row_ms(emission.ends_ms[group as usize]);
        for (windows_from_ms, calls) in by_first_window(calls, &shortened).map_err(failed)? {
            let (partials, more, counted) = folded(aggregate, &calls, &event_ms).map_err(failed)?;
            self.ledger.written += counted.len() as u64;
            failures.extend(more);
            if let Some(batch) = partials {
                let folds = Folds {
                    windows_from_ms,
                    batch,
                };
                self.placed.extend(place(aggregate, &folds)?);
            }
        }
        if !failures.is_empty() {
            *self.ledger.dead_lettered(Reason::Evaluation) += failures.len() as u64;
        }
        Ok(failures)
    }

    /// The rows that go to windows of this generation, and by group the first of these windows, ms, where it is not the first of all.
    fn since_cut(
        &mut self,
        aggregate: &Aggregate,
        emission: &Emission,
        rows: Rows,
    ) -> Result<(Rows, BTreeMap<u32, i64>), DataFusionError> {
        let (Some(cut_ms), window) = (self.cut_ms, aggregate.window) else {
            return Ok((rows, BTreeMap::new()));
        };
        let overlap = matches!(window, Window::Hopping { .. });
        let from_ms = rows_from(window, cut_ms);
        let mut kept = Vec::with_capacity(rows.records.len());
        let mut shortened = BTreeMap::new();
        for (row, &group) in (0..).zip(&rows.records) {
            let event_ms = row_ms(emission.ends_ms[group as usize]);
            if last_start(window, event_ms) < from_ms {
                self.ledger.earlier_generation += 1;
                continue;
            }
            kept.push(row);
            if overlap && first_start(window, event_ms) < cut_ms {
                shortened.insert(group, cut_ms);
            }
        }
        Ok((rows.take(&UInt32Array::from(kept))?, shortened))
    }
}

/// Argument rows with the columns by which `first_value` and `last_value` go: the time of a row, then a hash of its group, which is the same
/// in every replay, however many partitions there are.
fn call_rows(aggregate: &Aggregate, emission: &Emission, rows: &Rows) -> Result<Rows, EngineError> {
    let hashes = placement::fingerprints(emission.keys.columns(), emission.keys.num_rows())?;
    let of_rows = || rows.records.iter().map(|&group| group as usize);
    let mut columns = rows.batch.columns().to_vec();
    let times = of_rows().map(|group| row_ms(emission.ends_ms[group]).saturating_mul(1_000));
    columns.push(Arc::new(timestamps(times)));
    columns.push(Arc::new(Int32Array::from(vec![0; rows.records.len()])));
    let high = of_rows().map(|group| (hashes[group] >> 64) as i64);
    columns.push(Arc::new(Int64Array::from_iter_values(high)));
    let low = of_rows().map(|group| (hashes[group] >> 32) as i32);
    columns.push(Arc::new(Int32Array::from_iter_values(low)));
    let batch = RecordBatch::try_new(aggregate.call_schema.clone(), columns)
        .map_err(|error| crate::wire::WireError::new("rows of windows", error))?;
    Ok(Rows {
        batch,
        records: rows.records.clone(),
    })
}

impl StepTask {
    /// Whether windows of other steps are made of those of this one: these are final once they were written.
    pub(super) fn feeds_others(&self) -> bool {
        !self.fed.is_empty()
    }

    /// The ledgers of the aggregate steps over the windows of this task, by step name, in rows since their generation began.
    pub fn step_ledgers(&self) -> BTreeMap<String, Ledger> {
        let ledger = |fed: &Fed| {
            let name = self.setup.plan.steps[fed.step].name.clone();
            (name, fed.ledger.clone())
        };
        self.fed.iter().map(ledger).collect()
    }

    /// Folds what was written of windows for the steps over them.
    pub(super) fn feed(
        &mut self,
        plan: &Plan,
        emission: &Emission,
        log: &mut Vec<NewRecord>,
    ) -> Result<(), EngineError> {
        let groups = self.aggregate().group_columns;
        for index in 0..self.fed.len() {
            let failures = self.fed[index].take(plan, emission)?;
            let name = &plan.steps[self.fed[index].step].name;
            for Failure { record, reason } in failures {
                let value = describe(&emission.keys.slice(record as usize, 1), groups + 1);
                let letter = self.letter(Reason::Evaluation, &reason, name);
                log.push(letter.of_group(&self.names.dead_letters(), self.at, 0, &value));
            }
        }
        Ok(())
    }

    /// Sends partials to the steps over the windows of this task, and up to when no row comes any more. `from`: where the partials of its own
    /// began that it has just taken.
    pub(super) fn announce(
        &mut self,
        plan: &Plan,
        from: i64,
        log: &mut Vec<NewRecord>,
    ) -> Result<(), EngineError> {
        let aggregate = aggregate_of(plan, self.setup.step);
        let watermark_ms = self.watermark_ms;
        let watermark_ms =
            watermark_ms.map(|ms| rows_watermark(aggregate.window, aggregate.late, ms));
        let header = PartialHeader {
            source: plan.steps[self.setup.step].name.clone(),
            partition: self.setup.partition,
            from,
            to: self.at,
            watermark_ms,
            windows_from_ms: None,
        };
        for fed in &mut self.fed {
            let name = &plan.steps[fed.step].name;
            let topic = self.names.partials(name, fed.generation);
            let placed = joined(
                aggregate_of(plan, fed.step),
                std::mem::take(&mut fed.placed),
            )
            .map_err(|error| EngineError::aggregation(name, &error))?;
            let emissions = watermark_ms.map(|ms| emission_count(plan, fed.step, ms));
            let audience = Audience {
                told: &mut fed.told,
                emissions,
                is_brief: false,
            };
            log.extend(address(&topic, &header, placed, audience)?);
        }
        Ok(())
    }
}
