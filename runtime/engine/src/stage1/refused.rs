//! Records of which a sink refused a row: each has one dead letter for each output, also where the process that refused it died before the
//! log was told.
use tidewheel_log::{NewRecord, Record};

use super::fates::Fate;
use super::{RowOutput, SourceTask};
use crate::effects::Refusal;
use crate::sabotage::{self, Bug};
use crate::wire::dead_letter::{DeadLetter, Reason};
use crate::wire::refusal::{Origin, RecordOrigin};

/// What the sink refused of records that the log has not covered yet, in their order: the process died, or was fenced, between the two
/// commits.
pub(super) fn refused_ahead(recovered: &[Refusal], output: usize, covered: i64) -> Vec<Refusal> {
    if sabotage::is(Bug::ForgottenRefusals) {
        return Vec::new();
    }
    let ahead = |refusal: &&Refusal| refusal.output == output && !refusal.origin.is_below(covered);
    let mut refusals: Vec<Refusal> = recovered.iter().filter(ahead).cloned().collect();
    refusals.sort_by_key(offset_of);
    refusals
}

impl RowOutput {
    /// Takes up what the sink refused of `records` before the log had them. A record that this plan leaves out misses no row.
    pub(super) fn take_up_refused(&mut self, records: &[Record], fates: &[Fate]) {
        let last = records.last().map(|record| record.offset);
        let count = self
            .refused_ahead
            .partition_point(|refusal| offset_of(refusal) <= last);
        let is_present = |refusal: &Refusal| {
            index_of(records, refusal).is_some_and(|index| fates[index] == Fate::Present)
        };
        let taken = self.refused_ahead.drain(..count).filter(is_present);
        self.refused_in_hand.extend(taken);
    }
}

impl SourceTask {
    /// Dead letters of what sinks refused of `records`: just now, or before the log could be told.
    pub(super) fn bury_refused(
        &mut self,
        records: &[Record],
        refusals: &[Refusal],
        log: &mut Vec<NewRecord>,
    ) {
        let mut all = Vec::new();
        for output in &mut self.outputs {
            all.append(&mut output.refused_in_hand);
        }
        if !self.is_replay {
            all.extend_from_slice(refusals);
        }
        let record = |refusal: &Refusal| (refusal.output, offset_of(refusal));
        all.sort_by_key(record);
        for of_record in all.chunk_by(|a, b| record(a) == record(b)) {
            log.extend(self.bury_record(records, &of_record[0], of_record.len()));
        }
    }

    /// The dead letter of a record, of which `refused` rows were refused.
    fn bury_record(
        &mut self,
        records: &[Record],
        refusal: &Refusal,
        refused: usize,
    ) -> Option<NewRecord> {
        let record = &records[index_of(records, refusal)?];
        let outputs = &mut self.outputs;
        let output = outputs
            .iter_mut()
            .find(|output| output.output == refusal.output)?;
        output.ledger.written = output.ledger.written.saturating_sub(1);
        *output.ledger.dead_lettered(Reason::Refused) += 1;
        let rows = output.rows_of_several.get(&record.offset).copied();
        let letter = DeadLetter {
            reason: Reason::Refused.as_str(),
            message: &refusal.reason,
            step: Some(&self.setup.plan.outputs[refusal.output].name),
            field: None,
            rows_taken: rows.unwrap_or(refused).saturating_sub(refused),
            input: &self.source().name,
            partition: self.setup.partition,
        };
        Some(self.letter_of(&letter, record))
    }
}

/// Offset of the record whose row was refused.
fn offset_of(refusal: &Refusal) -> Option<i64> {
    match refusal.origin {
        Origin::Record(RecordOrigin { offset }) => Some(offset),
        Origin::Window(_) => None,
    }
}

/// Where that record stands among `records`.
fn index_of(records: &[Record], refusal: &Refusal) -> Option<usize> {
    let offset = offset_of(refusal)?;
    records
        .binary_search_by_key(&offset, |record| record.offset)
        .ok()
}
