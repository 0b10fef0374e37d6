//! Groups whose newest row the sink refused: their contributions are dead letters, until an amendment makes a row that the sink takes.
use std::collections::BTreeSet;

use bytes::Bytes;
use tidewheel_log::NewRecord;
use tidewheel_planner::plan::Window;

use super::{StepTask, aggregate_of};
use crate::effects::Refusal;
use crate::wire::dead_letter::Reason;
use crate::wire::refusal::{Origin, WindowOrigin};
use crate::wire::state::{REFUSED, RefusedGroup, StepKey};

/// The refused groups of one output: start of the window in ms, and fingerprint. Kept as long as the windows, in the state topic too.
#[derive(Debug, Default)]
pub(super) struct RefusedGroups {
    groups: BTreeSet<(i64, u128)>,
    /// Those that the state topic may have otherwise.
    changed: BTreeSet<(i64, u128)>,
}

impl RefusedGroups {
    /// As the state topic has them.
    pub(super) fn stored(groups: BTreeSet<(i64, u128)>) -> Self {
        Self {
            groups,
            changed: BTreeSet::new(),
        }
    }

    /// Whether it is new.
    fn insert(&mut self, start_ms: i64, group: u128) -> bool {
        let is_new = self.groups.insert((start_ms, group));
        if is_new {
            self.changed.insert((start_ms, group));
        }
        is_new
    }

    /// Whether it was there.
    pub(super) fn remove(&mut self, start_ms: i64, group: u128) -> bool {
        let was_there = self.groups.remove(&(start_ms, group));
        if was_there {
            self.changed.insert((start_ms, group));
        }
        was_there
    }

    fn forget(&mut self, is_purged: impl Fn(i64) -> bool) {
        while let Some(&(start_ms, group)) = self.groups.first()
            && is_purged(start_ms)
        {
            self.remove(start_ms, group);
        }
    }
}

impl StepTask {
    /// Whether a sink refused something before the log could be told, and the log can be told now: [`seal`](Self::seal) has dead letters then.
    pub fn owes_letters(&self) -> bool {
        self.letters_due_at().any(|offset| offset <= self.at)
    }

    /// Where the commits were with which sinks refused what the log has not been told: a batch ends there, with the same windows as then.
    pub(super) fn letters_due_at(&self) -> impl Iterator<Item = i64> {
        let refused = self.outputs.iter().flat_map(|output| &output.refused_ahead);
        refused.filter_map(due_at)
    }

    /// Dead letters of what sinks have just refused, and of what they had refused before the log could be told.
    pub(super) fn bury_refused(&mut self, refusals: &[Refusal], log: &mut Vec<NewRecord>) {
        let at = self.at;
        let mut all = Vec::new();
        for output in &mut self.outputs {
            let is_due = |refusal: &mut Refusal| due_at(refusal).is_some_and(|offset| offset <= at);
            all.extend(output.refused_ahead.extract_if(.., is_due));
        }
        all.extend_from_slice(refusals);
        for Refusal {
            output,
            origin,
            reason,
        } in &all
        {
            if let Origin::Window(origin) = origin
                && self.enter_refused(*output, origin)
            {
                let name = &self.setup.plan.outputs[*output].name;
                let letter = self.letter(Reason::Refused, reason, name);
                let topic = self.names.dead_letters();
                log.push(letter.of_group(&topic, origin.offset, 0, &origin.row));
            }
        }
        for index in 0..self.outputs.len() {
            let changed = std::mem::take(&mut self.outputs[index].refused.changed);
            log.extend(
                changed
                    .into_iter()
                    .map(|group| self.refused_record(index, group)),
            );
        }
    }

    /// Enters a refused row into its output's ledger. Not where it stands there already: then it was only written again.
    fn enter_refused(&mut self, output: usize, origin: &WindowOrigin) -> bool {
        let found = self.outputs.iter_mut().find(|found| found.output == output);
        let Some(output) = found else { return false };
        let is_new = output.refused.insert(origin.start_ms, origin.group);
        if is_new {
            let ledger = &mut output.ledger;
            ledger.written = ledger.written.saturating_sub(origin.contributions);
            *ledger.dead_lettered(Reason::Refused) += origin.contributions;
        }
        is_new
    }

    /// Lets go of groups whose windows are no longer kept: nothing can change them. For a task that has moved: as long as it stays where a
    /// sink refused them, they tell whoever goes on from there that they have their letters.
    pub(super) fn forget_refused(&mut self) {
        let plan = self.setup.plan.clone();
        let aggregate = aggregate_of(&plan, self.setup.step);
        let kept = self.windows.by_start.values();
        let kept = kept.filter_map(|window| window.emitted.as_ref());
        let kept_from_ms = match aggregate.window {
            // They are kept by when they were emitted.
            Window::Session { .. } => Some(kept.map(|run| run.first_ms).min().unwrap_or(i64::MAX)),
            _ => None,
        };
        let mut outputs = std::mem::take(&mut self.outputs);
        for output in &mut outputs {
            output.refused.forget(|start_ms| match kept_from_ms {
                Some(kept_from_ms) => start_ms < kept_from_ms,
                None => self.is_purged(aggregate, start_ms),
            });
        }
        self.outputs = outputs;
    }

    fn refused_record(&self, output: usize, (start_ms, group): (i64, u128)) -> NewRecord {
        let output = &self.outputs[output];
        let is_refused = output.refused.groups.contains(&(start_ms, group));
        let key = StepKey::Refused(RefusedGroup {
            output: self.setup.plan.outputs[output.output].name.clone(),
            start_ms,
            group,
        });
        self.state_record(
            key.encode(self.generation),
            is_refused.then_some(Bytes::from_static(REFUSED)),
        )
    }
}

/// Where the commit was with which a sink refused a row of a window.
fn due_at(refusal: &Refusal) -> Option<i64> {
    match &refusal.origin {
        Origin::Window(window) => Some(window.offset),
        Origin::Record(_) => None,
    }
}
