//! Partials that are gone: whoever acknowledges that has the task go on behind them, with windows that lack what was in them.
use std::sync::Arc;

use tidewheel_log::NewRecord;

use super::{StepTask, aggregate_of};
use crate::error::EngineError;

impl StepTask {
    /// Deletes what the task has waited for from the log; where that was partials, brings the windows up to the progress as far as that can
    /// be done without them, and returns that they have to be stored now.
    ///
    /// Windows that were emitted since the newest snapshot are not emitted again. What had been taken since then and was not emitted is lost.
    pub(super) fn go_on_behind(&mut self, log: &mut Vec<NewRecord>) -> Result<bool, EngineError> {
        let topic = self.names.state(self.step_name());
        log.extend(self.acknowledgement.settle(&topic, self.setup.partition));
        let Some(known) = self.passed_over.take() else {
            return Ok(false);
        };
        for (feeder, told) in known.watermarks {
            let heard = self.watermarks.entry(feeder).or_default();
            *heard = (*heard).max(told);
        }
        self.watermark_ms = self.watermark_ms.max(known.watermark_ms);
        // Of these nobody hears again.
        self.emit(self.at, true, &mut Vec::new())?;
        self.purge();
        let plan = Arc::clone(&self.setup.plan);
        let aggregate = aggregate_of(&plan, self.setup.step);
        let pending = self.windows.all_pending_contributions(aggregate);
        for output in &mut self.outputs {
            let lost = output.ledger.balance().saturating_sub(pending);
            output.ledger.lost += u64::try_from(lost).unwrap_or(0);
        }
        Ok(true)
    }
}
