//! The task of one source partition: decode, row-wise steps, deduplication, row outputs, partial aggregates.
mod addressed;
mod announce;
mod append_time;
mod events;
mod fates;
mod parts;
mod progress;
mod reach;
mod refused;
mod row_output;
mod slice;
mod source_record;
mod speaking;
mod times;
mod watermark;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidewheel_decode::writer_schema::WriterSchema;
use tidewheel_log::{NewRecord, Record};
use tidewheel_planner::names::PipelineNames;
use tidewheel_planner::plan::{Aggregate, Plan, Relation, Source, StepKind};

use self::append_time::AppendTime;
use self::events::Events;
use self::fates::{Reasons, count};
use self::reach::{companions, reached, row_outputs};
use self::row_output::RowOutput;
use self::slice::{Begun, Dead, Slice, Traced};
use self::speaking::Speaking;
use self::watermark::{Idleness, PartitionWatermark};
use crate::chain::closing_ms;
use crate::deduplication::Deduplication;
use crate::effects::{Effects, Refusal, take_up_to};
use crate::error::EngineError;
use crate::generation::{Generations, StepGeneration};
use crate::ledger::Ledger;
use crate::partials::place;
use crate::settled::Settled;
use crate::wire::acknowledgement::Acknowledgement;
use crate::wire::dead_letter::DeadLetter;
use crate::wire::state::{Checkpoint, OffsetRange, OutOfOrder, Position};
use crate::wire::watermark::WatermarkRecord;

pub use self::progress::{Recovered, StartAt};

/// How far apart, in ms of append time, checkpoints are at least.
const CHECKPOINT_EVERY_MS: i64 = 600_000;
/// How many checkpoints are kept; when there are more, every second of the older half goes.
const CHECKPOINTS: usize = 32;

/// What a source task is made of.
#[derive(Debug, Clone)]
pub struct SourceSetup {
    /// The pipeline.
    pub plan: Arc<Plan>,
    /// Which generations write.
    pub generations: Arc<Generations>,
    /// Index of the source in the plan.
    pub source: usize,
    /// Partition of the source.
    pub partition: i32,
    /// How many partitions each source of the plan has by now.
    pub source_partitions: Vec<i32>,
}

/// The task of one source partition.
#[derive(Debug)]
pub struct SourceTask {
    setup: SourceSetup,
    names: PipelineNames,
    /// Nothing of it was in the log.
    is_new: bool,
    /// What it waited for was acknowledged, or has come back: the log does not know yet.
    has_news: bool,
    acknowledgement: Acknowledgement,
    passed_over: Option<OffsetRange>,
    /// None where a build has begun it that did not say.
    out_of_order: Option<OutOfOrder>,
    events: Events,
    reasons: Reasons,
    /// Everything below was taken, by whoever had not got it yet.
    at: i64,
    watermark: PartitionWatermark,
    idleness: Idleness,
    idle: bool,
    told: Option<(i64, WatermarkRecord)>,
    speaking: Speaking,
    start_offset: i64,
    append: AppendTime,
    /// The largest timestamp of the records that are covered, ms.
    main_append_ms: Option<i64>,
    /// Where to read from at the latest, so that append times are known at `at`.
    append_from: i64,
    /// Where dead letters and the ledgers of row outputs begin to be ours to write.
    main_from: i64,
    /// The records in hand lie before that: what sinks refuse of them the log has been told already.
    is_replay: bool,
    main_watermark_ms: Option<i64>,
    settled: Settled,
    /// The watermark by events alone at `main_from`, ms.
    main_event_watermark_ms: Option<i64>,
    steps: Vec<usize>,
    deduplications: BTreeMap<usize, Deduplication>,
    partials: Vec<Partials>,
    outputs: Vec<RowOutput>,
    checkpoints: Vec<Checkpoint>,
}

/// An aggregate step as this task feeds it.
#[derive(Debug)]
struct Partials {
    step: usize,
    generation: StepGeneration,
    /// This task has not fed this generation before.
    is_new: bool,
    from: i64,
    position: Position,
    ledger: Ledger,
    /// What this generation has read anew.
    replayed: Option<OffsetRange>,
    /// The emission count last told to each partition of the partials topic.
    told: Vec<Option<i64>>,
}

impl SourceTask {
    fn source(&self) -> &Source {
        &self.setup.plan.sources[self.setup.source]
    }

    /// The longest horizon of the deduplications that records of this source reach, ms.
    pub fn horizon_ms(&self) -> Option<u64> {
        self.deduplications
            .keys()
            .filter_map(|&step| match &self.setup.plan.steps[step].kind {
                StepKind::Deduplicate(deduplicate) => Some(deduplicate.within_ms),
                _ => None,
            })
            .max()
    }

    /// The first offset whose effects are not all done; reading may begin before it to fill the deduplications.
    pub fn next_offset(&self) -> i64 {
        self.at
    }

    /// The largest time at which a record that was taken was appended, as far as it is known, ms.
    pub fn last_append_ms(&self) -> Option<i64> {
        self.append.newest_ms()
    }

    /// Where reading begins at the latest, so that append times are known at [`Self::next_offset`].
    pub fn append_times_from(&self) -> i64 {
        self.append_from
    }

    /// The log has the dead letters of what sinks refused up to here, and no outage takes them back; the sinks have to keep the others.
    pub fn settled_below(&self) -> i64 {
        self.settled.below()
    }

    /// The watermark, ms.
    pub fn watermark_ms(&self) -> Option<i64> {
        self.watermark.current_ms
    }

    /// Takes note of what another source partition of the pipeline tells. What concerns no aggregate step that this one feeds is ignored.
    pub fn observe(&mut self, record: WatermarkRecord) {
        self.idleness.observe(record);
    }

    /// The schemas that these records name and that the task does not know yet: it has to [`learn`](Self::learn) them before it takes the
    /// records.
    pub fn unknown_schemas(&self, records: &[Record]) -> BTreeSet<u32> {
        self.events.unknown_schemas(records)
    }

    /// Makes a schema known that values name by `id`.
    pub fn learn(&mut self, id: u32, schema: Arc<WriterSchema>) {
        self.events.learn(id, schema);
    }

    /// Takes records, in order, without gaps towards the last call, up to before `fetched_to`.
    ///
    /// Only a part may be taken (see [`Effects::consumed`]): give the others again when these effects are carried out.
    /// Records before [`Self::next_offset`] fill the deduplications and have no effects.
    pub fn process(
        &mut self,
        records: &[Record],
        fetched_to: i64,
        clock_ms: i64,
    ) -> Result<Effects, EngineError> {
        if let Some(first) = records.first() {
            self.idleness.wake();
            self.idle = false;
            if first.offset < self.at {
                return self.fill(records);
            }
        }
        let limit = self.next_boundary();
        let (consumed, next) = take_up_to(limit, records, fetched_to, self.at);
        let mut effects = Effects {
            consumed,
            position: self.position(),
            writes: Vec::new(),
            log: Vec::new(),
        };
        let taken = &records[..consumed];
        let newest_ms = taken.last().map(|record| record.append_time_ms);
        let newest_ms = newest_ms.max(newest_ms.and(self.last_append_ms()));
        self.speaking.begin(newest_ms, clock_ms);
        self.run(taken, next, &mut effects)?;
        self.tell_if_due(clock_ms, &mut effects.log);
        effects.position = self.position();
        Ok(effects)
    }

    /// Ends a batch: what goes to the log besides [`Effects::log`], in the same transaction: dead letters of what sinks refused,
    /// and the progress. `records` are those that were taken for the effects; `committed` names the outputs whose sinks have moved
    /// to the effects' position.
    pub fn seal(
        &mut self,
        records: &[Record],
        committed: &[usize],
        refusals: &[Refusal],
    ) -> Vec<NewRecord> {
        let mut log = Vec::new();
        for output in &mut self.outputs {
            if committed.contains(&output.output) {
                output.sink_next_offset = output.sink_next_offset.max(Some(self.at));
                output.refill_from = None;
            }
        }
        self.bury_refused(records, refusals, &mut log);
        self.settled.commit(self.main_from);
        log.push(self.progress_record());
        log
    }

    /// The watermark at which every window that holds an event so far is closed, ms; none where there was none.
    pub fn closing_watermark_ms(&self) -> Option<i64> {
        // It may have been more than it is when the newest event came.
        let most_ms = self.out_of_order.map_or(0, |known| known.most_ms);
        let out_of_order_ms = self.source().out_of_order_ms().max(most_ms);
        let newest_ms = self.watermark.by_events_ms?.saturating_add(out_of_order_ms);
        let closes = |partials: &Partials| closing_ms(&self.setup.plan, partials.step, newest_ms);
        self.partials.iter().map(closes).max()
    }

    /// The ledgers: of row outputs by output name, of aggregate steps (whose contributions go to stage 2) by step name.
    pub fn ledgers(&self) -> SourceLedgers {
        let name = |output: &RowOutput| self.setup.plan.outputs[output.output].name.clone();
        SourceLedgers {
            outputs: self
                .outputs
                .iter()
                .map(|output| (name(output), output.ledger.clone()))
                .collect(),
            steps: self
                .partials
                .iter()
                .map(|step| (self.step_name(step.step), step.ledger.clone()))
                .collect(),
        }
    }

    fn effects(&self, log: Vec<NewRecord>) -> Effects {
        Effects {
            consumed: 0,
            position: self.position(),
            writes: Vec::new(),
            log,
        }
    }

    fn position(&self) -> Position {
        Position {
            next_offset: self.at,
            watermark_ms: self.watermark.current_ms,
        }
    }

    fn step_name(&self, step: usize) -> String {
        self.setup.plan.steps[step].name.clone()
    }

    fn aggregate(&self, step: usize) -> &Aggregate {
        match &self.setup.plan.steps[step].kind {
            StepKind::Aggregate(aggregate) => aggregate,
            _ => unreachable!("partials are kept for aggregate steps only"),
        }
    }

    /// The next offset at which somebody who lies ahead begins to take part.
    fn next_boundary(&self) -> Option<i64> {
        let ahead = self
            .partials
            .iter()
            .map(|step| step.from)
            .chain(self.outputs.iter().map(|output| output.from));
        ahead
            .chain([self.main_from])
            .filter(|&from| from > self.at)
            .min()
    }

    /// Fills the deduplications from records whose effects are done.
    fn fill(&mut self, records: &[Record]) -> Result<Effects, EngineError> {
        let consumed = records.partition_point(|record| record.offset < self.at);
        let plan = Arc::clone(&self.setup.plan);
        let mut watermark = PartitionWatermark::default();
        let mut append = self.append;
        let relations = self.evaluate(
            &plan,
            &records[..consumed],
            &mut watermark,
            &mut append,
            |step| !matches!(step, StepKind::Aggregate(_)),
        )?;
        drop(relations);
        self.append = append;
        Ok(Effects {
            consumed,
            ..self.effects(Vec::new())
        })
    }

    /// Decodes records and runs the stage-1 steps that `wanted` picks.
    fn evaluate<'a>(
        &'a mut self,
        plan: &'a Plan,
        records: &'a [Record],
        watermark: &mut PartitionWatermark,
        append: &mut AppendTime,
        wanted: impl Fn(&StepKind) -> bool,
    ) -> Result<(Slice<'a>, Relations), EngineError> {
        let (mut slice, traced) = Slice::decode(
            plan,
            (self.setup.source, self.setup.partition),
            records,
            &mut self.events,
            watermark,
            append,
            &mut self.reasons,
        )?;
        let mut relations = Relations {
            source: self.setup.source,
            traced,
            steps: BTreeMap::new(),
        };
        for &step in &self.steps {
            let kind = &plan.steps[step].kind;
            if !wanted(kind) {
                continue;
            }
            let made = match kind {
                StepKind::Rows(program) => {
                    let inputs: Vec<Option<&Traced>> = program
                        .inputs
                        .iter()
                        .map(|&relation| relations.get(relation))
                        .collect();
                    slice.rows(step, program, &inputs)?
                }
                StepKind::Deduplicate(deduplicate) => match relations.get(deduplicate.from) {
                    Some(input) => {
                        let seen = self
                            .deduplications
                            .entry(step)
                            .or_insert_with(|| Deduplication::new(deduplicate.within_ms));
                        Some(slice.deduplicate(step, deduplicate, input, seen)?)
                    }
                    None => None,
                },
                StepKind::Aggregate(_) => None,
            };
            if let Some(made) = made {
                relations.steps.insert(step, made);
            }
        }
        Ok((slice, relations))
    }

    fn run(
        &mut self,
        records: &[Record],
        next: i64,
        effects: &mut Effects,
    ) -> Result<(), EngineError> {
        let at = self.at;
        self.is_replay = self.main_from > at;
        let plan = Arc::clone(&self.setup.plan);
        let mut watermark = std::mem::take(&mut self.watermark);
        let mut partials_out = Vec::new();
        let begun = |partials: &Partials| Begun {
            cut_ms: partials.generation.cut_ms,
            replayed: partials.replayed,
        };
        let active: Vec<(usize, Begun)> = self
            .partials
            .iter()
            .filter(|partials| partials.from <= at)
            .map(|partials| (partials.step, begun(partials)))
            .collect();
        let mut append = self.append;
        let (mut slice, relations) =
            self.evaluate(&plan, records, &mut watermark, &mut append, |_| true)?;
        for (step, begun) in active {
            let StepKind::Aggregate(aggregate) = &plan.steps[step].kind else {
                continue;
            };
            let Some(input) = aggregate
                .argument
                .inputs
                .first()
                .and_then(|&input| relations.get(input))
            else {
                continue;
            };
            let (partials, fates) = slice.aggregate(step, aggregate, begun, input)?;
            partials_out.push((step, partials, fates));
        }
        let dead = std::mem::take(&mut slice.dead);
        let addressed = std::mem::take(&mut slice.addressed);
        drop(slice);
        self.append = append;
        self.watermark = watermark;
        self.watermark.reach(next);
        self.at = next;
        let step_name = |step: u16| plan.steps[usize::from(step)].name.clone();
        for (step, partials, fates) in partials_out {
            let Some(index) = self
                .partials
                .iter()
                .position(|partials| partials.step == step)
            else {
                continue;
            };
            count(
                &mut self.partials[index].ledger,
                &fates,
                &self.reasons,
                step_name,
            );
            let mut placed = Vec::new();
            for partials in &partials {
                placed.extend(place(self.aggregate(step), partials)?);
            }
            self.announce(index, placed, at, &mut effects.log)?;
        }
        if self.main_from <= at {
            for letter in &dead {
                effects
                    .log
                    .push(self.dead_letter(letter, &records[letter.record as usize]));
            }
        }
        for index in 0..self.outputs.len() {
            self.write_rows(index, at, records, (&relations, &addressed), effects)?;
        }
        self.publish(effects)?;
        self.pass();
        self.note_checkpoint();
        Ok(())
    }

    /// Moves the position of everyone who takes part.
    fn pass(&mut self) {
        let position = self.position();
        for partials in self
            .partials
            .iter_mut()
            .filter(|partials| partials.from <= position.next_offset)
        {
            partials.position = position;
        }
        if self.main_from <= position.next_offset {
            self.main_from = position.next_offset;
            self.main_watermark_ms = position.watermark_ms;
            self.main_append_ms = self.main_append_ms.max(self.append.newest_ms());
            self.watermark.by_events_ms = self
                .watermark
                .by_events_ms
                .max(self.main_event_watermark_ms);
            self.main_event_watermark_ms = self.watermark.by_events_ms;
        }
    }

    fn note_checkpoint(&mut self) {
        let (Some(append_time_ms), true) = (self.main_append_ms, self.main_from <= self.at) else {
            return;
        };
        let due = |last: &Checkpoint| append_time_ms >= last.append_time_ms + CHECKPOINT_EVERY_MS;
        if self.checkpoints.last().is_none_or(due) {
            let event_watermark_ms = self.watermark.by_events_ms;
            self.checkpoints.push(Checkpoint {
                position: self.position(),
                event_watermark_ms,
                append_time_ms,
            });
        }
        if self.checkpoints.len() > CHECKPOINTS {
            let mut index = 0;
            self.checkpoints.retain(|_| {
                index += 1;
                index > CHECKPOINTS / 2 || index % 2 == 0
            });
        }
    }

    fn dead_letter(&self, letter: &Dead, record: &Record) -> NewRecord {
        let step = letter.step.map(|step| self.step_name(step));
        let letter = DeadLetter {
            reason: letter.reason,
            message: &letter.message,
            step: step.as_deref(),
            field: letter.field.as_deref(),
            rows_taken: 0,
            input: &self.source().name,
            partition: self.setup.partition,
        };
        self.letter_of(&letter, record)
    }

    fn letter_of(&self, letter: &DeadLetter<'_>, record: &Record) -> NewRecord {
        let (topic, origin) = (self.names.dead_letters(), &self.source().topic);
        if self.source().foreign {
            letter.of_foreign_record(&topic, origin, record)
        } else {
            letter.of_record(&topic, origin, record)
        }
    }
}

/// The ledgers of a source task.
#[derive(Debug, Clone, Default)]
pub struct SourceLedgers {
    /// Of row outputs, by name, in records.
    pub outputs: BTreeMap<String, Ledger>,
    /// Of aggregate steps, by name, in records since the step's generation began.
    pub steps: BTreeMap<String, Ledger>,
}

/// The relations of a slice that were made so far.
struct Relations {
    source: usize,
    traced: Traced,
    steps: BTreeMap<usize, Traced>,
}

impl Relations {
    fn get(&self, relation: Relation) -> Option<&Traced> {
        match relation {
            Relation::Source(source) => (source == self.source).then_some(&self.traced),
            Relation::Step(step) => self.steps.get(&step),
        }
    }
}
