//! The task of one partition of the partials of an aggregate step: merge, emit as the watermark passes, follow-up steps.
mod changes;
mod emission;
mod feeding;
pub(crate) mod group_letters;
mod outdated;
mod passed_over;
mod refused;
mod sessions;
mod settle;
mod snapshot;
mod windows;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use tidewheel_log::{NewRecord, Record};
use tidewheel_planner::names::PipelineNames;
use tidewheel_planner::plan::{Aggregate, Output, Plan, StepKind, Window};

use self::changes::{Changes, compare};
use self::emission::{Emission, chain, window_outputs};
use self::feeding::Fed;
use self::refused::RefusedGroups;
use self::windows::{Pane, Windows, by_pane, in_window};
use crate::effects::{Effects, Refusal, TableWrite, take_up_to};
use crate::error::EngineError;
use crate::generation::Generations;
use crate::ledger::Ledger;
use crate::publish::publish;
use crate::sabotage::{self, Bug};
use crate::settled::Settled;
use crate::window::{closes_at, emits_at, end_of, last_start, starts_over};
use crate::wire::acknowledgement::Acknowledgement;
use crate::wire::partial::{self, PartialHeader};
use crate::wire::row::removal;
use crate::wire::state::{OutputProgress, Position, StepKey, StepProgress, Versioned, version};

pub use self::outdated::Outdated;
pub use self::snapshot::RecoveredStep;

/// How long after it took its last row a window is kept, so that a database that was set back is given again what it lost.
const REPAIR_HORIZON_MS: i64 = 10 * 60 * 1_000;

/// What a step task is made of.
#[derive(Debug, Clone)]
pub struct StepSetup {
    /// The pipeline.
    pub plan: Arc<Plan>,
    /// Which generations write.
    pub generations: Arc<Generations>,
    /// Index of the aggregate step in the plan.
    pub step: usize,
    /// Partition of its partials.
    pub partition: i32,
    /// The source partitions that fed the step when its generation began, as `<source>/<partition>`, or those of the step whose windows it
    /// aggregates: each has to speak before a window is emitted. Others are waited for from when they first speak, so that every replay waits for the same ones.
    pub feeders: Vec<String>,
    /// How often changed windows go to the state topic, by the driver's clock.
    pub snapshot_every: Duration,
}

/// The task of one partition of partials.
#[derive(Debug)]
pub struct StepTask {
    setup: StepSetup,
    names: PipelineNames,
    generation: i64,
    at: i64,
    /// Everything below is done; before it the log is only read again, silently.
    from: i64,
    watermarks: BTreeMap<String, Option<i64>>,
    watermark_ms: Option<i64>,
    windows: Windows,
    /// Of windows that are due, by start: in how many of the partials that are read again each group came.
    replayed: BTreeMap<i64, HashMap<u128, i64>>,
    outputs: Vec<WindowOutput>,
    /// The aggregate steps over its windows.
    fed: Vec<Fed>,
    settled: Settled,
    acknowledgement: Acknowledgement,
    /// Partials up to here are gone, some of which were covered: the progress of then, until the task is as far again.
    passed_over: Option<StepProgress>,
    /// Runs that the state topic has, with the number of their parts.
    stored: BTreeMap<u64, u32>,
    /// The offset of the newest snapshot: partials below it are not needed any more.
    snapshot_at: i64,
    snapshot_clock_ms: Option<i64>,
    snapshot_pending: Option<i64>,
    /// Keys of earlier generations, to be deleted with the next progress.
    obsolete: Vec<bytes::Bytes>,
    /// Keys of rows on topics that earlier generations have written and this one makes anew, by output.
    outdated: BTreeMap<String, Vec<bytes::Bytes>>,
}

#[derive(Debug)]
struct WindowOutput {
    output: usize,
    step: usize,
    chain: Vec<usize>,
    from: i64,
    sink_next_offset: Option<i64>,
    /// The sink has lost its progress and has none yet: see [`OutputProgress::refill_from`].
    refill_from: Option<i64>,
    /// The sink was set back: it is given all windows that are still kept once more.
    repair: bool,
    ledger: Ledger,
    refused: RefusedGroups,
    /// What the sink refused with commits that the log has not covered yet, each due where that commit was. And what a topic cannot have.
    refused_ahead: Vec<Refusal>,
}

/// A window that is not emitted yet, or has changed since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenWindow {
    /// Its start, ms.
    pub start_ms: i64,
    /// Its end, ms.
    pub end_ms: i64,
    /// The watermark at which it is emitted, ms.
    pub emits_at_ms: i64,
    /// Rows that went into it and were not emitted.
    pub contributions: i64,
}

impl StepTask {
    /// The tables of windows that the task writes (indices into the plan's outputs). Outputs over topics are no sinks of their own.
    pub fn tables(setup: &StepSetup) -> Vec<usize> {
        let outputs = window_outputs(&setup.plan, setup.step).into_iter();
        outputs
            .map(|(output, _)| output)
            .filter(|&output| setup.plan.outputs[output].table().is_some())
            .collect()
    }

    /// The topics of windows that the task writes (indices into the plan's outputs).
    pub fn topics(setup: &StepSetup) -> Vec<usize> {
        let outputs = window_outputs(&setup.plan, setup.step).into_iter();
        outputs
            .map(|(output, _)| output)
            .filter(|&output| setup.plan.outputs[output].topic().is_some())
            .collect()
    }

    /// Where reading begins.
    pub fn next_offset(&self) -> i64 {
        self.at
    }

    /// The watermark: the minimum over all source partitions, ms; none until each has spoken.
    pub fn watermark_ms(&self) -> Option<i64> {
        self.watermark_ms
    }

    /// The partials below this offset are not needed any more, once the last effects are committed.
    pub fn retained_from(&self) -> i64 {
        self.snapshot_at
    }

    /// The log has the dead letters of what sinks refused up to here, and no outage takes them back; the sinks have to keep the others.
    pub fn settled_below(&self) -> i64 {
        self.settled.below()
    }

    /// Bytes of Arrow memory that window state takes.
    pub fn state_bytes(&self) -> usize {
        self.windows.bytes()
    }

    /// The ledgers of window outputs by output name, in contributions. What is pending in windows is in flight.
    pub fn ledgers(&self) -> BTreeMap<String, Ledger> {
        self.outputs
            .iter()
            .map(|output| {
                (
                    self.setup.plan.outputs[output.output].name.clone(),
                    output.ledger.clone(),
                )
            })
            .collect()
    }

    /// Windows with contributions that were not emitted, by start. Sessions are one, that of the first start.
    pub fn open_windows(&self) -> Vec<OpenWindow> {
        let aggregate = self.aggregate();
        if let Some((start_ms, contributions)) = self.windows.open_sessions(aggregate) {
            return vec![OpenWindow {
                start_ms,
                end_ms: end_of(aggregate.window, start_ms),
                emits_at_ms: emits_at(aggregate.window, aggregate.late, start_ms),
                contributions,
            }];
        }
        let windows = self.windows.by_start.iter();
        let pending = windows.filter(|(_, window)| window.is_pending());
        pending
            .map(|(&start_ms, _)| OpenWindow {
                start_ms,
                end_ms: end_of(aggregate.window, start_ms),
                emits_at_ms: emits_at(aggregate.window, aggregate.late, start_ms),
                contributions: self.windows.pending_contributions(aggregate, start_ms),
            })
            .collect()
    }

    /// Takes partials, in order, up to before `fetched_to`. Only a part may be taken: see [`Effects::consumed`].
    pub fn process(
        &mut self,
        records: &[Record],
        fetched_to: i64,
        clock_ms: i64,
    ) -> Result<Effects, EngineError> {
        let ahead = self
            .outputs
            .iter()
            .map(|output| output.from)
            .chain([self.from])
            .chain(self.letters_due_at());
        let limit = ahead.filter(|&from| from > self.at).min();
        let (consumed, next) = take_up_to(limit, records, fetched_to, self.at);
        let next = match sabotage::is(Bug::CountedOffsets) && consumed > 0 {
            true => next.min(self.at + consumed as i64),
            false => next,
        };
        let silent = self.at < self.from && !sabotage::is(Bug::LoudReplay);
        let mut log = Vec::new();
        let goes_on_behind = !silent && self.go_on_behind(&mut log)?;
        for record in &records[..consumed] {
            self.merge(record, silent, &mut log)?;
        }
        let began_at = self.at;
        self.at = next;
        if !silent {
            self.remove_outdated(&mut log);
        }
        let mut writes = self.emit(began_at, silent, &mut log)?;
        self.publish(&mut writes, &mut log)?;
        self.purge();
        if !silent {
            let plan = Arc::clone(&self.setup.plan);
            self.announce(&plan, began_at, &mut log)?;
            self.from = self.from.max(self.at);
            if began_at < self.at {
                self.forget_refused();
            }
            match goes_on_behind {
                true => self.snapshot_now(clock_ms, &mut log)?,
                false => self.snapshot_if_due(clock_ms, &mut log)?,
            }
        }
        Ok(Effects {
            consumed,
            position: self.position(),
            writes,
            log,
        })
    }

    /// Ends a batch: the progress, and dead letters of what sinks refused, for the same transaction as [`Effects::log`].
    /// Nothing while the task only reads again what was done before.
    pub fn seal(&mut self, committed: &[usize], refusals: &[Refusal]) -> Vec<NewRecord> {
        if self.at < self.from {
            return Vec::new();
        }
        let mut log = Vec::new();
        for output in self
            .outputs
            .iter_mut()
            .filter(|output| committed.contains(&output.output))
        {
            output.sink_next_offset = Some(self.at);
            output.refill_from = None;
        }
        self.bury_refused(refusals, &mut log);
        self.settled.commit(self.at);
        if let Some(offset) = self.snapshot_pending.take() {
            self.snapshot_at = offset;
        }
        let generation = self.generation;
        log.push(self.state_record(
            StepKey::Progress.encode(generation),
            Some(self.progress().to_bytes()),
        ));
        for key in std::mem::take(&mut self.obsolete) {
            log.push(self.state_record(key, None));
        }
        log
    }

    /// Removes what earlier generations have written to topics and this one makes anew.
    fn remove_outdated(&mut self, log: &mut Vec<NewRecord>) {
        let place = [self.generation, i64::from(self.setup.partition), self.at];
        for (name, keys) in std::mem::take(&mut self.outdated) {
            let mut outputs = self.setup.plan.outputs.iter();
            let output = outputs.find(|output| output.name == name);
            if let Some(topic) = output.and_then(Output::topic) {
                log.extend(keys.into_iter().map(|key| removal(topic, key, place)));
            }
        }
    }

    /// Moves what is for topics from `writes` to the log.
    fn publish(
        &mut self,
        writes: &mut Vec<TableWrite>,
        log: &mut Vec<NewRecord>,
    ) -> Result<(), EngineError> {
        let refusals = publish(&self.setup.plan, self.setup.partition, writes, log)?;
        for refusal in refusals {
            let mut outputs = self.outputs.iter_mut();
            if let Some(output) = outputs.find(|output| output.output == refusal.output) {
                output.refused_ahead.push(refusal);
            }
        }
        Ok(())
    }

    fn aggregate(&self) -> &Aggregate {
        aggregate_of(&self.setup.plan, self.setup.step)
    }

    fn step_name(&self) -> &str {
        &self.setup.plan.steps[self.setup.step].name
    }

    fn position(&self) -> Position {
        Position {
            next_offset: self.at,
            watermark_ms: self.watermark_ms,
        }
    }

    fn failed(&self, error: &datafusion_common::DataFusionError) -> EngineError {
        EngineError::aggregation(self.step_name(), error)
    }

    fn merge(
        &mut self,
        record: &Record,
        silent: bool,
        log: &mut Vec<NewRecord>,
    ) -> Result<(), EngineError> {
        let plan = Arc::clone(&self.setup.plan);
        let aggregate = aggregate_of(&plan, self.setup.step);
        let value = record.value.as_deref().unwrap_or_default();
        let (header, partials) = partial::decode(value, &aggregate.partial_schema)?;
        let Some(partials) = partials else {
            self.hear(&header);
            return Ok(());
        };
        if let Window::Session { .. } = aggregate.window {
            self.merge_sessions(aggregate, (record, &header), &partials, silent, log)?;
            self.hear(&header);
            return Ok(());
        }
        let from_ms = header.windows_from_ms;
        for (pane_ms, part) in by_pane(&partials).map_err(|error| self.failed(&error))? {
            let over = starts_over(aggregate.window, pane_ms, from_ms);
            let (purged, kept): (Vec<i64>, Vec<i64>) =
                over.partition(|&start_ms| self.takes_nothing(aggregate, start_ms));
            let as_of = |start_ms: i64| in_window(aggregate, &part, start_ms);
            if !silent {
                // A row counts once in each of its windows.
                let read = contributions(&part) * (purged.len() + kept.len()) as u64;
                self.outputs
                    .iter_mut()
                    .for_each(|output| output.ledger.read += read);
                for start_ms in purged {
                    let part = as_of(start_ms).map_err(|error| self.failed(&error))?;
                    self.bury_purged(record, &header, start_ms, &part, log);
                }
            } else {
                for &start_ms in &kept {
                    let part = as_of(start_ms).map_err(|error| self.failed(&error))?;
                    self.count_again(&plan, aggregate, start_ms, &part)?;
                }
            }
            let pane = Pane {
                start_ms: pane_ms,
                from_ms,
            };
            self.windows
                .add(aggregate, pane, &kept, &part)
                .map_err(|error| self.failed(&error))?;
        }
        self.hear(&header);
        Ok(())
    }

    /// Takes note of a feeder's watermark, which holds after what came with it. The watermark moves with each record and not with each batch:
    /// where it stands, and who is waited for, is the same in every replay.
    fn hear(&mut self, header: &PartialHeader) {
        let feeder = format!("{}/{}", header.source, header.partition);
        let told = self.watermarks.entry(feeder).or_default();
        if *told < header.watermark_ms {
            *told = header.watermark_ms;
            self.advance_watermark();
        }
    }

    /// The generation that rows say they are of.
    fn told_generation(&self) -> i64 {
        match sabotage::is(Bug::PositionsWithoutGeneration) {
            true => 1,
            false => self.generation,
        }
    }

    /// Whether what comes for a window is in none: it is no longer kept, or was written and is final, because others are made of it.
    fn takes_nothing(&self, aggregate: &Aggregate, start_ms: i64) -> bool {
        let is_final = self.feeds_others() && self.is_due(aggregate, start_ms);
        is_final || self.is_purged(aggregate, start_ms)
    }

    fn is_purged(&self, aggregate: &Aggregate, start_ms: i64) -> bool {
        let closed_ms = match aggregate.window {
            // They are kept by when they were emitted, and take nothing since.
            Window::Session { .. } => start_ms,
            _ => closes_at(aggregate.window, aggregate.late, start_ms),
        };
        let kept_until_ms = match sabotage::is(Bug::PurgedAtTheirEnd) {
            true => end_of(aggregate.window, start_ms),
            false => closed_ms.saturating_add(REPAIR_HORIZON_MS),
        };
        self.watermark_ms
            .is_some_and(|watermark_ms| watermark_ms >= kept_until_ms)
    }

    fn advance_watermark(&mut self) {
        if !(self.setup.feeders.iter()).all(|feeder| self.watermarks.contains_key(feeder))
            && !sabotage::is(Bug::NobodyAwaited)
        {
            return;
        }
        let all = self.watermarks.values().copied();
        let minimum = if sabotage::is(Bug::HighestWatermark) {
            all.max()
        } else {
            all.min()
        }
        .flatten();
        self.watermark_ms = self.watermark_ms.max(minimum);
    }

    fn is_due(&self, aggregate: &Aggregate, start_ms: i64) -> bool {
        let emits_at_ms = emits_at(aggregate.window, aggregate.late, start_ms);
        self.watermark_ms
            .is_some_and(|watermark_ms| emits_at_ms <= watermark_ms)
    }

    /// Emits every window that is due and has something pending.
    fn emit(
        &mut self,
        began_at: i64,
        silent: bool,
        log: &mut Vec<NewRecord>,
    ) -> Result<Vec<TableWrite>, EngineError> {
        let plan = Arc::clone(&self.setup.plan);
        let aggregate = aggregate_of(&plan, self.setup.step);
        let mut changes: BTreeMap<usize, Changes> = BTreeMap::new();
        let due: Vec<i64> = self
            .windows
            .by_start
            .iter()
            .filter(|&(&start_ms, window)| window.is_pending() && self.is_due(aggregate, start_ms))
            .map(|(&start_ms, _)| start_ms)
            .collect();
        for start_ms in due {
            let Some((new, old)) = self.settle(&plan, aggregate, start_ms)? else {
                continue;
            };
            if !silent {
                self.bury_failures(&new, &plan, log);
                let changed = (&new, old.as_ref());
                self.enter(began_at, start_ms, changed, &plan, &mut changes)?;
                self.feed(&plan, &new, log)?;
            }
        }
        if let Window::Session { gap_ms } = aggregate.window {
            let ended = self.settle_sessions(&plan, aggregate, (gap_ms, silent))?;
            if let Some(new) = ended.filter(|_| !silent) {
                self.bury_failures(&new, &plan, log);
                // None of them was there before.
                self.enter(began_at, i64::MIN, (&new, None), &plan, &mut changes)?;
                self.feed(&plan, &new, log)?;
            }
        }
        if !silent {
            self.repair(&plan, aggregate, &mut changes)?;
        }
        self.writes(changes)
    }

    /// Enters what was emitted of a window into the ledgers, and into what outputs have to write that are not ahead.
    fn enter(
        &mut self,
        began_at: i64,
        start_ms: i64,
        (new, old): (&Emission, Option<&Emission>),
        plan: &Plan,
        changes: &mut BTreeMap<usize, Changes>,
    ) -> Result<(), EngineError> {
        for index in 0..self.outputs.len() {
            let change = compare(&mut self.outputs[index], start_ms, new, old, plan)?;
            if self.outputs[index].from <= began_at {
                let output = &self.outputs[index];
                let position = (self.told_generation(), self.setup.partition, self.at);
                let changes = changes.entry(output.output).or_default();
                changes
                    .add(output.step, new, old, change, position)
                    .map_err(|error| self.failed(&error))?;
            }
        }
        Ok(())
    }

    fn purge(&mut self) {
        let plan = Arc::clone(&self.setup.plan);
        let aggregate = aggregate_of(&plan, self.setup.step);
        while let Some((&start_ms, window)) = self.windows.by_start.first_key_value() {
            if !self.is_purged(aggregate, start_ms) || window.is_pending() {
                break;
            }
            self.windows.by_start.pop_first();
        }
        if let Window::Session { .. } = aggregate.window {
            return;
        }
        let mut panes = std::mem::take(&mut self.windows.panes);
        // Windows that are due were emitted, the last over a pane after all others.
        panes.retain(|pane, _| {
            let last_ms = last_start(aggregate.window, pane.start_ms);
            !self.is_due(aggregate, last_ms)
        });
        self.windows.panes = panes;
    }

    fn progress(&self) -> StepProgress {
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
        let open_sessions = self.windows.open_sessions(self.aggregate());
        StepProgress {
            fed: self.step_ledgers(),
            version: version(),
            revision: self.setup.generations.revision,
            next_offset: self.at,
            watermark_ms: self.watermark_ms,
            watermarks: self.watermarks.clone(),
            sessions_from_ms: open_sessions.map(|(first_ms, _)| first_ms),
            outputs: outputs.collect(),
        }
    }

    fn state_record(&self, key: bytes::Bytes, value: Option<bytes::Bytes>) -> NewRecord {
        NewRecord {
            topic: self.names.state(self.step_name()),
            partition: Some(self.setup.partition),
            key: Some(key),
            value,
            headers: Vec::new(),
        }
    }
}

fn aggregate_of(plan: &Plan, step: usize) -> &Aggregate {
    match &plan.steps[step].kind {
        StepKind::Aggregate(aggregate) => aggregate,
        _ => unreachable!("step tasks are made for aggregate steps only"),
    }
}

fn contributions(partials: &RecordBatch) -> u64 {
    let column = partials
        .column(partials.num_columns() - 1)
        .as_primitive::<Int64Type>();
    column.values().iter().sum::<i64>() as u64
}
