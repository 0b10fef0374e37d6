//! Folds rows into partial aggregates, partials into fewer partials, and partials into results.
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use datafusion_common::DataFusionError;
use datafusion_expr::{EmitTo, GroupsAccumulator};
use datafusion_functions_aggregate_common::aggregate::groups_accumulator::GroupsAccumulatorAdapter;
use datafusion_physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion_physical_plan::aggregates::order::GroupOrdering;
use tidewheel_planner::plan::{Aggregate, Call};

use crate::extreme;

/// An aggregation in progress: groups of (window, group key) with one accumulator for each call.
pub(crate) struct Fold<'a> {
    aggregate: &'a Aggregate,
    keys: Box<dyn GroupValues>,
    accumulators: Vec<Box<dyn GroupsAccumulator>>,
    /// For each group, how many rows went into it.
    contributions: Vec<i64>,
    /// For each group, how often it was emitted.
    revisions: Vec<i64>,
    /// Scratch: the group of each row of the batch in hand.
    groups: Vec<usize>,
}

/// Folded groups, each once.
pub(crate) struct Results {
    /// Window start of each group, ms.
    pub(crate) windows: Int64Array,
    /// The group columns.
    pub(crate) keys: Vec<ArrayRef>,
    /// The value of each call.
    pub(crate) values: Vec<ArrayRef>,
}

/// The schema of runs kept in state: that of partials, and how often each group was emitted.
pub(crate) fn run_schema(aggregate: &Aggregate) -> SchemaRef {
    let mut fields: Vec<_> = aggregate.partial_schema.fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new("_revision", DataType::Int64, false)));
    Arc::new(Schema::new(fields))
}

impl<'a> Fold<'a> {
    pub(crate) fn new(aggregate: &'a Aggregate) -> Result<Self, DataFusionError> {
        let key_fields: Vec<_> =
            aggregate.partial_schema.fields()[..=aggregate.group_columns].to_vec();
        Ok(Self {
            aggregate,
            keys: new_group_values(Arc::new(Schema::new(key_fields)), &GroupOrdering::None)?,
            accumulators: aggregate
                .calls
                .iter()
                .map(accumulator)
                .collect::<Result<_, _>>()?,
            contributions: Vec::new(),
            revisions: Vec::new(),
            groups: Vec::new(),
        })
    }

    /// Adds rows of `call_schema`, each in the window that starts at `windows[row]` ms.
    pub(crate) fn add_rows(
        &mut self,
        windows: Int64Array,
        rows: &RecordBatch,
    ) -> Result<(), DataFusionError> {
        let mut keys: Vec<ArrayRef> = vec![Arc::new(windows)];
        keys.extend(
            rows.columns()[..self.aggregate.group_columns]
                .iter()
                .cloned(),
        );
        self.assign(&keys, None, None)?;
        let total = self.keys.len();
        for (call, accumulator) in self.aggregate.calls.iter().zip(&mut self.accumulators) {
            let expressions = call.function.all_expressions();
            let values = expressions
                .args
                .iter()
                .chain(&expressions.order_by_exprs)
                .map(|expr| expr.evaluate(rows)?.into_array(rows.num_rows()))
                .collect::<Result<Vec<_>, _>>()?;
            let filter = match &call.filter {
                Some(filter) => Some(filter.evaluate(rows)?.into_array(rows.num_rows())?),
                None => None,
            };
            accumulator.update_batch(
                &values,
                &self.groups,
                filter.as_ref().map(|mask| mask.as_boolean()),
                total,
            )?;
        }
        Ok(())
    }

    /// Adds partials: the columns of `partial_schema`, and of [`run_schema`] where they were emitted before.
    pub(crate) fn add_partials(&mut self, partials: &RecordBatch) -> Result<(), DataFusionError> {
        let columns = partials.columns();
        let plain = self.aggregate.partial_schema.fields().len();
        let contributions = columns[plain - 1].as_primitive::<Int64Type>();
        let revisions = columns
            .get(plain)
            .map(|column| column.as_primitive::<Int64Type>());
        self.assign(
            &columns[..=self.aggregate.group_columns],
            Some(contributions),
            revisions,
        )?;
        let total = self.keys.len();
        let mut first = self.aggregate.group_columns + 1;
        for (call, accumulator) in self.aggregate.calls.iter().zip(&mut self.accumulators) {
            let width = call.function.state_fields()?.len();
            accumulator.merge_batch(&columns[first..first + width], &self.groups, total)?;
            first += width;
        }
        Ok(())
    }

    fn assign(
        &mut self,
        keys: &[ArrayRef],
        contributions: Option<&Int64Array>,
        revisions: Option<&Int64Array>,
    ) -> Result<(), DataFusionError> {
        self.keys.intern(keys, &mut self.groups)?;
        self.contributions.resize(self.keys.len(), 0);
        self.revisions.resize(self.keys.len(), 0);
        for (row, &group) in self.groups.iter().enumerate() {
            self.contributions[group] += contributions.map_or(1, |counts| counts.value(row));
            if let Some(revisions) = revisions {
                self.revisions[group] = self.revisions[group].max(revisions.value(row));
            }
        }
        Ok(())
    }

    /// Ends the fold as partials.
    pub(crate) fn into_partials(mut self) -> Result<RecordBatch, DataFusionError> {
        let columns = self.state_columns()?;
        Ok(RecordBatch::try_new(
            self.aggregate.partial_schema.clone(),
            columns,
        )?)
    }

    /// Ends the fold as a run for the state.
    pub(crate) fn into_run(mut self, schema: &SchemaRef) -> Result<RecordBatch, DataFusionError> {
        let mut columns = self.state_columns()?;
        columns.push(Arc::new(Int64Array::from(std::mem::take(
            &mut self.revisions,
        ))));
        Ok(RecordBatch::try_new(schema.clone(), columns)?)
    }

    fn state_columns(&mut self) -> Result<Vec<ArrayRef>, DataFusionError> {
        let mut columns = if self.keys.is_empty() {
            self.no_keys()
        } else {
            self.keys.emit(EmitTo::All)?
        };
        for accumulator in &mut self.accumulators {
            columns.extend(accumulator.state(EmitTo::All)?);
        }
        columns.push(Arc::new(Int64Array::from(std::mem::take(
            &mut self.contributions,
        ))));
        Ok(columns)
    }

    fn no_keys(&self) -> Vec<ArrayRef> {
        let fields = &self.aggregate.partial_schema.fields()[..=self.aggregate.group_columns];
        fields
            .iter()
            .map(|field| arrow::array::new_empty_array(field.data_type()))
            .collect()
    }

    /// Ends the fold as results.
    pub(crate) fn into_results(mut self) -> Result<Results, DataFusionError> {
        let mut keys = if self.keys.is_empty() {
            self.no_keys()
        } else {
            self.keys.emit(EmitTo::All)?
        };
        let windows = keys.remove(0).as_primitive::<Int64Type>().clone();
        let values = self
            .accumulators
            .iter_mut()
            .map(|accumulator| accumulator.evaluate(EmitTo::All))
            .collect::<Result<_, _>>()?;
        Ok(Results {
            windows,
            keys,
            values,
        })
    }
}

fn accumulator(call: &Call) -> Result<Box<dyn GroupsAccumulator>, DataFusionError> {
    if let Some(extreme) = extreme::accumulator(call) {
        return Ok(extreme);
    }
    if call.function.groups_accumulator_supported() {
        return call.function.create_groups_accumulator();
    }
    let function = Arc::clone(&call.function);
    Ok(Box::new(GroupsAccumulatorAdapter::new(move || {
        function.create_accumulator()
    })))
}
