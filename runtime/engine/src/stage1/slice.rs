//! Runs the stage-1 steps over one slice of records.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, UInt32Array};
use arrow::datatypes::{Field, Schema};
use datafusion_common::DataFusionError;
use tidewheel_decode::DecodeError;
use tidewheel_log::Record;
use tidewheel_planner::plan::{Aggregate, Deduplicate, LatePolicy, Plan, RowProgram, Window};

use super::addressed::Addressed;
use super::append_time::AppendTime;
use super::events::{Events, Found};
use super::fates::{Fate, Reasons};
use super::reach::reached;
use super::times::{Times, event_times, is_future, judge_times};
use super::watermark::PartitionWatermark;
use crate::deduplication::Deduplication;
use crate::error::EngineError;
use crate::partials::{Folds, by_first_window, folded};
use crate::rows::{Failure, Rows, evaluate};
use crate::timestamp::{rfc3339, timestamp_type, timestamps};
use crate::window::{closes_at, end_of, first_open, first_start, last_start, rows_from};
use crate::wire::dead_letter::Reason;
use crate::wire::placement;
use crate::wire::state::OffsetRange;

/// A relation over a slice: its rows, and what became of each record up to it.
#[derive(Clone)]
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

/// A source has fewer partitions than these bits can number.
const PARTITION_BITS: u32 = 20;

/// How the generation of an aggregate step began.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Begun {
    /// Windows that start before it are of earlier generations, ms.
    pub(crate) cut_ms: Option<i64>,
    /// What it has read anew.
    pub(crate) replayed: Option<OffsetRange>,
}

/// One slice on its way through the steps.
pub(crate) struct Slice<'a> {
    pub(crate) plan: &'a Plan,
    /// Index of the source in the plan.
    pub(crate) source: usize,
    pub(crate) partition: i32,
    pub(crate) records: &'a [Record],
    pub(crate) times: Times,
    /// The records that were sent again.
    pub(crate) addressed: Addressed,
    pub(crate) dead: Vec<Dead>,
    pub(crate) reasons: &'a mut Reasons,
}

impl<'a> Slice<'a> {
    /// Decodes the records and judges their times; the source relation and the slice.
    pub(crate) fn decode(
        plan: &'a Plan,
        (source, partition): (usize, i32),
        records: &'a [Record],
        events: &mut Events,
        watermark: &mut PartitionWatermark,
        append: &mut AppendTime,
        reasons: &'a mut Reasons,
    ) -> Result<(Self, Traced), EngineError> {
        let input = source;
        let source = &plan.sources[input];
        let append_ms = records.iter().map(|record| append.of(record)).collect();
        let (decoded, mut found) = events.read(records, partition);
        let mut fates = vec![Fate::Present; records.len()];
        let mut dead = Vec::new();
        let addressed = Addressed::read(plan, input, records);
        for record in addressed.elsewhere() {
            fates[record as usize] = Fate::Skipped;
        }
        for (record, why) in addressed.unknown() {
            let reason = Reason::UnknownTarget.as_str();
            fates[record as usize] = reasons.fate(reason);
            dead.push(Dead {
                record,
                reason,
                message: why.to_owned(),
                step: None,
                field: None,
            });
        }
        for (record, error) in decoded.refused {
            if fates[record as usize] != Fate::Present {
                continue;
            }
            let error = match std::mem::replace(&mut found[record as usize], Found::NoValue) {
                Found::NoValue if source.foreign => {
                    fates[record as usize] = Fate::Tombstone;
                    continue;
                }
                Found::NoValue => DecodeError {
                    field: None,
                    code: Reason::Empty.as_str(),
                    reason: "the record has no value".to_owned(),
                },
                Found::Refused(error) => error,
                Found::Event(_) => error,
            };
            let (reason, message) = (error.code, error.to_string());
            fates[record as usize] = reasons.fate(reason);
            dead.push(Dead {
                record,
                reason,
                message,
                step: None,
                field: error.field,
            });
        }
        let mut times = Times {
            event_us: event_times(source, &decoded.batch, &decoded.rows, records.len()),
            append_ms,
            before_ms: Vec::with_capacity(records.len()),
        };
        judge_times(
            source, records, &mut times, &mut fates, &mut dead, watermark, reasons,
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
                source: input,
                partition,
                records,
                times,
                addressed,
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
    ) -> Result<Option<Traced>, EngineError> {
        if relations.iter().all(Option::is_none) {
            return Ok(None);
        }
        let offered = relations.iter().map(|input| {
            let offered = input.map(|input| self.addressed.for_step(step, input));
            offered.transpose()
        });
        let offered = offered.collect::<Result<Vec<_>, _>>()?;
        let relations: Vec<Option<&Traced>> = offered.iter().map(Option::as_deref).collect();
        let inputs: Vec<Option<&Rows>> = relations
            .iter()
            .map(|input| input.map(|traced| &traced.rows))
            .collect();
        let (rows, failures) = evaluate(program, &inputs);
        let mut fates = inherited(&relations, Fate::Filtered(step as u16));
        self.bury(step, failures, &mut fates);
        for &record in &rows.records {
            fates[record as usize] = Fate::Present;
        }
        Ok(Some(Traced { rows, fates }))
    }

    /// A deduplication.
    pub(crate) fn deduplicate(
        &mut self,
        step: usize,
        deduplicate: &Deduplicate,
        input: &Traced,
        seen: &mut Deduplication,
    ) -> Result<Traced, EngineError> {
        let offered = self.addressed.for_step(step, input)?;
        let input = offered.as_ref();
        let keys: Vec<ArrayRef> = deduplicate
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
                let repeats = self.addressed.repeats(record).iter();
                // What it repeats is the same event. This step has let that through where a later one refused it, and may know it now where
                // none had come so far.
                let own_ms: Vec<i64> = repeats.map(|of| of.append_time_ms).collect();
                let append_ms = self.times.append_ms[record as usize];
                let is_known = seen.seen_but(&own_ms, key, append_ms);
                let duplicate = is_known && !self.addressed.passes(record, step);
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

    /// The partial half of an aggregate step: the partials of this slice, and what became of each record. One that came too late for some of
    /// its windows counts in the others.
    pub(crate) fn aggregate(
        &mut self,
        step: usize,
        aggregate: &Aggregate,
        begun: Begun,
        input: &Traced,
    ) -> Result<(Vec<Folds>, Vec<Fate>), EngineError> {
        let offered = self.addressed.for_step(step, input)?;
        let input = offered.as_ref();
        let mut fates = inherited(&[Some(input)], Fate::Filtered(step as u16));
        let plan = self.plan;
        let failed =
            |error: DataFusionError| EngineError::aggregation(&plan.steps[step].name, &error);
        let windowed;
        let rows = if aggregate.argument_sees_window {
            windowed = self.with_window(aggregate, &input.rows).map_err(failed)?;
            &windowed
        } else {
            &input.rows
        };
        let (arguments, failures) = evaluate(&aggregate.argument, &[Some(rows)]);
        self.bury(step, failures, &mut fates);
        let (arguments, shortened) = self.in_time(step, aggregate, begun, arguments, &mut fates)?;
        let calls = self
            .call_rows(step, aggregate, &arguments)
            .map_err(failed)?;
        let mut folds = Vec::new();
        for (windows_from_ms, calls) in by_first_window(calls, &shortened).map_err(failed)? {
            let event_ms = |record| self.times.event_ms(record);
            let (partials, failures, counted) =
                folded(aggregate, &calls, &event_ms).map_err(failed)?;
            for record in counted {
                fates[record as usize] = Fate::Present;
            }
            self.bury(step, failures, &mut fates);
            folds.extend(partials.map(|batch| Folds {
                windows_from_ms,
                batch,
            }));
        }
        Ok((folds, fates))
    }

    /// The rows that some of their windows still take, and by record the first of these windows, ms, where it is not the first of all; the
    /// other rows are accounted for.
    fn in_time(
        &mut self,
        step: usize,
        aggregate: &Aggregate,
        begun: Begun,
        rows: Rows,
        fates: &mut [Fate],
    ) -> Result<(Rows, BTreeMap<u32, i64>), EngineError> {
        let Aggregate { window, late, .. } = *aggregate;
        let overlap = matches!(window, Window::Hopping { .. });
        let repeated = self.taken_by_replay(begun.replayed);
        let rows_from_ms = begun.cut_ms.map(|cut_ms| rows_from(window, cut_ms));
        let mut kept = Vec::with_capacity(rows.records.len());
        let mut too_late = Vec::new();
        let mut shortened = BTreeMap::new();
        for (row, &record) in rows.records.iter().enumerate() {
            let event_ms = self.times.event_ms(record);
            let last_ms = last_start(window, event_ms);
            let watermark_ms = self.times.before_ms[record as usize];
            if rows_from_ms.is_some_and(|from_ms| last_ms < from_ms) {
                fates[record as usize] = Fate::EarlierGeneration;
            } else if repeated.contains(&record) {
                fates[record as usize] = Fate::Skipped;
            } else if watermark_ms.is_some_and(|ms| ms >= closes_at(window, late, last_ms)) {
                too_late.push((record, last_ms));
            } else {
                kept.push(row as u32);
                // A window that is the only one is open here.
                if overlap {
                    let open_ms = watermark_ms.map(|ms| first_open(window, late, ms));
                    let from_ms = begun.cut_ms.max(open_ms);
                    let first_ms = first_start(window, event_ms);
                    let missed = from_ms.filter(|from_ms| first_ms < *from_ms);
                    shortened.extend(missed.map(|from_ms| (record, from_ms)));
                }
            }
        }
        // Rows of one record need not be neighbours.
        too_late.sort_unstable();
        too_late.dedup_by_key(|(record, _)| *record);
        for (record, start_ms) in too_late {
            if late.policy == LatePolicy::Drop {
                fates[record as usize] = Fate::Late;
                continue;
            }
            let end = rfc3339(end_of(window, start_ms));
            let what = match window {
                Window::Tumbling { .. } => format!("its window ended at {end}"),
                Window::Hopping { .. } => format!("the last of its windows ended at {end}"),
                Window::Session { .. } => {
                    let at = rfc3339(start_ms);
                    format!("sessions that would hold {at} may be final")
                }
            };
            let message = format!(
                "{what} and the watermark of its partition is {}",
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
            return Ok((rows, shortened));
        }
        let rows = rows
            .take(&UInt32Array::from(kept))
            .map_err(|error| EngineError::aggregation(&self.plan.steps[step].name, &error))?;
        Ok((rows, shortened))
    }

    /// Records that were sent again, and repeat what this generation of a step has read anew and could take: it counts each once. What was
    /// ahead of its time then is so in every replay.
    fn taken_by_replay(&self, replayed: Option<OffsetRange>) -> BTreeSet<u32> {
        let Some(replayed) = replayed else {
            return BTreeSet::new();
        };
        let max_future_ms = self.plan.sources[self.source].max_future_ms;
        self.addressed.repeating(|record, of| {
            let event_us = self.times.event_us[record as usize];
            let is_future = is_future(event_us, of.append_time_ms, max_future_ms);
            replayed.holds(of.offset) && !is_future
        })
    }

    /// `rows` with `window_start` and `window_end` at the end. Where a step asks for that, each window is one pane.
    fn with_window(&self, aggregate: &Aggregate, rows: &Rows) -> Result<Rows, DataFusionError> {
        let starts = rows.records.iter();
        let starts: Vec<i64> = starts
            .map(|&record| last_start(aggregate.window, self.times.event_ms(record)))
            .collect();
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
    fn call_rows(
        &self,
        step: usize,
        aggregate: &Aggregate,
        rows: &Rows,
    ) -> Result<Rows, DataFusionError> {
        let mut columns = rows.batch.columns().to_vec();
        let count = rows.records.len();
        columns.push(Arc::new(timestamps(
            rows.records
                .iter()
                .map(|&record| self.times.event_us[record as usize]),
        )));
        columns.push(Arc::new(Int32Array::from(vec![
            self.place_among_feeders(
                step
            );
            count
        ])));
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

    /// Where this partition stands among all that feed `step`: by its source's name, then by its number. It breaks ties, so it has to differ
    /// from those of other sources' partitions, and to stay when partitions are added.
    fn place_among_feeders(&self, step: usize) -> i32 {
        let own = &self.plan.sources[self.source].name;
        let comes_before = |&source: &usize| {
            self.plan.sources[source].name < *own && reached(self.plan, source).contains(&step)
        };
        let sources_before = (0..self.plan.sources.len()).filter(comes_before).count();
        (sources_before as i32).wrapping_shl(PARTITION_BITS) | self.partition
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
            // Where one input has nothing of a record that was sent again, the other tells what became of it.
            if *other == Fate::Present || *fate == Fate::Skipped {
                *fate = *other;
            }
        }
    }
    fates
        .iter_mut()
        .filter(|fate| **fate == Fate::Present)
        .for_each(|fate| *fate = lost);
    fates
}
