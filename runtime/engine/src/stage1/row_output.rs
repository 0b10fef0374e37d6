//! Row outputs of a source task: which rows go to a table or a topic, with the columns that say where they come from.
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{Field, Schema};
use tidewheel_log::Record;
use tidewheel_planner::plan::{APPEND_TIME, Table};

use super::addressed::Addressed;
use super::fates::count;
use super::slice::ordinals;
use super::{Relations, SourceTask};
use crate::effects::{Effects, Refusal, TableWrite};
use crate::error::EngineError;
use crate::ledger::Ledger;
use crate::publish::publish;

/// A row output as this task fills it.
#[derive(Debug)]
pub(super) struct RowOutput {
    pub(super) output: usize,
    pub(super) generation: i64,
    pub(super) from: i64,
    pub(super) sink_next_offset: Option<i64>,
    /// Where it begins while its sink, which has lost its progress, has none yet.
    pub(super) refill_from: Option<i64>,
    pub(super) ledger: Ledger,
    /// What the sink refused of records that the log has not covered yet, in their order.
    pub(super) refused_ahead: Vec<Refusal>,
    /// Those of the records in hand.
    pub(super) refused_in_hand: Vec<Refusal>,
    /// Of the records in hand that have several rows, by offset, how many.
    pub(super) rows_of_several: BTreeMap<i64, usize>,
}

impl SourceTask {
    pub(super) fn write_rows(
        &mut self,
        index: usize,
        at: i64,
        records: &[Record],
        (relations, addressed): (&Relations, &Addressed),
        effects: &mut Effects,
    ) -> Result<(), EngineError> {
        let plan = Arc::clone(&self.setup.plan);
        let output = self.outputs[index].output;
        let Some(traced) = relations.get(plan.outputs[output].from) else {
            return Ok(());
        };
        let offered = addressed.for_output(output, traced)?;
        let traced = offered.as_ref();
        let partition = self.setup.partition;
        let output = &mut self.outputs[index];
        if self.main_from <= at {
            let step_name = |step: u16| plan.steps[usize::from(step)].name.clone();
            count(&mut output.ledger, &traced.fates, &self.reasons, step_name);
            output.take_up_refused(records, &traced.fates);
            output.rows_of_several = rows_of_several(&traced.rows, records);
        }
        if output.from > at || traced.rows.records.is_empty() {
            return Ok(());
        }
        let table = plan.outputs[output.output].table();
        let append_times = table
            .is_some_and(Table::has_append_time)
            .then(|| append_times(&traced.rows, records));
        let rows = own_columns(
            &traced.rows,
            records,
            (output.generation, partition),
            append_times,
        );
        let rows = rows.map_err(|error| crate::wire::WireError::new("row", error))?;
        effects.writes.push(TableWrite {
            output: output.output,
            generation: output.generation,
            rows,
            deletes: None,
            windows: Vec::new(),
        });
        Ok(())
    }

    /// Moves what is for topics from the writes to the log.
    pub(super) fn publish(&mut self, effects: &mut Effects) -> Result<(), EngineError> {
        let (writes, log) = (&mut effects.writes, &mut effects.log);
        for refusal in publish(&self.setup.plan, self.setup.partition, writes, log)? {
            let mut outputs = self.outputs.iter_mut();
            if let Some(output) = outputs.find(|output| output.output == refusal.output) {
                output.refused_in_hand.push(refusal);
            }
        }
        Ok(())
    }
}

/// How many rows records have, by offset; those of one row are left out.
fn rows_of_several(rows: &crate::rows::Rows, records: &[Record]) -> BTreeMap<i64, usize> {
    let mut several = BTreeMap::new();
    for (&record, ordinal) in rows.records.iter().zip(ordinals(&rows.records)) {
        if ordinal > 0 {
            several.insert(records[record as usize].offset, ordinal as usize + 1);
        }
    }
    several
}

/// Appends the columns of ours that rows have.
fn own_columns(
    rows: &crate::rows::Rows,
    records: &[Record],
    (generation, partition): (i64, i32),
    append_times: Option<ArrayRef>,
) -> Result<RecordBatch, arrow::error::ArrowError> {
    let count = rows.records.len();
    let ours: [(&str, Int64Array); 4] = [
        ("_generation", Int64Array::from(vec![generation; count])),
        (
            "_partition",
            Int64Array::from(vec![i64::from(partition); count]),
        ),
        (
            "_offset",
            rows.records
                .iter()
                .map(|&record| Some(records[record as usize].offset))
                .collect(),
        ),
        (
            "_ordinal",
            ordinals(&rows.records)
                .map(|ordinal| Some(i64::from(ordinal)))
                .collect(),
        ),
    ];
    let mut fields: Vec<_> = rows.batch.schema().fields().iter().cloned().collect();
    let mut columns = rows.batch.columns().to_vec();
    for (name, values) in ours {
        fields.push(Arc::new(Field::new(
            name,
            arrow::datatypes::DataType::Int64,
            false,
        )));
        columns.push(Arc::new(values) as ArrayRef);
    }
    if let Some(times) = append_times {
        let field = Field::new(APPEND_TIME, times.data_type().clone(), true);
        fields.push(Arc::new(field));
        columns.push(times);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

/// The column by which rows are kept for a time.
fn append_times(rows: &crate::rows::Rows, records: &[Record]) -> ArrayRef {
    let micros = rows.records.iter().map(|&record| {
        let record = &records[record as usize];
        record.append_time_ms.saturating_mul(1000)
    });
    Arc::new(TimestampMicrosecondArray::from_iter_values(micros).with_timezone("+00:00"))
}
