//! The task of one source partition: decode, row-wise steps, deduplication, row outputs, partial aggregates.
mod append_time;
mod fates;
mod progress;
mod slice;
mod source_record;
mod watermark;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{Field, Schema};
use tidewheel_decode::Decoder;
use tidewheel_log::{NewRecord, Record};
use tidewheel_planner::names::PipelineNames;
use tidewheel_planner::plan::{Aggregate, Plan, Relation, Source, Stage, StepKind, TableKind};

use self::append_time::AppendTime;
use self::fates::{Fate, Reasons, count};
use self::slice::{Dead, Slice, Traced, ordinals, place};
use self::watermark::{Idleness, PartitionWatermark};
use crate::deduplication::Deduplication;
use crate::effects::{Effects, Refusal, TableWrite, take_up_to};
use crate::error::EngineError;
use crate::generation::{Generations, StepGeneration};
use crate::ledger::Ledger;
use crate::publish::publish;
use crate::window::{closes_at, emission_count, start_of};
use crate::wire::batch::{MAX_BATCH_BYTES, chunks};
use crate::wire::dead_letter::{DeadLetter, Reason};
use crate::wire::partial::{self, PartialHeader};
use crate::wire::refusal::{Origin, RecordOrigin};
use crate::wire::state::{Checkpoint, Position};
use crate::wire::watermark::WatermarkRecord;

pub use self::progress::{Recovered, StartAt};
pub(crate) use self::slice::{concat, rfc3339, timestamps};

/// How often, in ms of the driver's clock, an active partition tells the others its watermark.
const TELL_EVERY_MS: i64 = 1_000;
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
    /// How many partitions each source of the plan has.
    pub source_partitions: Vec<i32>,
}

/// The task of one source partition.
#[derive(Debug)]
pub struct SourceTask {
    setup: SourceSetup,
    names: PipelineNames,
    decoder: Decoder,
    reasons: Reasons,
    /// Everything below was taken, by whoever had not got it yet.
    at: i64,
    watermark: PartitionWatermark,
    idleness: Idleness,
    idle: bool,
    told: Option<(i64, WatermarkRecord)>,
    start_offset: i64,
    append: AppendTime,
    /// The largest timestamp of the records that are covered, ms.
    main_append_ms: Option<i64>,
    /// Where to read from at the latest, so that append times are known at `at`.
    append_from: i64,
    /// Where dead letters and the ledgers of row outputs begin to be ours to write.
    main_from: i64,
    /// What that was before the records in hand: what sinks refuse of earlier records has been told before.
    main_before: i64,
    main_watermark_ms: Option<i64>,
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
    from: i64,
    position: Position,
    ledger: Ledger,
    /// The emission count last told to each partition of the partials topic.
    told: Vec<Option<i64>>,
}

/// A row output as this task fills it.
#[derive(Debug)]
struct RowOutput {
    output: usize,
    generation: i64,
    from: i64,
    sink_next_offset: Option<i64>,
    ledger: Ledger,
    /// What the sink refused of records that the log has not covered yet, in their order.
    refused_ahead: Vec<Refusal>,
    /// Those of the records in hand.
    refused_in_hand: Vec<Refusal>,
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

    /// The watermark, ms.
    pub fn watermark_ms(&self) -> Option<i64> {
        self.watermark.current_ms
    }

    /// Takes note of what another source partition of the pipeline tells. What concerns no aggregate step that this one feeds is ignored.
    pub fn observe(&mut self, record: WatermarkRecord) {
        self.idleness.observe(record);
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
        self.run(&records[..consumed], next, &mut effects)?;
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
            }
        }
        for refusal in self.refused_records(refusals) {
            log.extend(self.bury_refused(records, &refusal));
        }
        log.push(self.progress_record());
        log
    }

    /// The partition was fetched at its end at `clock_ms`: when it is idle by now, what that leads to.
    pub fn at_end(&mut self, clock_ms: i64) -> Result<Option<Effects>, EngineError> {
        if self.next_boundary().is_some() || !self.idleness.at_end(clock_ms) {
            return Ok(None);
        }
        let newly_idle = !self.idle;
        self.idle = true;
        let target_ms = self.idleness.target(&self.watermark_record(), clock_ms);
        let lifts = target_ms.filter(|&target_ms| self.emits_more(target_ms));
        match lifts {
            Some(target_ms) => self.decree(target_ms).map(Some),
            None if newly_idle => {
                let record = self.watermark_record();
                let log = vec![self.tell(record.clone())];
                self.note_told(record);
                Ok(Some(self.effects(log)))
            }
            None => Ok(None),
        }
    }

    /// Lifts the watermark to at least `watermark_ms`, from here on and in every replay.
    pub fn decree(&mut self, watermark_ms: i64) -> Result<Effects, EngineError> {
        self.watermark.current_ms = self.watermark.current_ms.max(Some(watermark_ms));
        let record = WatermarkRecord {
            decree_ms: self.watermark.current_ms,
            ..self.watermark_record()
        };
        let mut log = vec![self.tell(record.clone())];
        self.note_told(record);
        for index in 0..self.partials.len() {
            // Whoever waits for this very watermark hears of it, even where it emits nothing.
            self.partials[index].told.fill(None);
            self.announce(index, Vec::new(), self.at, &mut log)?;
        }
        self.pass();
        Ok(self.effects(log))
    }

    /// The watermark at which every window that holds an event so far is closed, ms; none where there was none.
    pub fn closing_watermark_ms(&self) -> Option<i64> {
        let out_of_order_ms = i64::try_from(self.source().max_out_of_order_ms).unwrap_or(i64::MAX);
        let newest_ms = self.watermark.by_events_ms?.saturating_add(out_of_order_ms);
        let closes = |partials: &Partials| {
            let aggregate = self.aggregate(partials.step);
            closes_at(
                aggregate.window,
                aggregate.late,
                start_of(aggregate.window, newest_ms),
            )
        };
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
        let source = &plan.sources[self.setup.source];
        let (mut slice, traced) = Slice::decode(
            plan,
            source,
            self.setup.partition,
            records,
            &mut self.decoder,
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
                    slice.rows(step, program, &inputs)
                }
                StepKind::Deduplicate(deduplicate) => match relations.get(deduplicate.from) {
                    Some(input) => {
                        let seen = self
                            .deduplications
                            .entry(step)
                            .or_insert_with(|| Deduplication::new(deduplicate.within_ms));
                        Some(slice.deduplicate(deduplicate, input, seen)?)
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
        self.main_before = self.main_from;
        let plan = Arc::clone(&self.setup.plan);
        let mut watermark = std::mem::take(&mut self.watermark);
        let mut partials_out = Vec::new();
        let active: Vec<(usize, StepGeneration)> = self
            .partials
            .iter()
            .filter(|partials| partials.from <= at)
            .map(|partials| (partials.step, partials.generation))
            .collect();
        let mut append = self.append;
        let (mut slice, relations) =
            self.evaluate(&plan, records, &mut watermark, &mut append, |_| true)?;
        for (step, generation) in active {
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
            let (partials, fates) = slice.aggregate(step, aggregate, generation.cut_ms, input)?;
            partials_out.push((step, partials, fates));
        }
        let dead = std::mem::take(&mut slice.dead);
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
            let placed = match (&partials, &plan.steps[step].kind) {
                (Some(partials), StepKind::Aggregate(aggregate)) => place(aggregate, partials)?,
                _ => Vec::new(),
            };
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
            self.write_rows(index, at, records, &relations, &plan, effects)?;
        }
        let (writes, log) = (&mut effects.writes, &mut effects.log);
        for refusal in publish(&plan, self.setup.partition, writes, log)? {
            let mut outputs = self.outputs.iter_mut();
            if let Some(output) = outputs.find(|output| output.output == refusal.output) {
                output.refused_in_hand.push(refusal);
            }
        }
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

    fn write_rows(
        &mut self,
        index: usize,
        at: i64,
        records: &[Record],
        relations: &Relations,
        plan: &Plan,
        effects: &mut Effects,
    ) -> Result<(), EngineError> {
        let Some(traced) = relations.get(plan.outputs[self.outputs[index].output].from) else {
            return Ok(());
        };
        let partition = self.setup.partition;
        let output = &mut self.outputs[index];
        if self.main_from <= at {
            let step_name = |step: u16| plan.steps[usize::from(step)].name.clone();
            count(&mut output.ledger, &traced.fates, &self.reasons, step_name);
            output.take_up_refused(records, &traced.fates);
        }
        if output.from > at || traced.rows.records.is_empty() {
            return Ok(());
        }
        let rows = own_columns(&traced.rows, records, output.generation, partition)
            .map_err(|error| crate::wire::WireError::new("row", error))?;
        effects.writes.push(TableWrite {
            output: output.output,
            generation: output.generation,
            rows,
            deletes: None,
            windows: Vec::new(),
        });
        Ok(())
    }

    /// Sends partials, and the watermark to every partition of the partials topic that waits for it.
    fn announce(
        &mut self,
        index: usize,
        placed: Vec<(u32, RecordBatch)>,
        from: i64,
        log: &mut Vec<NewRecord>,
    ) -> Result<(), EngineError> {
        let step = self.partials[index].step;
        let aggregate = self.aggregate(step);
        let (window, late) = (aggregate.window, aggregate.late);
        let watermark_ms = self.watermark.current_ms;
        let emissions = watermark_ms.map(|ms| emission_count(window, late, ms));
        let header = PartialHeader {
            source: self.source().name.clone(),
            partition: self.setup.partition,
            from,
            to: self.at,
            watermark_ms,
        };
        let topic = self.names.partials(
            &self.setup.plan.steps[step].name,
            self.partials[index].generation.number,
        );
        let mut batches: BTreeMap<u32, RecordBatch> = placed.into_iter().collect();
        let told = &mut self.partials[index].told;
        for (target, told) in told.iter_mut().enumerate() {
            let batch = batches.remove(&(target as u32));
            if batch.is_none() && (emissions.is_none() || *told == emissions) {
                continue;
            }
            *told = emissions;
            let parts = batch.map_or_else(
                || vec![None],
                |batch| {
                    chunks(&batch, MAX_BATCH_BYTES)
                        .into_iter()
                        .map(Some)
                        .collect()
                },
            );
            for part in parts {
                log.push(NewRecord {
                    topic: topic.clone(),
                    partition: Some(target as i32),
                    key: None,
                    value: Some(partial::encode(&header, part.as_ref())?),
                    headers: Vec::new(),
                });
            }
        }
        Ok(())
    }

    fn emits_more(&self, watermark_ms: i64) -> bool {
        self.partials.iter().any(|partials| {
            let aggregate = self.aggregate(partials.step);
            let count = |ms| emission_count(aggregate.window, aggregate.late, ms);
            self.watermark
                .current_ms
                .is_none_or(|current_ms| count(watermark_ms) > count(current_ms))
        })
    }

    fn watermark_record(&self) -> WatermarkRecord {
        WatermarkRecord {
            event_watermark_ms: self.watermark.by_events_ms,
            last_append_ms: self.last_append_ms(),
            idle: self.idle,
            ..WatermarkRecord::active(&self.source().name, self.setup.partition, self.at)
        }
    }

    fn tell(&self, record: WatermarkRecord) -> NewRecord {
        NewRecord {
            topic: self.names.watermarks(),
            partition: Some(0),
            key: Some(record.key()),
            value: Some(record.encode()),
            headers: Vec::new(),
        }
    }

    fn tell_if_due(&mut self, clock_ms: i64, log: &mut Vec<NewRecord>) {
        if self.main_from > self.at || self.partials.is_empty() {
            return;
        }
        let record = self.watermark_record();
        let due = self.told.as_ref().is_none_or(|(told_at_ms, told)| {
            let news =
                told.event_watermark_ms != record.event_watermark_ms || told.idle != record.idle;
            news && (told.idle || clock_ms.saturating_sub(*told_at_ms) >= TELL_EVERY_MS)
        });
        if due {
            log.push(self.tell(record.clone()));
            self.told = Some((clock_ms, record));
        }
    }

    /// What the others know since: the next news differ from this.
    fn note_told(&mut self, record: WatermarkRecord) {
        let told_at_ms = self
            .told
            .as_ref()
            .map_or(i64::MIN, |(told_at_ms, _)| *told_at_ms);
        self.told = Some((told_at_ms, record));
    }

    fn dead_letter(&self, letter: &Dead, record: &Record) -> NewRecord {
        let step = letter.step.map(|step| self.step_name(step));
        DeadLetter {
            reason: letter.reason,
            message: &letter.message,
            step: step.as_deref(),
            field: letter.field.as_deref(),
            input: &self.source().name,
            partition: self.setup.partition,
        }
        .of_record(&self.names.dead_letters(), record)
    }

    /// What sinks refused, once for each record: what they have just said, and what they had said before the log could be told.
    fn refused_records(&mut self, refusals: &[Refusal]) -> Vec<Refusal> {
        let mut all: Vec<Refusal> = self
            .outputs
            .iter_mut()
            .flat_map(|output| std::mem::take(&mut output.refused_in_hand))
            .collect();
        let is_new =
            |refusal: &&Refusal| offset_of(refusal).is_some_and(|at| at >= self.main_before);
        all.extend(refusals.iter().filter(is_new).cloned());
        let record = |refusal: &Refusal| (refusal.output, offset_of(refusal));
        all.sort_by_key(record);
        all.dedup_by_key(|refusal| record(refusal));
        all
    }

    fn bury_refused(&mut self, records: &[Record], refusal: &Refusal) -> Option<NewRecord> {
        let output = self
            .outputs
            .iter_mut()
            .find(|output| output.output == refusal.output)?;
        let record = &records[index_of(records, offset_of(refusal)?)?];
        output.ledger.written = output.ledger.written.saturating_sub(1);
        *output.ledger.dead_lettered(Reason::Refused) += 1;
        let name = self.setup.plan.outputs[refusal.output].name.clone();
        let letter = DeadLetter {
            reason: Reason::Refused.as_str(),
            message: &refusal.reason,
            step: Some(&name),
            field: None,
            input: &self.source().name,
            partition: self.setup.partition,
        };
        Some(letter.of_record(&self.names.dead_letters(), record))
    }
}

impl RowOutput {
    /// Takes up what the sink refused of `records` before the log had them. A record that this plan leaves out misses no row.
    fn take_up_refused(&mut self, records: &[Record], fates: &[Fate]) {
        let covered = |refusal: &Refusal| {
            let last = records.last().map(|record| record.offset);
            offset_of(refusal) <= last
        };
        let count = self.refused_ahead.partition_point(covered);
        let is_present = |refusal: &Refusal| {
            offset_of(refusal)
                .and_then(|offset| index_of(records, offset))
                .is_some_and(|index| fates[index] == Fate::Present)
        };
        let taken = self.refused_ahead.drain(..count).filter(is_present);
        self.refused_in_hand.extend(taken);
    }
}

/// Offset of the record whose row was refused.
fn offset_of(refusal: &Refusal) -> Option<i64> {
    match refusal.origin {
        Origin::Record(RecordOrigin { offset }) => Some(offset),
        Origin::Window(_) => None,
    }
}

fn index_of(records: &[Record], offset: i64) -> Option<usize> {
    records
        .binary_search_by_key(&offset, |record| record.offset)
        .ok()
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

/// The stage-1 steps that are reached from a source, in order.
fn reached(plan: &Plan, source: usize) -> Vec<usize> {
    let mut steps: Vec<usize> = Vec::new();
    for (index, step) in plan.steps.iter().enumerate() {
        let from_here = step.kind.reads().iter().any(|&relation| match relation {
            Relation::Source(other) => other == source,
            Relation::Step(other) => steps.contains(&other),
        });
        if step.stage == Stage::One && from_here {
            steps.push(index);
        }
    }
    steps
}

/// The other source partitions that feed an aggregate step which this one feeds too: they wait for each other.
fn companions(setup: &SourceSetup) -> BTreeSet<(String, i32)> {
    let plan = &setup.plan;
    let fed = |source: usize| -> BTreeSet<usize> {
        let is_aggregate = |&step: &usize| matches!(plan.steps[step].kind, StepKind::Aggregate(_));
        reached(plan, source)
            .into_iter()
            .filter(is_aggregate)
            .collect()
    };
    let ours = fed(setup.source);
    let partitions = setup.source_partitions.iter().enumerate();
    partitions
        .filter(|&(source, _)| !ours.is_disjoint(&fed(source)))
        .flat_map(|(source, &partitions)| (0..partitions).map(move |partition| (source, partition)))
        .filter(|&other| other != (setup.source, setup.partition))
        .map(|(source, partition)| (plan.sources[source].name.clone(), partition))
        .collect()
}

/// The row outputs that are reached from a source.
fn row_outputs(plan: &Plan, source: usize, steps: &[usize]) -> Vec<usize> {
    let reached = |relation: Relation| match relation {
        Relation::Source(other) => other == source,
        Relation::Step(step) => steps.contains(&step),
    };
    (0..plan.outputs.len())
        .filter(|&output| {
            *plan.outputs[output].kind() == TableKind::Rows && reached(plan.outputs[output].from)
        })
        .collect()
}

/// Appends the columns of ours that tables of rows have.
fn own_columns(
    rows: &crate::rows::Rows,
    records: &[Record],
    generation: i64,
    partition: i32,
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
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}
