//! Partial aggregates of a slice: folded by window and group, records that cannot be computed found by bisection, and placed.
use arrow::array::{Int64Array, RecordBatch, UInt32Array};
use datafusion_common::DataFusionError;
use tidewheel_planner::plan::Aggregate;

use crate::error::EngineError;
use crate::fold::Fold;
use crate::rows::{Failure, Rows};
use crate::wire::placement;

/// Partials, where there are any; the records that cannot be computed; those that the partials are made of.
type Folded = (Option<RecordBatch>, Vec<Failure>, Vec<u32>);

/// Folds rows into partials. Records that the aggregate functions fail on are found by bisection and left out.
pub(super) fn fold_isolating(
    aggregate: &Aggregate,
    rows: &Rows,
    windows: &[i64],
) -> Result<Folded, DataFusionError> {
    if rows.records.is_empty() {
        return Ok((None, Vec::new(), Vec::new()));
    }
    if let Ok(partials) = fold(aggregate, &rows.batch, windows) {
        return Ok((Some(partials), Vec::new(), rows.records.clone()));
    }
    let mut failures = Vec::new();
    let mut good = Vec::new();
    isolate(
        aggregate,
        rows,
        windows,
        0,
        rows.records.len(),
        &mut good,
        &mut failures,
    );
    good.retain(|&row| {
        !failures
            .iter()
            .any(|failure: &Failure| failure.record == rows.records[row as usize])
    });
    if good.is_empty() {
        return Ok((None, failures, Vec::new()));
    }
    let kept = rows.take(&UInt32Array::from(good.clone()))?;
    let windows: Vec<i64> = good.iter().map(|&row| windows[row as usize]).collect();
    Ok((
        Some(fold(aggregate, &kept.batch, &windows)?),
        failures,
        kept.records,
    ))
}

fn isolate(
    aggregate: &Aggregate,
    rows: &Rows,
    windows: &[i64],
    from: usize,
    to: usize,
    good: &mut Vec<u32>,
    failures: &mut Vec<Failure>,
) {
    match fold(
        aggregate,
        &rows.batch.slice(from, to - from),
        &windows[from..to],
    ) {
        Ok(_) => good.extend(from as u32..to as u32),
        Err(error) if to - from == 1 => {
            failures.push(Failure {
                record: rows.records[from],
                reason: crate::rows::reason(&error),
            });
        }
        Err(_) => {
            let middle = from + (to - from) / 2;
            isolate(aggregate, rows, windows, from, middle, good, failures);
            isolate(aggregate, rows, windows, middle, to, good, failures);
        }
    }
}

fn fold(
    aggregate: &Aggregate,
    rows: &RecordBatch,
    windows: &[i64],
) -> Result<RecordBatch, DataFusionError> {
    let mut fold = Fold::new(aggregate)?;
    fold.add_rows(Int64Array::from(windows.to_vec()), rows)?;
    fold.into_partials()
}

/// Partials of a slice.
pub(super) struct SlicePartials {
    /// They count only in windows that start here or later, ms; none: in all that hold their pane.
    pub(super) windows_from_ms: Option<i64>,
    pub(super) batch: RecordBatch,
}

/// Partials of a slice for one partition of the partials topic.
pub(super) struct Placed {
    pub(super) target: u32,
    pub(super) windows_from_ms: Option<i64>,
    pub(super) partials: RecordBatch,
}

/// Splits partials by the partition that their groups go to; partitions without any are left out.
pub(super) fn place(
    aggregate: &Aggregate,
    partials: &SlicePartials,
) -> Result<Vec<Placed>, EngineError> {
    let windows_from_ms = partials.windows_from_ms;
    let partials = &partials.batch;
    let placed = |target, partials| Placed {
        target,
        windows_from_ms,
        partials,
    };
    if aggregate.partitions == 1 {
        return Ok(vec![placed(0, partials.clone())]);
    }
    let keys = &partials.columns()[1..=aggregate.group_columns];
    let targets = placement::partitions(keys, partials.num_rows(), aggregate.partitions)?;
    let mut rows: Vec<Vec<u32>> = vec![Vec::new(); aggregate.partitions as usize];
    for (row, &target) in targets.iter().enumerate() {
        rows[target as usize].push(row as u32);
    }
    rows.into_iter()
        .enumerate()
        .filter(|(_, rows)| !rows.is_empty())
        .map(|(target, rows)| {
            let batch = arrow::compute::take_record_batch(partials, &UInt32Array::from(rows));
            batch
                .map(|batch| placed(target as u32, batch))
                .map_err(|error| crate::wire::WireError::new("partial", error).into())
        })
        .collect()
}
