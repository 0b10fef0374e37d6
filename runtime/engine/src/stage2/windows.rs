//! The windows of a step task: runs of partial aggregates, merged by size.
//!
//! What comes for windows that do not overlap goes to the window. Where windows overlap it goes to its pane, once for all windows over it
//! that were not emitted; the panes of a window are folded when it is emitted. A window that was emitted has a run of its own, and what comes for
//! it later goes there, too. A pane is no longer needed once the last window over it was emitted.
//!
//! Sessions of all groups are in one pane, each run having joined those that touch; those that have ended are taken out together and
//! kept by the moment at which they were emitted.
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{Int64Type, SchemaRef};
use datafusion_common::DataFusionError;
use tidewheel_planner::plan::{Aggregate, Window};

use crate::fold::{Fold, run_schema};
use crate::sabotage::{self, Bug};
use crate::session;
use crate::window::end_of;

/// A run: partial aggregates of one window, each group once.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) number: u64,
    pub(crate) batch: RecordBatch,
    /// How many rows went in.
    contributions: i64,
    /// The first start of a window or pane among its groups, ms.
    pub(crate) first_ms: i64,
    /// In how many parts the state topic has it; none where it does not.
    pub(crate) stored_parts: Option<u32>,
}

impl Run {
    /// A run of these groups, which have the columns of [`run_schema`].
    pub(crate) fn new(number: u64, batch: RecordBatch, stored_parts: Option<u32>) -> Self {
        Self {
            number,
            contributions: contributions_of_run(&batch),
            first_ms: {
                let starts = batch.column(0).as_primitive::<Int64Type>().values();
                starts.iter().copied().min().unwrap_or(i64::MAX)
            },
            batch,
            stored_parts,
        }
    }
}

/// What is kept of a window.
#[derive(Debug, Clone, Default)]
pub(crate) struct WindowState {
    /// What was emitted, as one run.
    pub(crate) emitted: Option<Run>,
    /// What came since, largest run first, each at least twice as large as the next. What came before is in panes where windows overlap.
    pub(crate) pending: Vec<Run>,
}

/// Which part of a step's rows a run holds where windows overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pane {
    /// Its start, ms.
    pub(crate) start_ms: i64,
    /// The first window in which it counts, ms; none: all over it.
    pub(crate) from_ms: Option<i64>,
}

/// Where sessions are that were not emitted.
const SESSIONS: Pane = Pane {
    start_ms: 0,
    from_ms: None,
};

impl WindowState {
    /// Whether there is something that was not emitted.
    pub(crate) fn is_pending(&self) -> bool {
        self.emitted.is_none() || !self.pending.is_empty()
    }
}

/// All windows of a task, by their start in ms.
#[derive(Debug)]
pub(crate) struct Windows {
    pub(crate) by_start: BTreeMap<i64, WindowState>,
    /// Where windows overlap: what is for windows that were not emitted, each pane's largest run first.
    pub(crate) panes: BTreeMap<Pane, Vec<Run>>,
    pub(crate) next_run: u64,
    /// Up to where sessions were looked for that have ended, ms: nothing comes that would be among them.
    ended_to_ms: i64,
    schema: SchemaRef,
}

impl Windows {
    pub(crate) fn new(aggregate: &Aggregate) -> Self {
        Self {
            by_start: BTreeMap::new(),
            panes: BTreeMap::new(),
            next_run: 0,
            ended_to_ms: i64::MIN,
            schema: run_schema(aggregate),
        }
    }

    pub(crate) fn run_schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Bytes of Arrow memory that the windows take.
    pub(crate) fn bytes(&self) -> usize {
        let windows = self.by_start.values();
        let windows = windows.flat_map(|window| window.pending.iter().chain(&window.emitted));
        let runs = windows.chain(self.panes.values().flatten());
        runs.map(|run| run.batch.get_array_memory_size()).sum()
    }

    /// How many rows went into what is not emitted of a window.
    pub(crate) fn pending_contributions(&self, aggregate: &Aggregate, start_ms: i64) -> i64 {
        let runs = self.pending_runs(aggregate, start_ms);
        runs.map(|run| run.contributions).sum()
    }

    /// The first start among sessions that were not emitted, ms, and how many rows went into them; none where there are none, or where windows
    /// are no sessions.
    pub(crate) fn open_sessions(&self, aggregate: &Aggregate) -> Option<(i64, i64)> {
        let Window::Session { .. } = aggregate.window else {
            return None;
        };
        let runs = self.panes.get(&SESSIONS)?;
        let first_ms = runs.iter().map(|run| run.first_ms).min()?;
        Some((first_ms, runs.iter().map(|run| run.contributions).sum()))
    }

    /// How many rows went into what is not emitted of any window.
    pub(crate) fn all_pending_contributions(&self, aggregate: &Aggregate) -> i64 {
        if let Some((_, contributions)) = self.open_sessions(aggregate) {
            return contributions;
        }
        let starts_ms = self.by_start.keys();
        starts_ms
            .map(|&start_ms| self.pending_contributions(aggregate, start_ms))
            .sum()
    }

    /// The runs of what is not emitted of a window, those of its panes by the panes' starts.
    fn pending_runs(&self, aggregate: &Aggregate, start_ms: i64) -> impl Iterator<Item = &Run> {
        let window = self.by_start.get(&start_ms);
        let at = |start_ms: i64| Pane {
            start_ms,
            from_ms: None,
        };
        let panes = at(start_ms)..at(end_of(aggregate.window, start_ms));
        let panes = window
            .filter(|window| window.emitted.is_none())
            .map(|_| self.panes.range(panes));
        let counts = move |pane: &Pane| pane.from_ms.is_none_or(|from_ms| from_ms <= start_ms);
        let of_panes = panes.into_iter().flatten();
        let of_panes = of_panes.filter(move |(pane, _)| counts(pane));
        let own = window.into_iter().flat_map(|window| &window.pending);
        own.chain(of_panes.flat_map(|(_, runs)| runs))
    }

    /// A run that is not stored yet.
    fn run(&mut self, batch: RecordBatch) -> Run {
        self.next_run += 1;
        Run::new(self.next_run - 1, batch, None)
    }

    /// Adds partials of one pane to those windows over it that are still kept.
    pub(crate) fn add(
        &mut self,
        aggregate: &Aggregate,
        pane: Pane,
        windows: &[i64],
        partials: &RecordBatch,
    ) -> Result<(), DataFusionError> {
        let overlap = matches!(aggregate.window, Window::Hopping { .. });
        let mut is_awaited = false;
        for &start_ms in windows {
            let window = self.by_start.entry(start_ms).or_default();
            if overlap && window.emitted.is_none() {
                is_awaited = true;
                continue;
            }
            let pending = std::mem::take(&mut window.pending);
            let partials = in_window(aggregate, partials, start_ms)?;
            let pending = self.pushed(aggregate, pending, &partials)?;
            self.by_start.entry(start_ms).or_default().pending = pending;
        }
        if is_awaited {
            let runs = self.panes.remove(&pane).unwrap_or_default();
            let runs = self.pushed(aggregate, runs, partials)?;
            self.panes.insert(pane, runs);
        }
        Ok(())
    }

    /// Adds partials of sessions. Until these are emitted they are all in one pane.
    pub(crate) fn add_sessions(
        &mut self,
        aggregate: &Aggregate,
        partials: &RecordBatch,
    ) -> Result<(), DataFusionError> {
        let runs = self.panes.remove(&SESSIONS).unwrap_or_default();
        let runs = self.pushed(aggregate, runs, partials)?;
        self.panes.insert(SESSIONS, runs);
        Ok(())
    }

    /// Takes the sessions out that end, with the allowance, up to `final_ms`: none where no session does.
    pub(crate) fn take_sessions(
        &mut self,
        aggregate: &Aggregate,
        gap_ms: i64,
        final_ms: i64,
    ) -> Result<Option<RecordBatch>, DataFusionError> {
        if std::mem::replace(&mut self.ended_to_ms, final_ms) >= final_ms {
            return Ok(None);
        }
        let Some(runs) = self.panes.get(&SESSIONS) else {
            return Ok(None);
        };
        let batches: Vec<&RecordBatch> = runs.iter().map(|run| &run.batch).collect();
        let all = self.fold(aggregate, &batches)?;
        let gap_ms = match sabotage::is(Bug::SessionsWithoutGap) {
            true => 0,
            false => gap_ms,
        };
        let ended_ms = final_ms
            .saturating_sub(aggregate.late.allowed_ms)
            .saturating_sub(gap_ms);
        let last_ms = session::last_ms(aggregate, &all);
        let has_ended = |row: usize| last_ms[row] <= ended_ms;
        if !(0..all.num_rows()).any(has_ended) {
            return Ok(None);
        }
        let (ended, open) = parted(&all, has_ended)?;
        self.panes.remove(&SESSIONS);
        if open.num_rows() > 0 {
            let open = self.run(open);
            self.panes.insert(SESSIONS, vec![open]);
        }
        Ok(Some(ended))
    }

    /// Runs with partials of the same window or pane added, merged so that only few remain.
    fn pushed(
        &mut self,
        aggregate: &Aggregate,
        mut pending: Vec<Run>,
        partials: &RecordBatch,
    ) -> Result<Vec<Run>, DataFusionError> {
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
        Ok(pending)
    }

    /// All that is pending in a window, as one run.
    pub(crate) fn pending(
        &self,
        aggregate: &Aggregate,
        start_ms: i64,
    ) -> Result<Option<RecordBatch>, DataFusionError> {
        let runs = self.pending_runs(aggregate, start_ms);
        let batches = runs.map(|run| in_window(aggregate, &run.batch, start_ms));
        let batches: Vec<RecordBatch> = batches.collect::<Result<_, _>>()?;
        if batches.is_empty() {
            return Ok(None);
        }
        let batches: Vec<&RecordBatch> = batches.iter().collect();
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
        if let Window::Session { gap_ms } = aggregate.window {
            return self.fold_sessions(aggregate, gap_ms, batches);
        }
        let mut fold = Fold::new(aggregate)?;
        for batch in batches {
            fold.add_partials(batch)?;
        }
        fold.into_run(&self.schema)
    }
}

impl Windows {
    /// Folds sessions that were not emitted into those that they make together.
    fn fold_sessions(
        &self,
        aggregate: &Aggregate,
        gap_ms: i64,
        batches: &[&RecordBatch],
    ) -> Result<RecordBatch, DataFusionError> {
        let plain: Vec<usize> = (0..aggregate.partial_schema.fields().len()).collect();
        let partials = batches.iter().map(|batch| batch.project(&plain));
        let partials: Vec<RecordBatch> = partials.collect::<Result<_, _>>()?;
        let partials = concat_batches(&aggregate.partial_schema, &partials)?;
        let joined = match sabotage::is(Bug::SessionsApart) {
            true => partials,
            false => session::joined(aggregate, &partials, gap_ms)?,
        };
        let mut fold = Fold::new(aggregate)?;
        fold.add_partials(&joined)?;
        fold.into_run(&self.schema)
    }
}

/// Partials of a pane as those of a window over it. A window that is a pane has them as they are.
pub(crate) fn in_window(
    aggregate: &Aggregate,
    partials: &RecordBatch,
    start_ms: i64,
) -> Result<RecordBatch, DataFusionError> {
    if !matches!(aggregate.window, Window::Hopping { .. }) {
        return Ok(partials.clone());
    }
    let mut columns = partials.columns().to_vec();
    let starts = Int64Array::from(vec![start_ms; partials.num_rows()]);
    columns[0] = Arc::new(starts) as ArrayRef;
    Ok(RecordBatch::try_new(partials.schema(), columns)?)
}

/// The rows that are chosen, and the others.
pub(crate) fn parted(
    rows: &RecordBatch,
    is_chosen: impl Fn(usize) -> bool,
) -> Result<(RecordBatch, RecordBatch), DataFusionError> {
    let (chosen, others): (Vec<u32>, Vec<u32>) =
        (0..rows.num_rows() as u32).partition(|&row| is_chosen(row as usize));
    let taken = |of: Vec<u32>| take_record_batch(rows, &UInt32Array::from(of));
    Ok((taken(chosen)?, taken(others)?))
}

/// How many rows went into the groups of a run, whose last columns are that and how often they were emitted.
pub(crate) fn contributions_of_run(run: &RecordBatch) -> i64 {
    let counts = run.column(run.num_columns() - 2);
    counts.as_primitive::<Int64Type>().values().iter().sum()
}

/// Splits partials by pane: the start of each and its rows.
pub(crate) fn by_pane(partials: &RecordBatch) -> Result<Vec<(i64, RecordBatch)>, DataFusionError> {
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
