//! Partial aggregates of rows: folded by window and group, records that cannot be computed found by bisection, placed, and addressed to the
//! partitions of a partials topic.
use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{Int64Array, RecordBatch, UInt32Array};
use datafusion_common::DataFusionError;
use tidewheel_log::NewRecord;
use tidewheel_planner::plan::{Aggregate, Window};

use crate::error::EngineError;
use crate::fold::Fold;
use crate::rows::{Failure, Rows};
use crate::session;
use crate::window::floor;
use crate::wire::batch::{MAX_BATCH_BYTES, chunks};
use crate::wire::partial::{self, PartialHeader};
use crate::wire::{WireError, placement};

/// Partials, where there are any; the records that cannot be computed; those that the partials are made of.
type Folded = (Option<RecordBatch>, Vec<Failure>, Vec<u32>);

/// Folds rows of `call_schema` into partials of their panes, or of the sessions that they make with each other. Records that the aggregate
/// functions fail on are found by bisection and left out. `event_ms`: the time of a record.
pub(crate) fn folded(
    aggregate: &Aggregate,
    rows: &Rows,
    event_ms: &dyn Fn(u32) -> i64,
) -> Result<Folded, DataFusionError> {
    let once = fold_isolating(aggregate, rows, &panes(aggregate, rows, event_ms)?)?;
    let (Window::Session { .. }, (_, failures, _)) = (aggregate.window, &once) else {
        return Ok(once);
    };
    if failures.is_empty() {
        return Ok(once);
    }
    // Rows that are left out may have stood between others.
    let failed: BTreeSet<u32> = failures.iter().map(|failure| failure.record).collect();
    let others = (0..).zip(&rows.records);
    let others = others.filter(|(_, record)| !failed.contains(record));
    let others = rows.take(&others.map(|(row, _)| row).collect::<UInt32Array>())?;
    let panes = panes(aggregate, &others, event_ms)?;
    let (partials, ..) = fold_isolating(aggregate, &others, &panes)?;
    let (_, failures, counted) = once;
    Ok((partials, failures, counted))
}

/// The start of the pane of each row, ms, or of the session that it makes with others. Rows begin with the group columns.
fn panes(
    aggregate: &Aggregate,
    rows: &Rows,
    event_ms: &dyn Fn(u32) -> i64,
) -> Result<Vec<i64>, DataFusionError> {
    let times = rows.records.iter().map(|&record| event_ms(record));
    if let Window::Session { gap_ms } = aggregate.window {
        let times: Vec<i64> = times.collect();
        let groups = &rows.batch.columns()[..aggregate.group_columns];
        let starts = session::starts(groups, &times, &times, gap_ms);
        return starts.map_err(|error| DataFusionError::External(Box::new(error)));
    }
    let pane_ms = aggregate.window.pane_ms();
    Ok(times.map(|event_ms| floor(event_ms, pane_ms)).collect())
}

/// Rows apart by the first window that takes them, none where all do; `shortened` has it of records for which that is not so.
pub(crate) fn by_first_window(
    rows: Rows,
    shortened: &BTreeMap<u32, i64>,
) -> Result<Vec<(Option<i64>, Rows)>, DataFusionError> {
    if shortened.is_empty() {
        return Ok(vec![(None, rows)]);
    }
    let mut apart: BTreeMap<Option<i64>, Vec<u32>> = BTreeMap::new();
    for (row, record) in (0..).zip(&rows.records) {
        let from_ms = shortened.get(record).copied();
        apart.entry(from_ms).or_default().push(row);
    }
    let apart = apart.into_iter();
    apart
        .map(|(from_ms, picked)| Ok((from_ms, rows.take(&UInt32Array::from(picked))?)))
        .collect()
}

fn fold_isolating(
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

/// Partials of some rows.
#[derive(Debug)]
pub(crate) struct Folds {
    /// They count only in windows that start here or later, ms; none: in all that hold their pane.
    pub(crate) windows_from_ms: Option<i64>,
    pub(crate) batch: RecordBatch,
}

/// Partials of some rows for one partition of the partials topic.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) target: u32,
    pub(crate) windows_from_ms: Option<i64>,
    pub(crate) partials: RecordBatch,
}

/// Splits partials by the partition that their groups go to; partitions without any are left out.
pub(crate) fn place(aggregate: &Aggregate, partials: &Folds) -> Result<Vec<Placed>, EngineError> {
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
                .map_err(|error| WireError::new("partial", error).into())
        })
        .collect()
}

/// Partials for the same partition and windows as one.
pub(crate) fn joined(
    aggregate: &Aggregate,
    placed: Vec<Placed>,
) -> Result<Vec<Placed>, DataFusionError> {
    let mut together: BTreeMap<(u32, Option<i64>), Vec<RecordBatch>> = BTreeMap::new();
    for placed in placed {
        let place = (placed.target, placed.windows_from_ms);
        together.entry(place).or_default().push(placed.partials);
    }
    let one = |((target, windows_from_ms), mut parts): (_, Vec<RecordBatch>)| {
        let partials = match (parts.len(), parts.pop()) {
            (1, Some(only)) => only,
            (_, last) => {
                let mut fold = Fold::new(aggregate)?;
                for part in parts.iter().chain(&last) {
                    fold.add_partials(part)?;
                }
                fold.into_partials()?
            }
        };
        Ok(Placed {
            target,
            windows_from_ms,
            partials,
        })
    };
    together.into_iter().map(one).collect()
}

/// The partitions of a partials topic, which are told a watermark.
pub(crate) struct Audience<'a> {
    /// The emission count that each was told last.
    pub(crate) told: &'a mut [Option<i64>],
    /// That of the watermark.
    pub(crate) emissions: Option<i64>,
    /// Only those are told who get partials.
    pub(crate) is_brief: bool,
}

/// What goes to the partitions of a partials topic: partials, and the header's watermark to all that have some or wait for it.
pub(crate) fn address(
    topic: &str,
    header: &PartialHeader,
    placed: Vec<Placed>,
    audience: Audience<'_>,
) -> Result<Vec<NewRecord>, EngineError> {
    let Audience {
        told,
        emissions,
        is_brief,
    } = audience;
    let mut batches: BTreeMap<u32, Vec<(Option<i64>, RecordBatch)>> = BTreeMap::new();
    for Placed {
        target,
        windows_from_ms,
        partials,
    } in placed
    {
        let batches = batches.entry(target).or_default();
        let chunks = chunks(&partials, MAX_BATCH_BYTES).into_iter();
        batches.extend(chunks.map(|chunk| (windows_from_ms, chunk)));
    }
    let mut log = Vec::new();
    for (target, told) in told.iter_mut().enumerate() {
        let mut batches = batches.remove(&(target as u32)).unwrap_or_default();
        if batches.is_empty() && (is_brief || emissions.is_none() || *told == emissions) {
            continue;
        }
        *told = emissions;
        let last = batches.pop();
        let mut push = |header: &PartialHeader, batch: Option<&RecordBatch>| {
            log.push(NewRecord {
                topic: topic.to_owned(),
                partition: Some(target as i32),
                key: None,
                value: Some(partial::encode(header, batch)?),
                headers: Vec::new(),
            });
            Ok::<_, WireError>(())
        };
        // The watermark closes windows to what comes after it: only the last record has it.
        for (windows_from_ms, batch) in &batches {
            let header = PartialHeader {
                watermark_ms: None,
                windows_from_ms: *windows_from_ms,
                ..header.clone()
            };
            push(&header, Some(batch))?;
        }
        let windows_from_ms = last.as_ref().and_then(|(from_ms, _)| *from_ms);
        let header = PartialHeader {
            windows_from_ms,
            ..header.clone()
        };
        push(&header, last.as_ref().map(|(_, batch)| batch))?;
    }
    Ok(log)
}
