//! Event times of a slice, and the watermark under which each record came.
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use tidewheel_log::Record;
use tidewheel_planner::plan::Source;

use super::fates::{Fate, Reasons};
use super::slice::Dead;
use super::watermark::PartitionWatermark;
use crate::sabotage::{self, Bug};
use crate::timestamp::rfc3339;
use crate::wire::dead_letter::Reason;

/// What each record of a slice says of time.
pub(crate) struct Times {
    /// Event time, microseconds since the epoch; meaningless for records that did not decode.
    pub(crate) event_us: Vec<i64>,
    /// When the record counts as appended, ms.
    pub(crate) append_ms: Vec<i64>,
    /// The partition's watermark before the record, ms.
    pub(crate) before_ms: Vec<Option<i64>>,
}

impl Times {
    /// Event time of a record, ms since the epoch.
    pub(super) fn event_ms(&self, record: u32) -> i64 {
        self.event_us[record as usize].div_euclid(1_000)
    }
}

pub(super) fn event_times(
    source: &Source,
    batch: &RecordBatch,
    rows: &[u32],
    records: usize,
) -> Vec<i64> {
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

/// Whether an event (microseconds) is further ahead of when it was appended (ms) than it may be (ms).
pub(super) fn is_future(event_us: i64, append_ms: i64, max_future_ms: u64) -> bool {
    let max_future_ms = i64::try_from(max_future_ms).unwrap_or(i64::MAX);
    event_us.div_euclid(1_000) > append_ms.saturating_add(max_future_ms)
}

/// Judges each record's time in the order of the log, and moves the watermark on: [`Times::before_ms`].
pub(super) fn judge_times(
    source: &Source,
    records: &[Record],
    times: &mut Times,
    fates: &mut [Fate],
    dead: &mut Vec<Dead>,
    watermark: &mut PartitionWatermark,
    reasons: &mut Reasons,
) {
    let out_of_order_ms = source.out_of_order_ms();
    for (index, record) in records.iter().enumerate() {
        watermark.reach(record.offset);
        times.before_ms.push(watermark.current_ms);
        if fates[index] != Fate::Present {
            continue;
        }
        let (event_us, append_ms) = (times.event_us[index], times.append_ms[index]);
        let event_ms = event_us.div_euclid(1_000);
        let refused = if event_us == i64::MIN {
            Some((
                Reason::NoEventTime,
                "the event has no event time".to_owned(),
            ))
        } else if is_future(event_us, append_ms, source.max_future_ms) {
            let message = format!(
                "its event time {} is ahead of {}, when it came",
                rfc3339(event_ms),
                rfc3339(append_ms)
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
            None => watermark.advance(event_ms.saturating_sub(out_of_order_ms)),
        }
    }
    if sabotage::is(Bug::LateByEndOfBatch) {
        times.before_ms.fill(watermark.current_ms);
    }
}
