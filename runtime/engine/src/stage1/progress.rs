//! How a source task begins: from nothing, or from the progress in its state topic and in its sinks.
use std::collections::BTreeMap;

use bytes::Bytes;
use tidewheel_log::NewRecord;
use tidewheel_planner::names::PipelineNames;
use tidewheel_planner::plan::{Source, StepKind};

use super::append_time::AppendTime;
use super::events::Events;
use super::parts::{Parts, behind, joined};
use super::refused::refused_ahead;
use super::speaking::Speaking;
use super::watermark::{Idleness, PartitionWatermark};
use super::{Partials, RowOutput, SourceSetup, SourceTask, companions, reached, row_outputs};
use crate::deduplication::Deduplication;
use crate::effects::Refusal;
use crate::error::EngineError;
use crate::generation::StepGeneration;
use crate::ledger::Ledger;
use crate::sabotage::{self, Bug};
use crate::settled::Settled;
use crate::sink_place::{Known, SinkPlace, acknowledged, sink_places};
use crate::wire::acknowledgement::{Acknowledgement, Missing, Place};
use crate::wire::state::{
    Checkpoint, OffsetRange, OutOfOrder, OutputProgress, PartialsProgress, Position,
    SOURCE_PROGRESS_KEY, SourceProgress, Versioned,
};

/// What was found when the task was taken over.
#[derive(Debug, Clone, Default)]
pub struct Recovered {
    /// The newest value of the key [`SOURCE_PROGRESS_KEY`] in the task's partition of the state topic.
    pub progress: Option<SourceProgress>,
    /// Progress of each row output as its sink has it, by output name; outputs that were never written are left out.
    pub sinks: BTreeMap<String, Position>,
    /// What the sinks have kept of what they refused: all that the log may not know, and maybe some that it does.
    pub refusals: Vec<Refusal>,
    /// Decrees of this partition in the watermarks topic: the offset from which each holds, and the watermark in ms.
    pub decrees: Vec<(i64, i64)>,
    /// What the task waited for, and what was acknowledged of it.
    pub acknowledgement: Acknowledgement,
}

/// Where reading can begin.
#[derive(Debug, Clone, Default)]
pub struct StartAt {
    /// The oldest retained offset.
    pub earliest: i64,
    /// Where the pipeline begins when nothing was read before.
    pub first: i64,
    /// For aggregate steps with a cut: the first offset whose record was appended at or after cut minus `maxFuture`; whatever came
    /// before cannot belong to a window of ours.
    pub cuts: BTreeMap<String, i64>,
    /// For aggregate steps that compute windows anew: the oldest offset when that was decided.
    pub oldest: BTreeMap<String, i64>,
}

impl SourceProgress {
    /// Reads a value of the state topic.
    pub fn decode(bytes: &[u8]) -> Result<Self, EngineError> {
        Ok(Self::from_bytes(bytes)?)
    }

    /// A value of the state topic of a pipeline that has taken the offsets from `from` to before `to`: steps that are new read them anew, and what
    /// was sent again of them counts once.
    pub fn of_all_taken(from: i64, to: i64) -> Bytes {
        let taken = Self {
            version: Self::version_for([]),
            revision: 0,
            start_offset: from,
            main: Position {
                next_offset: to,
                watermark_ms: None,
            },
            append_time_ms: None,
            event_watermark_ms: None,
            steps: BTreeMap::new(),
            outputs: BTreeMap::new(),
            checkpoints: Vec::new(),
            out_of_order: None,
            passed_over: None,
        };
        taken.to_bytes()
    }
}

impl SourceTask {
    /// The tables of rows that the task writes (indices into the plan's outputs). Outputs over topics are no sinks of their own.
    pub fn tables(setup: &SourceSetup) -> Vec<usize> {
        let steps = reached(&setup.plan, setup.source);
        let mut outputs = row_outputs(&setup.plan, setup.source, &steps);
        outputs.retain(|&output| setup.plan.outputs[output].table().is_some());
        outputs
    }

    /// Begins a task, or goes on from what was recovered.
    pub fn begin(
        setup: SourceSetup,
        recovered: Recovered,
        start: &StartAt,
    ) -> Result<Self, EngineError> {
        let known = recovered.progress.as_ref();
        if let Some(progress) =
            known.filter(|progress| progress.revision > setup.generations.revision)
        {
            return Err(EngineError::Outdated {
                ours: setup.generations.revision,
                theirs: progress.revision,
            });
        }
        let start_offset = known.map_or(start.first, |progress| progress.start_offset);
        let main = known.map_or(
            Position {
                next_offset: start.first,
                watermark_ms: None,
            },
            |progress| progress.main,
        );
        let steps = reached(&setup.plan, setup.source);
        let partials = begin_partials(
            &setup,
            &steps,
            known,
            start,
            (start_offset, main.next_offset),
        );
        let outputs = begin_outputs(&setup, &steps, &recovered, (main, start))?;
        let mut parts = Parts {
            main,
            partials,
            outputs,
        };
        let passed = pass_over(&setup, &mut parts, &recovered, start.earliest)?;
        let Parts {
            main,
            partials,
            outputs,
        } = parts;
        let mut positions: Vec<(Position, Option<i64>)> =
            vec![(main, known.and_then(|known| known.event_watermark_ms))];
        positions.extend(
            partials
                .iter()
                .map(|step| (step.position, event_watermark(known, step.position))),
        );
        positions.extend(
            outputs
                .iter()
                .map(|(_, position)| (*position, event_watermark(known, *position))),
        );
        // Of equal offsets the main position knows the watermark best: it comes first.
        let (at, by_events_ms) = positions
            .iter()
            .copied()
            .min_by_key(|(position, _)| position.next_offset)
            .unwrap_or((main, None));
        let input = setup.plan.sources[setup.source].name.clone();
        let source = &setup.plan.sources[setup.source];
        let (append_from, append_ms) = append_known(source, known, (main, at.next_offset));
        let deduplications = steps
            .iter()
            .filter_map(|&step| match &setup.plan.steps[step].kind {
                StepKind::Deduplicate(deduplicate) => {
                    Some((step, Deduplication::new(deduplicate.within_ms)))
                }
                _ => None,
            })
            .collect();
        Ok(Self {
            names: PipelineNames::new(&setup.plan.namespace, &setup.plan.name),
            is_new: known.is_none(),
            has_news: recovered.acknowledgement != Acknowledgement::default(),
            acknowledgement: recovered.acknowledgement,
            passed_over: passed,
            out_of_order: out_of_order(source, known),
            events: Events::of(&source.events),
            reasons: Default::default(),
            at: at.next_offset,
            watermark: PartitionWatermark::new(
                at.watermark_ms
                    .filter(|_| !sabotage::is(Bug::ForgottenWatermark)),
                by_events_ms,
                at.next_offset,
                &recovered.decrees,
            ),
            idleness: Idleness::new(
                source.idle_after_ms,
                (input, setup.partition),
                companions(&setup),
            ),
            idle: false,
            told: None,
            speaking: Speaking::default(),
            start_offset,
            append: AppendTime::known(append_from, append_ms),
            main_append_ms: known.and_then(|progress| progress.append_time_ms),
            append_from,
            main_from: main.next_offset,
            is_replay: false,
            main_watermark_ms: main.watermark_ms,
            settled: Settled::recovered(main.next_offset),
            main_event_watermark_ms: known.and_then(|progress| progress.event_watermark_ms),
            deduplications,
            partials,
            outputs: outputs.into_iter().map(|(output, _)| output).collect(),
            checkpoints: known
                .map(|progress| progress.checkpoints.clone())
                .unwrap_or_default(),
            steps,
            setup,
        })
    }

    pub(super) fn progress_record(&self) -> NewRecord {
        let outputs = self.outputs.iter().map(|output| {
            let progress = OutputProgress {
                sink_next_offset: output.sink_next_offset,
                ledger: output.ledger.clone(),
                refill_from: output.refill_from,
            };
            (
                self.setup.plan.outputs[output.output].name.clone(),
                progress,
            )
        });
        let done = |position: Position| match sabotage::is(Bug::LastOffsetInsteadOfNext) {
            true => Position {
                next_offset: (position.next_offset - 1).max(self.start_offset),
                ..position
            },
            false => position,
        };
        let steps = self.partials.iter().map(|partials| {
            let progress = PartialsProgress {
                generation: partials.generation.number,
                position: done(partials.position),
                ledger: partials.ledger.clone(),
                replayed: partials.replayed,
            };
            (self.step_name(partials.step), progress)
        });
        let of_outputs = self.outputs.iter().map(|output| &output.ledger);
        let ledgers = of_outputs.chain(self.partials.iter().map(|partials| &partials.ledger));
        let progress = SourceProgress {
            version: SourceProgress::version_for(ledgers),
            revision: self.setup.generations.revision,
            start_offset: self.start_offset,
            main: done(Position {
                next_offset: self.main_from,
                watermark_ms: self.main_watermark_ms,
            }),
            append_time_ms: self.main_append_ms,
            event_watermark_ms: self.main_event_watermark_ms,
            steps: steps.collect(),
            outputs: outputs.collect(),
            checkpoints: self.checkpoints.clone(),
            out_of_order: self.out_of_order,
            passed_over: self.passed_over,
        };
        NewRecord {
            topic: self.names.state(&self.source().name),
            partition: Some(self.setup.partition),
            key: Some(SOURCE_PROGRESS_KEY.into()),
            value: Some(progress.to_bytes()),
            headers: Vec::new(),
        }
    }
}

/// Each step goes on where its partials end, or begins anew far enough back that its first window is complete.
fn begin_partials(
    setup: &SourceSetup,
    steps: &[usize],
    known: Option<&SourceProgress>,
    start: &StartAt,
    (start_offset, read_to): (i64, i64),
) -> Vec<Partials> {
    let begin = |&step: &usize| {
        let StepKind::Aggregate(aggregate) = &setup.plan.steps[step].kind else {
            return None;
        };
        let name = &setup.plan.steps[step].name;
        let first = StepGeneration {
            number: 1,
            cut_ms: None,
        };
        let generation = setup.generations.steps.get(name).copied().unwrap_or(first);
        let going_on = known
            .and_then(|known| known.steps.get(name))
            .filter(|progress| progress.generation == generation.number);
        let (position, ledger, replayed) = match going_on {
            Some(progress) => (
                progress.position,
                progress.ledger.clone(),
                progress.replayed,
            ),
            None => {
                let position = replay_from(known, start, start_offset, name);
                let replayed = OffsetRange {
                    from: position.next_offset,
                    to: read_to,
                };
                let is_replay = replayed.from < replayed.to;
                (position, Ledger::default(), is_replay.then_some(replayed))
            }
        };
        let told = vec![None; aggregate.partitions as usize];
        Some(Partials {
            step,
            generation,
            is_new: going_on.is_none(),
            from: position.next_offset,
            position,
            ledger,
            replayed,
            told,
        })
    };
    steps.iter().filter_map(begin).collect()
}

/// The newest checkpoint behind which is all that a new generation of `step` needs, or the oldest record there is. Where retention may have taken
/// what it needs since that was decided, the oldest record that there was then: what is missing is told as such.
fn replay_from(
    known: Option<&SourceProgress>,
    start: &StartAt,
    start_offset: i64,
    step: &str,
) -> Position {
    let limit = start.cuts.get(step).copied();
    let promised = known.and_then(|_| start.oldest.get(step).copied());
    // What is left begins before all that is needed.
    let is_whole =
        limit.is_some_and(|limit| start.earliest < limit) || sabotage::is(Bug::ReplayOfWhatIsLeft);
    if let Some(next_offset) = promised.filter(|&offset| offset < start.earliest && !is_whole) {
        return Position {
            next_offset: start_offset.max(next_offset),
            watermark_ms: None,
        };
    }
    let oldest = Position {
        next_offset: start_offset.max(start.earliest),
        watermark_ms: None,
    };
    let usable = |checkpoint: &&Checkpoint| {
        let offset = checkpoint.position.next_offset;
        offset >= oldest.next_offset && limit.is_some_and(|limit| offset <= limit)
    };
    let checkpoint = known.and_then(|known| known.checkpoints.iter().rev().find(usable));
    checkpoint.map_or(oldest, |checkpoint| checkpoint.position)
}

fn event_watermark(known: Option<&SourceProgress>, position: Position) -> Option<i64> {
    let known = known?;
    let checkpoint = known
        .checkpoints
        .iter()
        .find(|checkpoint| checkpoint.position.next_offset == position.next_offset);
    if let Some(checkpoint) = checkpoint {
        return checkpoint.event_watermark_ms;
    }
    // Beyond the main position events can only have moved it up to the watermark itself.
    (position.next_offset == known.main.next_offset)
        .then_some(known.event_watermark_ms)
        .flatten()
}

/// Has the parts of a task pass over offsets that are gone, where that is acknowledged. What was passed over last.
fn pass_over(
    setup: &SourceSetup,
    parts: &mut Parts,
    recovered: &Recovered,
    earliest: i64,
) -> Result<Option<OffsetRange>, EngineError> {
    let known = recovered.progress.as_ref();
    let behind = |to: i64, main: Position| behind(to, main, known, &recovered.decrees);
    let before = known.and_then(|known| known.passed_over);
    if let Some(before) = before {
        parts.stay_behind(before, behind(before.to, parts.main));
    }
    let gone = OffsetRange {
        from: parts.lowest(),
        to: earliest,
    };
    if gone.from >= gone.to {
        return Ok(before);
    }
    let missing = Missing::Offsets {
        from: gone.from,
        to: gone.to,
    };
    acknowledged(&recovered.acknowledgement, &place_of(setup), missing)?;
    parts.pass_over(behind(gone.to, parts.main));
    Ok(Some(joined(before, gone)))
}

/// An offset at or before `at` from which append times can be told, and the largest timestamp before it, ms.
///
/// At the main position, with nothing but what is gone between it and what progress covers, progress says it. Anywhere else a log of our own says it with the next record; of a foreign one the records since
/// the last checkpoint have to be read again.
fn append_known(
    source: &Source,
    known: Option<&SourceProgress>,
    (main, at): (Position, i64),
) -> (i64, Option<i64>) {
    let Some(known) = known else {
        return (at, None);
    };
    if main.next_offset == at {
        return (at, known.append_time_ms);
    }
    let mut newest_first = known.checkpoints.iter().rev();
    let checkpoint = newest_first.find(|checkpoint| checkpoint.position.next_offset <= at);
    let known_ms = checkpoint.map(|checkpoint| checkpoint.append_time_ms);
    match checkpoint {
        _ if !source.foreign => (at, known_ms),
        Some(checkpoint) => (checkpoint.position.next_offset, known_ms),
        None => (known.start_offset.min(at), None),
    }
}

fn begin_outputs(
    setup: &SourceSetup,
    steps: &[usize],
    recovered: &Recovered,
    (main, start): (Position, &StartAt),
) -> Result<Vec<(RowOutput, Position)>, EngineError> {
    let known = recovered.progress.as_ref();
    let outputs = row_outputs(&setup.plan, setup.source, steps);
    let start_offset = known.map_or(start.first, |known| known.start_offset);
    let places = sink_places(
        &setup.plan,
        &outputs,
        &Known {
            logged: known.map(|known| &known.outputs),
            sinks: &recovered.sinks,
            oldest: start_offset.max(start.earliest),
        },
        (&recovered.acknowledgement, &place_of(setup)),
    )?;
    let begin = |(output, place): (usize, SinkPlace)| {
        let name = &setup.plan.outputs[output].name;
        let logged = known.and_then(|known| known.outputs.get(name));
        let SinkPlace {
            sink,
            expected,
            refill_from,
        } = place;
        let position = match (sink, expected) {
            (None, _) => refill_from.map_or(main, |next_offset| Position {
                next_offset,
                watermark_ms: None,
            }),
            // What the log knows to be written is there: whatever came since had no rows for it.
            (Some(sink), Some(expected)) if sink.next_offset == expected => Position {
                next_offset: sink.next_offset.max(main.next_offset),
                ..main
            },
            (Some(sink), None) if sink.next_offset < main.next_offset => main,
            (Some(sink), _)
                if (sink.next_offset < main.next_offset && sabotage::is(Bug::NoRepair))
                    || (sink.next_offset > main.next_offset
                        && sabotage::is(Bug::SinksAheadNotSkipped)) =>
            {
                main
            }
            (Some(sink), _) => sink,
        };
        let output = RowOutput {
            refill_from,
            output,
            generation: setup.generations.outputs.get(name).copied().unwrap_or(1),
            from: position.next_offset,
            // A table that was set back still has to come this far, whoever goes on.
            sink_next_offset: expected.max(sink.map(|sink| sink.next_offset)),
            ledger: logged
                .map(|progress| progress.ledger.clone())
                .unwrap_or_default(),
            refused_ahead: refused_ahead(&recovered.refusals, output, main.next_offset),
            refused_in_hand: Vec::new(),
            rows_of_several: BTreeMap::new(),
        };
        (output, position)
    };
    Ok(outputs.into_iter().zip(places).map(begin).collect())
}

fn place_of(setup: &SourceSetup) -> Place {
    Place::of(
        &setup.plan,
        &setup.plan.sources[setup.source].name,
        setup.partition,
    )
}

/// What `maxOutOfOrder` was since the task's progress began.
fn out_of_order(source: &Source, known: Option<&SourceProgress>) -> Option<OutOfOrder> {
    let ms = source.out_of_order_ms();
    let now = OutOfOrder {
        least_ms: ms,
        most_ms: ms,
    };
    match known {
        None => Some(now),
        Some(known) => Some(known.out_of_order?.and(ms)),
    }
}
