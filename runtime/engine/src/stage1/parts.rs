//! Where the parts of a source task stand, and how they pass over offsets that are gone.
use super::row_output::RowOutput;
use super::{Partials, watermark::lifted};
use crate::wire::state::{OffsetRange, Position, SourceProgress};

/// The parts of a task, each of which goes on at a place of its own.
pub(super) struct Parts {
    /// Dead letters, and the ledgers of row outputs.
    pub(super) main: Position,
    pub(super) partials: Vec<Partials>,
    pub(super) outputs: Vec<(RowOutput, Position)>,
}

impl Parts {
    /// The lowest offset that any of them has not covered.
    pub(super) fn lowest(&self) -> i64 {
        let partials = self.partials.iter().map(|partials| partials.position);
        let outputs = self.outputs.iter().map(|(_, position)| *position);
        let all = partials.chain(outputs).map(|position| position.next_offset);
        all.fold(self.main.next_offset, i64::min)
    }

    /// Has everyone who stands before `to` go on there, and counts what lies between as lost to them.
    pub(super) fn pass_over(&mut self, to: Position) {
        let main = self.main.next_offset;
        for partials in &mut self.partials {
            // What nobody has read is lost to a step that begins anew, too.
            let reached = partials.is_new.then_some(main);
            let from = partials
                .position
                .next_offset
                .min(reached.unwrap_or(i64::MAX));
            partials.ledger.lose(offsets_between(from, to));
            skip(&mut partials.position, to);
            partials.from = partials.position.next_offset;
        }
        for (output, position) in &mut self.outputs {
            // Its ledger goes with the main position. What a table that was set back lacks before that counts once more.
            let from = position.next_offset.min(main);
            output.ledger.lose(offsets_between(from, to));
            skip(position, to);
            output.from = position.next_offset;
        }
        skip(&mut self.main, to);
    }

    /// Has outputs go on behind what was passed over before: a table that had come no further lacks it for good.
    pub(super) fn stay_behind(&mut self, passed: OffsetRange, to: Position) {
        let behind = |at: &Position| passed.holds(at.next_offset);
        let outputs = self.outputs.iter_mut();
        for (output, position) in outputs.filter(|(_, position)| behind(position)) {
            skip(position, to);
            output.from = position.next_offset;
        }
    }
}

fn offsets_between(from: i64, to: Position) -> u64 {
    u64::try_from(to.next_offset - from).unwrap_or(0)
}

fn skip(position: &mut Position, to: Position) {
    if position.next_offset < to.next_offset {
        let watermark_ms = position.watermark_ms.max(to.watermark_ms);
        *position = Position { watermark_ms, ..to };
    }
}

/// The place behind offsets that are gone, with the highest watermark that the log knows of there: of places before it, and of decrees.
pub(super) fn behind(
    to: i64,
    main: Position,
    known: Option<&SourceProgress>,
    decrees: &[(i64, i64)],
) -> Position {
    let checkpoints = known.map_or(&[][..], |known| &known.checkpoints);
    let passed = checkpoints.iter().map(|checkpoint| checkpoint.position);
    let watermark_ms = passed
        .chain([main])
        .filter(|position| position.next_offset <= to)
        .filter_map(|position| position.watermark_ms)
        .max();
    Position {
        next_offset: to,
        watermark_ms: lifted(watermark_ms, to, decrees),
    }
}

/// What was passed over up to now: what is gone now, together with what was passed over right before it.
pub(super) fn joined(before: Option<OffsetRange>, gone: OffsetRange) -> OffsetRange {
    let touching = before.filter(|before| (before.from..=before.to).contains(&gone.from));
    OffsetRange {
        from: touching.map_or(gone.from, |before| before.from),
        ..gone
    }
}
