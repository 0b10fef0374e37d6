//! Sessions of a step task: joined as they come, and emitted once, when nothing can touch them any more.
//!
//! A row is late where its time lies more than the allowance before the watermark of its partition, and the task's watermark is no higher than
//! that. So whatever still comes is no earlier than the end of any session that ends the allowance before the task's watermark or sooner: those
//! are final. Only of a partition that was added can rows come that lie before; they are as those of windows that are no longer kept.
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use datafusion_common::DataFusionError;
use tidewheel_log::{NewRecord, Record};
use tidewheel_planner::plan::{Aggregate, Plan, Window};

use super::emission::{Emission, count_emission, evaluate_run};
use super::windows::{by_pane, contributions_of_run, parted};
use super::{StepTask, contributions};
use crate::error::EngineError;
use crate::window::sessions_final_at;
use crate::wire::partial::PartialHeader;

impl StepTask {
    /// Takes partials of sessions.
    pub(super) fn merge_sessions(
        &mut self,
        aggregate: &Aggregate,
        (record, header): (&Record, &PartialHeader),
        partials: &RecordBatch,
        silent: bool,
        log: &mut Vec<NewRecord>,
    ) -> Result<(), EngineError> {
        let final_ms = self.sessions_final_at(aggregate.window);
        let starts_ms = partials.column(0).as_primitive::<Int64Type>().values();
        let allowed_ms = aggregate.late.allowed_ms;
        let is_gone = |row: usize| {
            let start_ms = starts_ms[row].saturating_add(allowed_ms);
            final_ms.is_some_and(|final_ms| start_ms < final_ms)
        };
        let (gone, taken) = parted(partials, is_gone).map_err(|error| self.failed(&error))?;
        if !silent {
            let read = contributions(partials);
            self.outputs
                .iter_mut()
                .for_each(|output| output.ledger.read += read);
            for (start_ms, part) in by_pane(&gone).map_err(|error| self.failed(&error))? {
                self.bury_purged(record, header, start_ms, &part, log);
            }
        }
        if taken.num_rows() == 0 {
            return Ok(());
        }
        let added = self.windows.add_sessions(aggregate, &taken);
        added.map_err(|error| self.failed(&error))
    }

    /// Emits the sessions that have ended since the last time. Those that began before the cut are an earlier generation's: it has written
    /// them, and what they have behind the cut is no session of its own.
    pub(super) fn settle_sessions(
        &mut self,
        plan: &Plan,
        aggregate: &Aggregate,
        (gap_ms, silent): (i64, bool),
    ) -> Result<Option<Emission>, EngineError> {
        let failed = |error: DataFusionError| {
            EngineError::aggregation(&plan.steps[self.setup.step].name, &error)
        };
        let Some(final_ms) = self.sessions_final_at(aggregate.window) else {
            return Ok(None);
        };
        let ended = self.windows.take_sessions(aggregate, gap_ms, final_ms);
        let Some(ended) = ended.map_err(failed)? else {
            return Ok(None);
        };
        let (ours, earlier) = self.by_generation(&ended).map_err(failed)?;
        if !silent {
            let of_rows = contributions_of_run(&earlier) as u64;
            let outputs = self.outputs.iter_mut();
            outputs.for_each(|output| output.ledger.earlier_generation += of_rows);
        }
        if ours.num_rows() == 0 {
            return Ok(None);
        }
        let ours = count_emission(&ours, &vec![1; ours.num_rows()]).map_err(failed)?;
        let emission = evaluate_run(plan, self.setup.step, aggregate, &ours)?;
        self.windows.settle(final_ms, ours);
        Ok(Some(emission))
    }

    /// Sessions that begin where this generation does or later, and those that began earlier.
    fn by_generation(
        &self,
        sessions: &RecordBatch,
    ) -> Result<(RecordBatch, RecordBatch), DataFusionError> {
        let generation = self.setup.generations.steps.get(self.step_name());
        let cut_ms = generation.and_then(|generation| generation.cut_ms);
        let starts_ms = sessions.column(0).as_primitive::<Int64Type>().values();
        let is_ours = |row: usize| cut_ms.is_none_or(|cut_ms| cut_ms <= starts_ms[row]);
        parted(sessions, is_ours)
    }

    /// Sessions that end the allowance before it are final, ms.
    fn sessions_final_at(&self, window: Window) -> Option<i64> {
        self.watermark_ms.map(|ms| sessions_final_at(window, ms))
    }
}
