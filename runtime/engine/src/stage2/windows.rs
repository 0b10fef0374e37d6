//! The windows of a step task: runs of partial aggregates, merged by size.
use std::collections::BTreeMap;

use arrow::array::{AsArray, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{Int64Type, SchemaRef};
use datafusion_common::DataFusionError;
use tidewheel_planner::plan::Aggregate;

use crate::fold::{Fold, run_schema};

/// A run: partial aggregates of one window, each group once.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) number: u64,
    pub(crate) batch: RecordBatch,
    /// In how many parts the state topic has it; none where it does not.
    pub(crate) stored_parts: Option<u32>,
}

/// What is kept of a window.
#[derive(Debug, Clone, Default)]
pub(crate) struct WindowState {
    /// What was emitted, as one run.
    pub(crate) emitted: Option<Run>,
    /// What came since, largest run first, each at least twice as large as the next.
    pub(crate) pending: Vec<Run>,
}

impl WindowState {
    /// How many rows went into what is not emitted.
    pub(crate) fn pending_contributions(&self, aggregate: &Aggregate) -> i64 {
        let column = aggregate.partial_schema.fields().len() - 1;
        self.pending
            .iter()
            .map(|run| {
                run.batch
                    .column(column)
                    .as_primitive::<Int64Type>()
                    .values()
                    .iter()
                    .sum::<i64>()
            })
            .sum()
    }

    fn bytes(&self) -> usize {
        self.pending
            .iter()
            .chain(&self.emitted)
            .map(|run| run.batch.get_array_memory_size())
            .sum()
    }
}

/// All windows of a task, by their start in ms.
#[derive(Debug)]
pub(crate) struct Windows {
    pub(crate) by_start: BTreeMap<i64, WindowState>,
    pub(crate) next_run: u64,
    schema: SchemaRef,
}

impl Windows {
    pub(crate) fn new(aggregate: &Aggregate) -> Self {
        Self {
            by_start: BTreeMap::new(),
            next_run: 0,
            schema: run_schema(aggregate),
        }
    }

    pub(crate) fn run_schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Bytes of Arrow memory that the windows take.
    pub(crate) fn bytes(&self) -> usize {
        self.by_start.values().map(WindowState::bytes).sum()
    }

    /// A run that is not stored yet.
    fn run(&mut self, batch: RecordBatch) -> Run {
        self.next_run += 1;
        Run {
            number: self.next_run - 1,
            batch,
            stored_parts: None,
        }
    }

    /// Adds partials of one window, merging runs so that only few remain.
    pub(crate) fn add(
        &mut self,
        aggregate: &Aggregate,
        start_ms: i64,
        partials: &RecordBatch,
    ) -> Result<(), DataFusionError> {
        let mut pending = std::mem::take(&mut self.by_start.entry(start_ms).or_default().pending);
        let mut outgrown = Vec::new();
        let mut rows = partials.num_rows();
        while let Some(last) = pending.pop_if(|last| last.batch.num_rows() < rows * 2) {
            rows += last.batch.num_rows();
            outgrown.push(last.batch);
        }
        // All at once, the oldest first: each group is looked up once for each run, however many are merged.
        let batches: Vec<&RecordBatch> = outgrown.iter().rev().chain([partials]).collect();
        let batch = self.fold(aggregate, &batches)?;
        let run = self.run(batch);
        pending.push(run);
        self.by_start.entry(start_ms).or_default().pending = pending;
        Ok(())
    }

    /// All that is pending in a window, as one run.
    pub(crate) fn pending(
        &self,
        aggregate: &Aggregate,
        start_ms: i64,
    ) -> Result<Option<RecordBatch>, DataFusionError> {
        let Some(window) = self
            .by_start
            .get(&start_ms)
            .filter(|window| !window.pending.is_empty())
        else {
            return Ok(None);
        };
        let batches: Vec<&RecordBatch> = window.pending.iter().map(|run| &run.batch).collect();
        self.fold(aggregate, &batches).map(Some)
    }

    /// Makes `batch` what was emitted of a window; nothing is pending then.
    pub(crate) fn settle(&mut self, start_ms: i64, batch: RecordBatch) {
        let emitted = Some(self.run(batch));
        self.by_start.insert(
            start_ms,
            WindowState {
                emitted,
                pending: Vec::new(),
            },
        );
    }

    /// Folds runs into one. Plain partials may be among them: they were emitted never.
    pub(crate) fn fold(
        &self,
        aggregate: &Aggregate,
        batches: &[&RecordBatch],
    ) -> Result<RecordBatch, DataFusionError> {
        let mut fold = Fold::new(aggregate)?;
        for batch in batches {
            fold.add_partials(batch)?;
        }
        fold.into_run(&self.schema)
    }
}

/// Splits partials by window: the start of each and its rows.
pub(crate) fn by_window(
    partials: &RecordBatch,
) -> Result<Vec<(i64, RecordBatch)>, DataFusionError> {
    let mut rows: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
    for (row, &start_ms) in partials
        .column(0)
        .as_primitive::<Int64Type>()
        .values()
        .iter()
        .enumerate()
    {
        rows.entry(start_ms).or_default().push(row as u32);
    }
    if rows.len() == 1 {
        return Ok(rows
            .into_keys()
            .map(|start_ms| (start_ms, partials.clone()))
            .collect());
    }
    rows.into_iter()
        .map(|(start_ms, rows)| {
            Ok((
                start_ms,
                take_record_batch(partials, &UInt32Array::from(rows))?,
            ))
        })
        .collect()
}
