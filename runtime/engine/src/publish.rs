//! Outputs over topics: what they write is part of what a task writes to the log, in the same transaction as its progress.
use tidewheel_log::NewRecord;
use tidewheel_planner::plan::{Plan, Topic};

use crate::effects::{Refusal, TableWrite};
use crate::wire::WireError;
use crate::wire::row::TopicRows;

/// Appends what `writes` have for topics to `log`, and leaves the others. Rows that their topic cannot have are refused; of windows, what it
/// has of them is removed.
pub(crate) fn publish(
    plan: &Plan,
    partition: i32,
    writes: &mut Vec<TableWrite>,
    log: &mut Vec<NewRecord>,
) -> Result<Vec<Refusal>, WireError> {
    let mut refusals = Vec::new();
    let mut others = Vec::with_capacity(writes.len());
    for write in writes.drain(..) {
        match plan.outputs[write.output].topic() {
            Some(topic) => publish_one(topic, partition, &write, log, &mut refusals)?,
            None => others.push(write),
        }
    }
    *writes = others;
    Ok(refusals)
}

fn publish_one(
    topic: &Topic,
    partition: i32,
    write: &TableWrite,
    log: &mut Vec<NewRecord>,
    refusals: &mut Vec<Refusal>,
) -> Result<(), WireError> {
    if let Some(deletes) = &write.deletes {
        let rows = TopicRows::new(topic, deletes, partition)?;
        log.extend((0..deletes.num_rows()).map(|row| rows.tombstone(row)));
    }
    if write.rows.num_rows() == 0 {
        return Ok(());
    }
    let rows = TopicRows::new(topic, &write.rows, partition)?;
    for row in 0..write.rows.num_rows() {
        match rows.record(row) {
            Ok(record) => log.push(record),
            Err(reason) => {
                // Only rows of windows are in the way of others.
                log.extend((!write.windows.is_empty()).then(|| rows.tombstone(row)));
                refusals.push(Refusal {
                    output: write.output,
                    origin: write.origin(row),
                    reason,
                });
            }
        }
    }
    Ok(())
}
