//! What became of each record of a micro-batch, relation by relation.
use crate::ledger::Ledger;

/// What became of a record at a relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is there, with at least one row.
    Present,
    /// A step left it out; index into the plan's steps.
    Filtered(u16),
    /// It has no value: whoever fills the topic has deleted its key.
    Tombstone,
    /// A deduplication left it out.
    Duplicate,
    /// Too late and dropped.
    Late,
    /// Its window belongs to an earlier generation.
    EarlierGeneration,
    /// It was sent again for somebody else.
    Skipped,
    /// It became a dead letter; index into [`Reasons`].
    DeadLettered(u16),
}

/// The reasons for dead letters that a task has met.
#[derive(Debug, Default)]
pub(crate) struct Reasons(Vec<&'static str>);

impl Reasons {
    pub(crate) fn fate(&mut self, reason: &'static str) -> Fate {
        let known = self.0.iter().position(|known| *known == reason);
        Fate::DeadLettered(known.unwrap_or_else(|| {
            self.0.push(reason);
            self.0.len() - 1
        }) as u16)
    }

    fn name(&self, index: u16) -> &'static str {
        self.0[usize::from(index)]
    }
}

/// Enters the fates of a micro-batch into a ledger.
pub(crate) fn count(
    ledger: &mut Ledger,
    fates: &[Fate],
    reasons: &Reasons,
    step_name: impl Fn(u16) -> String,
) {
    ledger.read += fates.len() as u64;
    for &fate in fates {
        match fate {
            Fate::Present => ledger.written += 1,
            Fate::Tombstone => ledger.tombstone += 1,
            Fate::Duplicate => ledger.duplicate += 1,
            Fate::Late => ledger.late += 1,
            Fate::EarlierGeneration => ledger.earlier_generation += 1,
            Fate::Skipped => ledger.skipped += 1,
            Fate::Filtered(step) => bump(&mut ledger.filtered, step_name(step)),
            Fate::DeadLettered(reason) => {
                bump(&mut ledger.dead_lettered, reasons.name(reason).to_owned())
            }
        }
    }
}

fn bump(counts: &mut std::collections::BTreeMap<String, u64>, name: String) {
    *counts.entry(name).or_default() += 1;
}
