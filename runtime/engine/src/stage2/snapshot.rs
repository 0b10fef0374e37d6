//! Window state in the state topic: written every few seconds, read when a task is taken over.
use std::collections::{BTreeMap, BTreeSet};

use arrow::array::RecordBatch;
use bytes::Bytes;
use tidewheel_log::NewRecord;
use tidewheel_planner::names::PipelineNames;

use super::windows::{Pane, Run, WindowState, Windows};
use super::{
    Fed, RefusedGroups, StepSetup, StepTask, WindowOutput, aggregate_of, chain, window_outputs,
};
use crate::effects::Refusal;
use crate::error::EngineError;
use crate::sabotage::{self, Bug};
use crate::settled::Settled;
use crate::sink_place::{Known, SinkPlace, acknowledged, sink_places};
use crate::wire::WireError;
use crate::wire::acknowledgement::{Acknowledgement, Missing, Place};
use crate::wire::batch::concat;
use crate::wire::batch::{self, MAX_BATCH_BYTES};
use crate::wire::refusal::{Origin, WindowOrigin};
use crate::wire::state::{
    Position, Snapshot, SnapshotPane, SnapshotRun, SnapshotWindow, StepKey, StepProgress,
    Versioned, version,
};

/// What was found when the task was taken over.
#[derive(Debug, Clone, Default)]
pub struct RecoveredStep {
    /// The newest value of every key in the task's partition of the state topic; deleted keys are left out.
    pub state: BTreeMap<Bytes, Bytes>,
    /// Progress of each output as its sink has it, by output name; outputs that were never written are left out.
    pub sinks: BTreeMap<String, Position>,
    /// What the sinks have kept of what they refused: all that the log may not know, and maybe some that it does.
    pub refusals: Vec<Refusal>,
    /// The oldest retained offset of the partials.
    pub earliest: i64,
    /// Where the generation is new: keys of rows on topics that it makes anew, by output. See [`Outdated`](super::Outdated).
    pub outdated: BTreeMap<String, Vec<Bytes>>,
}

impl StepTask {
    /// Begins a task, or goes on from what was recovered.
    pub fn begin(setup: StepSetup, recovered: &RecoveredStep) -> Result<Self, EngineError> {
        let step = &setup.plan.steps[setup.step];
        let generation = setup
            .generations
            .steps
            .get(&step.name)
            .map_or(1, |generation| generation.number);
        let acknowledgement = Acknowledgement::read(&recovered.state, Some(generation))?;
        let mut obsolete = Vec::new();
        let mut ours = BTreeMap::new();
        let mut refused = BTreeMap::new();
        for (key, value) in &recovered.state {
            let (of, kind) = StepKey::decode(key)?;
            if of == generation {
                if let StepKey::Refused(group) = kind {
                    let groups: &mut BTreeSet<_> = refused.entry(group.output).or_default();
                    groups.insert((group.start_ms, group.group));
                } else {
                    ours.insert(key.clone(), value.clone());
                }
            } else if of < generation {
                obsolete.push(key.clone());
            } else {
                return Err(EngineError::Outdated {
                    ours: generation,
                    theirs: of,
                });
            }
        }
        let value = |key: StepKey| ours.get(&key.encode(generation));
        let progress = value(StepKey::Progress)
            .map(|bytes| StepProgress::from_bytes(bytes))
            .transpose()?;
        if let Some(progress) = progress
            .as_ref()
            .filter(|progress| progress.revision > setup.generations.revision)
        {
            return Err(EngineError::Outdated {
                ours: setup.generations.revision,
                theirs: progress.revision,
            });
        }
        let snapshot = value(StepKey::Snapshot)
            .map(|bytes| Snapshot::from_bytes(bytes))
            .transpose()?;
        let from = progress
            .as_ref()
            .map_or(recovered.earliest, |progress| progress.next_offset);
        let at = snapshot
            .as_ref()
            .map_or(recovered.earliest.min(from), |snapshot| {
                snapshot.next_offset
            });
        let passed_over = at < recovered.earliest;
        if passed_over {
            let gone = Missing::Offsets {
                from: at,
                to: recovered.earliest,
            };
            acknowledged(&acknowledgement, &place_of(&setup), gone)?;
        }
        let (at, from) = (at.max(recovered.earliest), from.max(recovered.earliest));
        let (windows, stored) = load(&setup, snapshot.as_ref(), generation, &ours)?;
        let outputs = begin_outputs(
            &setup,
            recovered,
            (progress.as_ref(), &acknowledgement),
            refused,
            from,
        )?;
        let fed = Fed::all(&setup, progress.as_ref());
        Ok(Self {
            names: PipelineNames::new(&setup.plan.namespace, &setup.plan.name),
            generation,
            at,
            from,
            watermarks: snapshot
                .as_ref()
                .map(|snapshot| snapshot.watermarks.clone())
                .unwrap_or_default(),
            watermark_ms: snapshot.as_ref().and_then(|snapshot| snapshot.watermark_ms),
            windows,
            acknowledgement,
            passed_over: progress.filter(|_| passed_over),
            replayed: BTreeMap::new(),
            outputs,
            fed,
            settled: Settled::recovered(from),
            stored,
            snapshot_at: at,
            snapshot_clock_ms: None,
            snapshot_pending: None,
            obsolete,
            outdated: recovered.outdated.clone(),
            setup,
        })
    }

    pub(super) fn snapshot_if_due(
        &mut self,
        clock_ms: i64,
        log: &mut Vec<NewRecord>,
    ) -> Result<(), EngineError> {
        let last_ms = *self.snapshot_clock_ms.get_or_insert(clock_ms);
        let every_ms = i64::try_from(self.setup.snapshot_every.as_millis()).unwrap_or(i64::MAX);
        if clock_ms - last_ms < every_ms || self.snapshot_at == self.at {
            return Ok(());
        }
        self.snapshot_now(clock_ms, log)
    }

    /// Writes a snapshot.
    pub(super) fn snapshot_now(
        &mut self,
        clock_ms: i64,
        log: &mut Vec<NewRecord>,
    ) -> Result<(), EngineError> {
        self.snapshot_clock_ms = Some(clock_ms);
        self.snapshot(log)
    }

    /// Writes runs that are not stored yet, deletes those that are no longer live, and lists what makes up the windows.
    fn snapshot(&mut self, log: &mut Vec<NewRecord>) -> Result<(), EngineError> {
        let (generation, topic, partition) = (
            self.generation,
            self.names.state(self.step_name()),
            self.setup.partition,
        );
        let record = |key: StepKey, value: Option<Bytes>| NewRecord {
            topic: topic.clone(),
            partition: Some(partition),
            key: Some(key.encode(generation)),
            value,
            headers: Vec::new(),
        };
        let mut live = BTreeMap::new();
        let mut store = |run: &mut Run| -> Result<SnapshotRun, EngineError> {
            let parts = match run.stored_parts {
                Some(parts) => parts,
                None => {
                    let parts = batch::chunks(&run.batch, MAX_BATCH_BYTES);
                    for (part, rows) in parts.iter().enumerate() {
                        let mut bytes = Vec::new();
                        batch::encode(rows, &mut bytes)?;
                        log.push(record(
                            StepKey::Run(run.number, part as u32),
                            Some(bytes.into()),
                        ));
                    }
                    parts.len() as u32
                }
            };
            run.stored_parts = Some(parts);
            live.insert(run.number, parts);
            Ok(SnapshotRun {
                number: run.number,
                parts,
            })
        };
        let mut windows = Vec::with_capacity(self.windows.by_start.len());
        for (&start_ms, window) in &mut self.windows.by_start {
            let emitted = window.emitted.as_mut().map(&mut store).transpose()?;
            let pending = window
                .pending
                .iter_mut()
                .map(&mut store)
                .collect::<Result<_, _>>()?;
            windows.push(SnapshotWindow {
                start_ms,
                emitted,
                pending: match sabotage::is(Bug::SnapshotOfEmitted) {
                    true => Vec::new(),
                    false => pending,
                },
            });
        }
        let mut panes = Vec::with_capacity(self.windows.panes.len());
        for (pane, runs) in &mut self.windows.panes {
            let runs = runs.iter_mut().map(&mut store);
            panes.push(SnapshotPane {
                start_ms: pane.start_ms,
                windows_from_ms: pane.from_ms,
                runs: runs.collect::<Result<_, _>>()?,
            });
        }
        for (&number, &parts) in self
            .stored
            .iter()
            .filter(|(number, _)| !live.contains_key(number))
        {
            log.extend((0..parts).map(|part| record(StepKey::Run(number, part), None)));
        }
        self.stored = live;
        let snapshot = Snapshot {
            version: version(),
            next_offset: self.at,
            watermark_ms: self.watermark_ms,
            watermarks: self.watermarks.clone(),
            next_run: self.windows.next_run,
            windows,
            panes,
        };
        log.push(record(StepKey::Snapshot, Some(snapshot.to_bytes())));
        self.snapshot_pending = Some(self.at);
        Ok(())
    }
}

/// The windows of a snapshot, and the runs that are stored.
fn load(
    setup: &StepSetup,
    snapshot: Option<&Snapshot>,
    generation: i64,
    state: &BTreeMap<Bytes, Bytes>,
) -> Result<(Windows, BTreeMap<u64, u32>), EngineError> {
    let mut windows = Windows::new(aggregate_of(&setup.plan, setup.step));
    let mut stored = BTreeMap::new();
    let Some(snapshot) = snapshot else {
        return Ok((windows, stored));
    };
    windows.next_run = snapshot.next_run;
    let schema = windows.run_schema().clone();
    let mut read = |run: &SnapshotRun| -> Result<Run, EngineError> {
        let parts = (0..run.parts).map(|part| {
            let key = StepKey::Run(run.number, part).encode(generation);
            let bytes = state.get(&key).ok_or_else(|| {
                WireError::new("snapshot", format!("run {} is missing", run.number))
            })?;
            batch::decode(bytes, &schema)
        });
        let parts: Vec<RecordBatch> = parts.collect::<Result<_, _>>()?;
        let batch = concat(&parts).map_err(|error| WireError::new("run", error))?;
        stored.insert(run.number, run.parts);
        Ok(Run::new(run.number, batch, Some(run.parts)))
    };
    for window in &snapshot.windows {
        let emitted = window.emitted.as_ref().map(&mut read).transpose()?;
        let pending = window
            .pending
            .iter()
            .map(&mut read)
            .collect::<Result<_, _>>()?;
        windows
            .by_start
            .insert(window.start_ms, WindowState { emitted, pending });
    }
    for pane in &snapshot.panes {
        let runs = pane.runs.iter().map(&mut read);
        let runs = runs.collect::<Result<_, _>>()?;
        let pane = Pane {
            start_ms: pane.start_ms,
            from_ms: pane.windows_from_ms,
        };
        windows.panes.insert(pane, runs);
    }
    Ok((windows, stored))
}

fn begin_outputs(
    setup: &StepSetup,
    recovered: &RecoveredStep,
    (progress, acknowledgement): (Option<&StepProgress>, &Acknowledgement),
    mut refused: BTreeMap<String, BTreeSet<(i64, u128)>>,
    from: i64,
) -> Result<Vec<WindowOutput>, EngineError> {
    let all = window_outputs(&setup.plan, setup.step);
    let outputs: Vec<usize> = all.iter().map(|(output, _)| *output).collect();
    let places = sink_places(
        &setup.plan,
        &outputs,
        &Known {
            logged: progress.map(|progress| &progress.outputs),
            sinks: &recovered.sinks,
            oldest: recovered.earliest,
        },
        (acknowledgement, &place_of(setup)),
    )?;
    let begin = |((output, step), place): ((usize, usize), SinkPlace)| {
        let name = &setup.plan.outputs[output].name;
        let logged = progress.and_then(|progress| progress.outputs.get(name));
        let sink = place.sink.map(|position| position.next_offset);
        let (expected, refill_from) = (place.expected, place.refill_from);
        WindowOutput {
            refill_from,
            output,
            step,
            chain: chain(&setup.plan, setup.step, step),
            from: sink.map_or(from, |sink| sink.max(from)),
            // A table that was set back is behind until it was repaired, whoever does it.
            sink_next_offset: expected.max(sink),
            repair: refill_from.is_some()
                || matches!((sink, expected), (Some(sink), Some(expected)) if sink < expected)
                    && !sabotage::is(Bug::NoRepair),
            ledger: logged
                .map(|progress| progress.ledger.clone())
                .unwrap_or_default(),
            refused_ahead: refused_ahead(recovered, output, (from, refused.get(name))),
            refused: RefusedGroups::stored(refused.remove(name).unwrap_or_default()),
        }
    };
    Ok(all.into_iter().zip(places).map(begin).collect())
}

fn place_of(setup: &StepSetup) -> Place {
    Place::of(
        &setup.plan,
        &setup.plan.steps[setup.step].name,
        setup.partition,
    )
}

/// What the sink refused with commits that the log, which is at `from` and has `entered` these groups, has not covered: the process died, or
/// was fenced, between the two, or the log has lost its last commit.
fn refused_ahead(
    recovered: &RecoveredStep,
    output: usize,
    (from, entered): (i64, Option<&BTreeSet<(i64, u128)>>),
) -> Vec<Refusal> {
    if sabotage::is(Bug::ForgottenRefusals) {
        return Vec::new();
    }
    let is_entered = |window: &WindowOrigin| {
        let group = (window.start_ms, window.group);
        window.offset <= from && entered.is_some_and(|groups| groups.contains(&group))
    };
    let ahead = |refusal: &&Refusal| match &refusal.origin {
        Origin::Window(window) => !refusal.origin.is_below(from) && !is_entered(window),
        Origin::Record(_) => false,
    };
    let of_output = recovered.refusals.iter();
    let of_output = of_output.filter(|refusal| refusal.output == output);
    of_output.filter(ahead).cloned().collect()
}
