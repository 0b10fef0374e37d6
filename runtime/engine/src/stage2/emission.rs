//! Turns folded windows into rows of outputs, and tells what changed since they were emitted before.
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array, new_null_array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimestampMicrosecondType};
use datafusion_common::DataFusionError;
use tidewheel_planner::plan::{Aggregate, Plan, Relation, RowProgram, StepKind, TableKind, Window};

use crate::effects::WindowRow;
use crate::error::EngineError;
use crate::fold::Fold;
use crate::rows::{Rows, evaluate, reason};
use crate::timestamp::timestamps;
use crate::window::end_of;
use crate::wire::{WireError, placement};

/// The groups of a window as rows of each relation of stage 2.
pub(crate) struct Emission {
    /// The group columns with the window's start in front, one row for each group.
    pub(crate) keys: RecordBatch,
    /// How many rows went into each group.
    pub(crate) contributions: Vec<i64>,
    /// How often each group was emitted, this time included.
    pub(crate) revisions: Vec<i64>,
    /// The end of each group's window, ms; of those that could not be evaluated nothing is to be told.
    pub(crate) ends_ms: Vec<i64>,
    /// The rows of each step, by step; `Rows::records` are groups.
    pub(crate) relations: BTreeMap<usize, Rows>,
    /// Groups that could not be evaluated: the group, the step, and why.
    pub(crate) failures: Vec<(u32, usize, String)>,
}

/// Evaluates the groups of `run` (a run of one window): the aggregate step itself, then the steps that follow it.
pub(crate) fn evaluate_run(
    plan: &Plan,
    step: usize,
    aggregate: &Aggregate,
    run: &RecordBatch,
) -> Result<Emission, EngineError> {
    let failed = |error: DataFusionError| EngineError::aggregation(&plan.steps[step].name, &error);
    let (groups, failures) = fold_isolating(aggregate, run).map_err(failed)?;
    let key_columns: Vec<usize> = (0..=aggregate.group_columns).collect();
    let counts = |column: usize| {
        let counts = run.column(column).as_primitive::<Int64Type>();
        counts.values().to_vec()
    };
    let mut emission = Emission {
        keys: run
            .project(&key_columns)
            .map_err(|error| failed(error.into()))?,
        contributions: counts(run.num_columns() - 2),
        ends_ms: ends_ms(aggregate, &groups, run.num_rows()),
        revisions: counts(run.num_columns() - 1),
        relations: BTreeMap::new(),
        failures: failures
            .into_iter()
            .map(|(group, reason)| (group, step, reason))
            .collect(),
    };
    emission.evaluate(step, &aggregate.result, &[Some(&groups)]);
    for (index, follower) in plan.steps.iter().enumerate() {
        let StepKind::Rows(program) = &follower.kind else {
            continue;
        };
        if follower.stage != tidewheel_planner::plan::Stage::Two(step) {
            continue;
        }
        let inputs: Vec<Option<Rows>> = program
            .inputs
            .iter()
            .map(|relation| match relation {
                Relation::Step(step) => emission.relations.get(step).cloned(),
                Relation::Source(_) => None,
            })
            .collect();
        let inputs: Vec<Option<&Rows>> = inputs.iter().map(Option::as_ref).collect();
        emission.evaluate(index, program, &inputs);
    }
    Ok(emission)
}

impl Emission {
    fn evaluate(&mut self, step: usize, program: &RowProgram, inputs: &[Option<&Rows>]) {
        let (rows, failures) = evaluate(program, inputs);
        self.failures.extend(
            failures
                .into_iter()
                .map(|failure| (failure.record, step, failure.reason)),
        );
        self.relations.insert(step, rows);
    }

    /// For each group, the row of `step` that it became.
    pub(crate) fn row_of_group(&self, step: usize) -> Vec<Option<u32>> {
        let mut rows = vec![None; self.contributions.len()];
        if let Some(relation) = self.relations.get(&step) {
            for (row, &group) in relation.records.iter().enumerate() {
                rows[group as usize] = Some(row as u32);
            }
        }
        rows
    }

    /// Which groups the rows of `step` at `rows` are.
    pub(crate) fn window_rows(
        &self,
        step: usize,
        rows: &[u32],
    ) -> Result<Vec<WindowRow>, WireError> {
        let of = &self.relations[&step].records;
        let fingerprints = placement::fingerprints(self.keys.columns(), self.keys.num_rows())?;
        let starts_ms = self.keys.column(0).as_primitive::<Int64Type>().values();
        let window = |&row: &u32| {
            let group = of[row as usize] as usize;
            WindowRow {
                start_ms: starts_ms[group],
                group: fingerprints[group],
                contributions: self.contributions[group] as u64,
            }
        };
        Ok(rows.iter().map(window).collect())
    }

    /// The rows of `step` at `rows`, with our columns.
    pub(crate) fn table_rows(
        &self,
        step: usize,
        rows: &[u32],
        generation: i64,
        partition: i32,
        offset: i64,
    ) -> Result<RecordBatch, DataFusionError> {
        let relation = &self.relations[&step];
        let picked = relation.take(&UInt32Array::from(rows.to_vec()))?;
        let count = picked.records.len();
        let ours: [(&str, Int64Array); 4] = [
            ("_generation", Int64Array::from(vec![generation; count])),
            (
                "_partition",
                Int64Array::from(vec![i64::from(partition); count]),
            ),
            ("_offset", Int64Array::from(vec![offset; count])),
            (
                "_revision",
                picked
                    .records
                    .iter()
                    .map(|&group| Some(self.revisions[group as usize]))
                    .collect(),
            ),
        ];
        let mut fields: Vec<_> = picked.batch.schema().fields().iter().cloned().collect();
        let mut columns = picked.batch.columns().to_vec();
        for (name, values) in ours {
            fields.push(Arc::new(Field::new(name, DataType::Int64, false)));
            columns.push(Arc::new(values) as ArrayRef);
        }
        Ok(RecordBatch::try_new(
            Arc::new(Schema::new(fields)),
            columns,
        )?)
    }
}

impl Emission {
    /// Rows of `step` that say no more than which groups they are, with our columns. `key`: names of the window's start and of the
    /// group columns there.
    pub(crate) fn table_keys(
        &self,
        step: usize,
        groups: &[u32],
        key: &[String],
        (generation, partition, offset): (i64, i32, i64),
    ) -> Result<RecordBatch, DataFusionError> {
        let keys = take_record_batch(&self.keys, &UInt32Array::from(groups.to_vec()))?;
        let starts_ms = keys.column(0).as_primitive::<Int64Type>().values();
        let starts: ArrayRef = Arc::new(timestamps(starts_ms.iter().map(|ms| ms * 1_000)));
        let mut fields = Vec::new();
        let mut columns = Vec::new();
        for field in self.relations[&step].batch.schema().fields() {
            columns.push(match key.iter().position(|name| name == field.name()) {
                Some(0) => starts.clone(),
                Some(place) => keys.column(place).clone(),
                None => new_null_array(field.data_type(), groups.len()),
            });
            fields.push(Field::new(field.name(), field.data_type().clone(), true));
        }
        for (name, value) in [
            ("_generation", generation),
            ("_partition", i64::from(partition)),
            ("_offset", offset),
            ("_revision", 0),
        ] {
            fields.push(Field::new(name, DataType::Int64, false));
            columns.push(Arc::new(Int64Array::from(vec![value; groups.len()])));
        }
        Ok(RecordBatch::try_new(
            Arc::new(Schema::new(fields)),
            columns,
        )?)
    }
}

/// The groups of a run that could be folded to results: their rows as `result` reads them, and where each stands in the run.
fn fold_isolating(
    aggregate: &Aggregate,
    run: &RecordBatch,
) -> Result<(Rows, Vec<(u32, String)>), DataFusionError> {
    if let Ok(batch) = merged(aggregate, run) {
        let records = (0..batch.num_rows() as u32).collect();
        return Ok((Rows { batch, records }, Vec::new()));
    }
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    isolate(aggregate, run, 0, &mut good, &mut bad);
    let batch = merged(
        aggregate,
        &take_record_batch(run, &UInt32Array::from(good.clone()))?,
    )?;
    let records = good;
    Ok((Rows { batch, records }, bad))
}

/// Halves `groups`, whose first stands at `from`, until what fails is one group.
fn isolate(
    aggregate: &Aggregate,
    groups: &RecordBatch,
    from: u32,
    good: &mut Vec<u32>,
    bad: &mut Vec<(u32, String)>,
) {
    let count = groups.num_rows();
    match merged(aggregate, groups) {
        Ok(_) => good.extend(from..from + count as u32),
        Err(error) if count == 1 => bad.push((from, reason(&error))),
        Err(_) => {
            let half = count / 2;
            isolate(aggregate, &groups.slice(0, half), from, good, bad);
            let rest = groups.slice(half, count - half);
            isolate(aggregate, &rest, from + half as u32, good, bad);
        }
    }
}

/// The end of the window of each of `count` groups, of which these could be folded, ms.
fn ends_ms(aggregate: &Aggregate, groups: &Rows, count: usize) -> Vec<i64> {
    let ends = groups.batch.column(aggregate.group_columns + 1);
    let ends = ends.as_primitive::<TimestampMicrosecondType>().values();
    let mut ends_ms = vec![0; count];
    for (&group, end_us) in groups.records.iter().zip(ends) {
        ends_ms[group as usize] = end_us.div_euclid(1_000);
    }
    ends_ms
}

/// The groups of a run as `result` reads them.
fn merged(aggregate: &Aggregate, run: &RecordBatch) -> Result<RecordBatch, DataFusionError> {
    if run.num_rows() == 0 {
        // Some accumulators cannot say what no group at all comes to.
        return Ok(RecordBatch::new_empty(aggregate.merged_schema.clone()));
    }
    let mut fold = Fold::new(aggregate)?;
    fold.add_partials(run)?;
    let results = fold.into_results()?;
    let starts = results.windows.values();
    let ends: Vec<i64> = match (aggregate.window, results.values.last()) {
        (Window::Session { gap_ms }, Some(last)) => {
            let last = last.as_primitive::<TimestampMicrosecondType>().values();
            let end_ms = |us: &i64| us.div_euclid(1_000).saturating_add(gap_ms);
            last.iter().map(end_ms).collect()
        }
        (window, _) => {
            let end_ms = |&start_ms: &i64| end_of(window, start_ms);
            starts.iter().map(end_ms).collect()
        }
    };
    let ends = ends.into_iter().map(|ms| ms * 1_000);
    let mut columns = results.keys;
    columns.push(Arc::new(timestamps(starts.iter().map(|ms| ms * 1_000))));
    columns.push(Arc::new(timestamps(ends)));
    columns.extend(results.values);
    Ok(RecordBatch::try_new(
        aggregate.merged_schema.clone(),
        columns,
    )?)
}

/// The window outputs of an aggregate step: index into the plan's outputs, and the step whose rows it takes.
pub(crate) fn window_outputs(plan: &Plan, step: usize) -> Vec<(usize, usize)> {
    plan.outputs
        .iter()
        .enumerate()
        .filter(|(_, output)| matches!(output.kind(), TableKind::Windows { .. }))
        .filter(|(_, output)| plan.aggregate_behind(output.from) == Some(step))
        .filter_map(|(index, output)| match output.from {
            Relation::Step(from) => Some((index, from)),
            Relation::Source(_) => None,
        })
        .collect()
}

/// The steps between an aggregate step and `from`, in order: whoever leaves a group out is named in the ledger.
pub(crate) fn chain(plan: &Plan, step: usize, from: usize) -> Vec<usize> {
    let mut chain = vec![from];
    let mut at = from;
    while at != step {
        let StepKind::Rows(program) = &plan.steps[at].kind else {
            break;
        };
        let Some(Relation::Step(previous)) = program.inputs.first() else {
            break;
        };
        at = *previous;
        chain.push(at);
    }
    chain.reverse();
    chain
}

/// Where groups stand in a run, by fingerprint of their key.
pub(crate) fn index_groups(keys: &RecordBatch) -> Result<HashMap<u128, u32>, EngineError> {
    let fingerprints = placement::fingerprints(keys.columns(), keys.num_rows())?;
    Ok(fingerprints
        .into_iter()
        .enumerate()
        .map(|(row, key)| (key, row as u32))
        .collect())
}

/// A copy of `run` in which each group was emitted `added` times more.
pub(crate) fn count_emission(
    run: &RecordBatch,
    added: &[i64],
) -> Result<RecordBatch, DataFusionError> {
    let last = run.num_columns() - 1;
    let revisions = run.column(last).as_primitive::<Int64Type>();
    let counted = revisions.values().iter().zip(added);
    let counted: Int64Array = counted
        .map(|(revision, added)| Some(revision + added))
        .collect();
    let mut columns = run.columns().to_vec();
    columns[last] = Arc::new(counted);
    Ok(RecordBatch::try_new(run.schema(), columns)?)
}
