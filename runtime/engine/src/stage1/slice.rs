//! Runs the stage-1 steps over one slice of records.
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch, TimestampMicrosecondArray,
    UInt32Array,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema, TimestampMicrosecondType};
use datafusion_common::DataFusionError;
use tidewheel_decode::Decoder;
use tidewheel_log::Record;
use tidewheel_planner::plan::{Aggregate, Deduplicate, LatePolicy, Plan, RowProgram, Source};

use super::append_time::AppendTime;
use super::fates::{Fate, Reasons};
use super::source_record::SourceRecord;
use super::watermark::PartitionWatermark;
use crate::deduplication::Deduplication;
use crate::error::EngineError;
use crate::fold::Fold;
use crate::rows::{Failure, Rows, evaluate};
use crate::sabotage::{self, Bug};
use crate::window::{closes_at, end_of, start_of};
use crate::wire::dead_letter::Reason;
use crate::wire::placement;

/// The time zone of all timestamps.
const UTC: &str = "+00:00";

/// A relation over a slice: its rows, and what became of each record up to it.
pub(crate) struct Traced {
    pub(crate) rows: Rows,
    pub(crate) fates: Vec<Fate>,
}

/// A record that became a dead letter in this slice.
pub(crate) struct Dead {
    pub(crate) record: u32,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    pub(crate) step: Option<usize>,
    pub(crate) field: Option<String>,
}

/// What each record of a slice says of time.
pub(crate) struct Times {
    /// Event time, microseconds since the epoch; meaningless for records that did not decode.
    pub(crate) event_us: Vec<i64>,
    /// The partition's watermark before the record, ms.
    pub(crate) before_ms: Vec<Option<i64>>,
    /// When the record counts as appended, ms.
    pub(crate) append_ms: Vec<i64>,
}

/// One slice on its way through the steps.
pub(crate) struct Slice<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) partition: i32,
    pub(crate) records: &'a [Record],
    pub(crate) times: Times,
    pub(crate) dead: Vec<Dead>,
    pub(crate) reasons: &'a mut Reasons,
}

impl<'a> Slice<'a> {
    /// Decodes the records and judges their times; the source relation and the slice.
    #[allow(
        clippy::too_many_arguments,
        reason = "what a verdict is made of, and what it changes"
    )]
    pub(crate) fn decode(
        plan: &'a Plan,
        source: &Source,
        partition: i32,
        records: &'a [Record],
        decoder: &mut Decoder,
        watermark: &mut PartitionWatermark,
        append: &mut AppendTime,
        reasons: &'a mut Reasons,
    ) -> Result<(Self, Traced), EngineError> {
        let append_ms: Vec<i64> = records.iter().map(|record| append.of(record)).collect();
        let decoded = decoder.decode_records(
            records
                .iter()
                .map(|record| SourceRecord { record, partition }),
        );
        let mut fates = vec![Fate::Present; records.len()];
        let mut dead = Vec::new();
        for (record, error) in decoded.refused {
            let absent = records[record as usize].value.is_none();
            let (reason, message) = if absent {
                (Reason::Empty.as_str(), "the record has no value".to_owned())
            } else {
                (error.code, error.to_string())
            };
            fates[record as usize] = reasons.fate(reason);
            dead.push(Dead {
                record,
                reason,
                message,
                step: None,
                field: error.field.filter(|_| !absent),
            });
        }
        let event_us = event_times(source, &decoded.batch, &decoded.rows, records.len());
        let times = judge_times(
            source, records, append_ms, &event_us, &mut fates, &mut dead, watermark, reasons,
        );
        let keep: UInt32Array = (0..decoded.rows.len() as u32)
            .filter(|&row| fates[decoded.rows[row as usize] as usize] == Fate::Present)
            .collect::<Vec<_>>()
            .into();
        let all = Rows {
            batch: decoded.batch,
            records: decoded.rows,
        };
        let rows = if keep.len() == all.records.len() {
            all
        } else {
            all.take(&keep)
                .map_err(|error| EngineError::aggregation(&source.name, &error))?
        };
        Ok((
            Self {
                plan,
                partition,
                records,
                times,
                dead,
                reasons,
            },
            Traced { rows, fates },
        ))
    }

    /// A row-wise step. None where none of its inputs is reached from this source.
    pub(crate) fn rows(
        &mut self,
        step: usize,
        program: &RowProgram,
        relations: &[Option<&Traced>],
    ) -> Option<Traced> {
        if relations.iter().all(Option::is_none) {
            return None;
        }
        let inputs: Vec<Option<&Rows>> = relations
            .iter()
            .map(|input| input.map(|traced| &traced.rows))
            .collect();
        let (rows, failures) = evaluate(program, &inputs);
        let mut fates = inherited(relations, Fate::Filtered(step as u16));
        self.bury(step, failures, &mut fates);
        for &record in &rows.records {
            fates[record as usize] = Fate::Present;
        }
        Some(Traced { rows, fates })
    }

    /// A deduplication.
    pub(crate) fn deduplicate(
        &mut self,
        step: &Deduplicate,
        input: &Traced,
        seen: &mut Deduplication,
    ) -> Result<Traced, EngineError> {
        let keys: Vec<ArrayRef> = step
            .by
            .iter()
            .map(|&column| input.rows.batch.column(column).clone())
            .collect();
        let fingerprints = placement::fingerprints(&keys, input.rows.records.len())?;
        let mut order: Vec<usize> = (0..input.rows.records.len()).collect();
        order.sort_by_key(|&row| input.rows.records[row]);
        let mut kept = Vec::with_capacity(order.len());
        let mut record_in_hand = None;
        let mut verdicts: Vec<(u128, bool)> = Vec::new();
        for row in order {
            let (record, key) = (input.rows.records[row], fingerprints[row]);
            if record_in_hand.replace(record) != Some(record) {
                verdicts.clear();
            }
            // Rows of one record do not make each other duplicates.
            let known = verdicts
                .iter()
                .find(|(known, _)| *known == key)
                .map(|(_, duplicate)| *duplicate);
            let duplicate = known.unwrap_or_else(|| {
                let duplicate = seen.seen(key, self.times.append_ms[record as usize]);
                verdicts.push((key, duplicate));
                duplicate
            });
            if !duplicate {
                kept.push(row as u32);
            }
        }
        kept.sort_unstable();
        let mut fates: Vec<Fate> = input
            .fates
            .iter()
            .map(|fate| {
                if *fate == Fate::Present {
                    Fate::Duplicate
                } else {
                    *fate
                }
            })
            .collect();
        let rows = if kept.len() == input.rows.records.len() {
            input.rows.clone()
        } else {
            let failed = |error: DataFusionError| EngineError::Aggregation {
                step: "deduplicate".to_owned(),
                reason: error.to_string(),
            };
            input.rows.take(&UInt32Array::from(kept)).map_err(failed)?
        };
        for &record in &rows.records {
            fates[record as usize] = Fate::Present;
        }
        Ok(Traced { rows, fates })
    }

    /// The partial half of an aggregate step: the partials of this slice, and what became of each record.
    pub(crate) fn aggregate(
        &mut self,
        step: usize,
        aggregate: &Aggregate,
        cut_ms: Option<i64>,
        input: &Traced,
    ) -> Result<(Option<RecordBatch>, Vec<Fate>), EngineError> {
        let mut fates = inherited(&[Some(input)], Fate::Filtered(step as u16));
        let failed =
            |error: DataFusionError| EngineError::aggregation(&self.plan.steps[step].name, &error);
        let windowed;
        let rows = if aggregate.argument_sees_window {
            windowed = self.with_window(aggregate, &input.rows).map_err(failed)?;
            &windowed
        } else {
            &input.rows
        };
        let (arguments, failures) = evaluate(&aggregate.argument, &[Some(rows)]);
        self.bury(step, failures, &mut fates);
        let arguments = self.in_time(step, aggregate, cut_ms, arguments, &mut fates)?;
        let calls = self.call_rows(aggregate, &arguments).map_err(failed)?;
        let (partials, failures, counted) =
            fold_isolating(aggregate, &calls, &self.windows(aggregate, &calls.records))
                .map_err(|error| EngineError::aggregation(&self.plan.steps[step].name, &error))?;
        for record in counted {
            fates[record as usize] = Fate::Present;
        }
        self.bury(step, failures, &mut fates);
        Ok((partials, fates))
    }

    /// The rows whose windows still take them; the others are accounted for.
    fn in_time(
        &mut self,
        step: usize,
        aggregate: &Aggregate,
        cut_ms: Option<i64>,
        rows: Rows,
        fates: &mut [Fate],
    ) -> Result<Rows, EngineError> {
        let mut kept = Vec::with_capacity(rows.records.len());
        let mut late = Vec::new();
        for (row, &record) in rows.records.iter().enumerate() {
            let start_ms = start_of(
                aggregate.window,
                self.times.event_us[record as usize].div_euclid(1_000),
            );
            let watermark_ms = self.times.before_ms[record as usize];
            if cut_ms.is_some_and(|cut_ms| start_ms < cut_ms) {
                fates[record as usize] = Fate::EarlierGeneration;
            } else if watermark_ms
                .is_some_and(|ms| ms >= closes_at(aggregate.window, aggregate.late, start_ms))
            {
                late.push((record, start_ms));
            } else {
                kept.push(row as u32);
            }
        }
        // Rows of one record need not be neighbours.
        late.sort_unstable();
        late.dedup_by_key(|(record, _)| *record);
        for (record, start_ms) in late {
            if aggregate.late.policy == LatePolicy::Drop {
                fates[record as usize] = Fate::Late;
                continue;
            }
            let message = format!(
                "its window ended at {} and the watermark of its partition is {}",
                rfc3339(end_of(aggregate.window, start_ms)),
                self.times.before_ms[record as usize].map_or_else(|| "unknown".to_owned(), rfc3339),
            );
            fates[record as usize] = self.reasons.fate(Reason::Late.as_str());
            self.dead.push(Dead {
                record,
                reason: Reason::Late.as_str(),
                message,
                step: Some(step),
                field: None,
            });
        }
        if kept.len() == rows.records.len() {
            return Ok(rows);
        }
        rows.take(&UInt32Array::from(kept))
            .map_err(|error| EngineError::aggregation(&self.plan.steps[step].name, &error))
    }

    fn windows(&self, aggregate: &Aggregate, records: &[u32]) -> Vec<i64> {
        records
            .iter()
            .map(|&record| {
                start_of(
                    aggregate.window,
                    self.times.event_us[record as usize].div_euclid(1_000),
                )
            })
            .collect()
    }

    /// `rows` with `window_start` and `window_end` at the end.
    fn with_window(&self, aggregate: &Aggregate, rows: &Rows) -> Result<Rows, DataFusionError> {
        let starts = self.windows(aggregate, &rows.records);
        let ends = starts
            .iter()
            .map(|&start_ms| end_of(aggregate.window, start_ms));
        let mut columns = rows.batch.columns().to_vec();
        columns.push(Arc::new(timestamps(starts.iter().map(|ms| ms * 1_000))));
        columns.push(Arc::new(timestamps(ends.map(|ms| ms * 1_000))));
        let mut fields: Vec<_> = rows.batch.schema().fields().iter().cloned().collect();
        fields.extend(
            ["window_start", "window_end"]
                .map(|name| Arc::new(Field::new(name, timestamp_type(), false))),
        );
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?;
        Ok(Rows {
            batch,
            records: rows.records.clone(),
        })
    }

    /// `rows` with the columns that `call_schema` has beyond those of the arguments.
    fn call_rows(&self, aggregate: &Aggregate, rows: &Rows) -> Result<Rows, DataFusionError> {
        let mut columns = rows.batch.columns().to_vec();
        let count = rows.records.len();
        columns.push(Arc::new(timestamps(
            rows.records
                .iter()
                .map(|&record| self.times.event_us[record as usize]),
        )));
        columns.push(Arc::new(Int32Array::from(vec![self.partition; count])));
        columns.push(Arc::new(Int64Array::from_iter_values(
            rows.records
                .iter()
                .map(|&record| self.records[record as usize].offset),
        )));
        columns.push(Arc::new(Int32Array::from_iter_values(ordinals(
            &rows.records,
        ))));
        let batch = RecordBatch::try_new(aggregate.call_schema.clone(), columns)?;
        Ok(Rows {
            batch,
            records: rows.records.clone(),
        })
    }

    fn bury(&mut self, step: usize, failures: Vec<Failure>, fates: &mut [Fate]) {
        for Failure {
            record,
            reason: message,
        } in failures
        {
            fates[record as usize] = self.reasons.fate(Reason::Evaluation.as_str());
            self.dead.push(Dead {
                record,
                reason: Reason::Evaluation.as_str(),
                message,
                step: Some(step),
                field: None,
            });
        }
    }
}

/// For each row, which row of its record it is.
pub(crate) fn ordinals(records: &[u32]) -> impl Iterator<Item = i32> {
    let mut counts: Vec<i32> = vec![0; records.iter().max().map_or(0, |&last| last as usize + 1)];
    records.iter().map(move |&record| {
        let ordinal = counts[record as usize];
        counts[record as usize] += 1;
        ordinal
    })
}

/// What a step makes of its inputs' fates: who was there before is `lost` unless the step says otherwise.
fn inherited(inputs: &[Option<&Traced>], lost: Fate) -> Vec<Fate> {
    let mut present = inputs.iter().flatten();
    let Some(first) = present.next() else {
        return Vec::new();
    };
    let mut fates = first.fates.clone();
    for other in present {
        for (fate, other) in fates.iter_mut().zip(&other.fates) {
            if *other == Fate::Present {
                *fate = Fate::Present;
            }
        }
    }
    fates
        .iter_mut()
        .filter(|fate| **fate == Fate::Present)
        .for_each(|fate| *fate = lost);
    fates
}

fn event_times(source: &Source, batch: &RecordBatch, rows: &[u32], records: usize) -> Vec<i64> {
    let column = batch
        .column(source.event_time)
        .as_primitive::<TimestampMicrosecondType>();
    let mut event_us = vec![i64::MIN; records];
    for (row, &record) in rows.iter().enumerate() {
        if column.is_valid(row) {
            event_us[record as usize] = column.value(row);
        }
    }
    event_us
}

/// Judges each record's time in the order of the log, and moves the watermark on.
#[allow(
    clippy::too_many_arguments,
    reason = "what a verdict is made of, and what it changes"
)]
fn judge_times(
    source: &Source,
    records: &[Record],
    append_ms: Vec<i64>,
    event_us: &[i64],
    fates: &mut [Fate],
    dead: &mut Vec<Dead>,
    watermark: &mut PartitionWatermark,
    reasons: &mut Reasons,
) -> Times {
    let mut before_ms = Vec::with_capacity(records.len());
    let max_future_ms = i64::try_from(source.max_future_ms).unwrap_or(i64::MAX);
    let max_out_of_order_ms = i64::try_from(source.max_out_of_order_ms).unwrap_or(i64::MAX);
    for (index, record) in records.iter().enumerate() {
        watermark.reach(record.offset);
        before_ms.push(watermark.current_ms);
        if fates[index] != Fate::Present {
            continue;
        }
        let event_ms = event_us[index].div_euclid(1_000);
        let refused = if event_us[index] == i64::MIN {
            Some((
                Reason::NoEventTime,
                "the event has no event time".to_owned(),
            ))
        } else if event_ms > append_ms[index].saturating_add(max_future_ms) {
            let message = format!(
                "its event time {} is ahead of {}, when it came",
                rfc3339(event_ms),
                rfc3339(append_ms[index])
            );
            Some((Reason::Future, message))
        } else {
            None
        };
        match refused {
            Some((reason, message)) => {
                fates[index] = reasons.fate(reason.as_str());
                let field = Some(source.events.fields[source.event_time].name.clone());
                dead.push(Dead {
                    record: index as u32,
                    reason: reason.as_str(),
                    message,
                    step: None,
                    field,
                });
            }
            None => watermark.advance(event_ms.saturating_sub(max_out_of_order_ms)),
        }
    }
    if sabotage::is(Bug::LateByEndOfBatch) {
        before_ms.fill(watermark.current_ms);
    }
    Times {
        event_us: event_us.to_vec(),
        before_ms,
        append_ms,
    }
}

type Folded = (Option<RecordBatch>, Vec<Failure>, Vec<u32>);

/// Folds rows into partials. Records that the aggregate functions fail on are found by bisection and left out.
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

/// Splits partials by the partition that their groups go to; partitions without any are left out.
pub(crate) fn place(
    aggregate: &Aggregate,
    partials: &RecordBatch,
) -> Result<Vec<(u32, RecordBatch)>, EngineError> {
    if aggregate.partitions == 1 {
        return Ok(vec![(0, partials.clone())]);
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
                .map(|batch| (target as u32, batch))
                .map_err(|error| crate::wire::WireError::new("partial", error).into())
        })
        .collect()
}

/// All rows of batches of one schema.
pub(crate) fn concat(batches: &[RecordBatch]) -> Result<RecordBatch, arrow::error::ArrowError> {
    concat_batches(&batches[0].schema(), batches)
}

pub(crate) fn timestamp_type() -> DataType {
    DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, Some(UTC.into()))
}

pub(crate) fn timestamps(micros: impl IntoIterator<Item = i64>) -> TimestampMicrosecondArray {
    TimestampMicrosecondArray::from_iter_values(micros).with_timezone(UTC)
}

/// A time for people; the plain number where the calendar does not reach.
pub(crate) fn rfc3339(ms: i64) -> String {
    arrow::temporal_conversions::timestamp_ms_to_datetime(ms).map_or_else(
        || format!("{ms} ms"),
        |time| time.format("%Y-%m-%dT%H:%M:%S%.fZ").to_string(),
    )
}
