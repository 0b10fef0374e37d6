//! Computes windows of the past once more, from what the sources' topics have.
//!
//! It is the pipeline itself that runs, as a worker that has all partitions, over a view of the log: the sources' topics are those of the
//! log, read up to where they ended when the replay began, and everything that tasks write goes to a log in memory. So the verdicts are those
//! of the pipeline: what was late, a duplicate or from the future is so again. Each window is emitted once, when it takes no more rows.
//!
//! ```text
//!  sources' topics ──▶ [ begin | ............ | end ) ──▶ stage 1 ──▶ partials ──▶ stage 2 ──▶ Collected
//!  watermarks topic ─── decrees ────────────────────────────┘          └── in memory ──┘
//! ```
//!
//! An event's time is at most `maxFuture` after it was appended, so reading begins where the first record was appended that late before the
//! first window. Nothing before it can count, nor can it have made anything late that counts: the watermark was below the first window then.
//! It may end before the topic does, at a checkpoint of the pipeline by which the last of the windows took no more rows.
mod error;
mod narrowed;
mod range;
mod reach;
mod reads;
mod view;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use bytes::Bytes;
use tidewheel_engine::wire::state::{SOURCE_PROGRESS_KEY, SourceProgress};
use tidewheel_log::{Log, NewRecord};
use tidewheel_planner::generations::{Allotment, KEY, partials_topics, step_numbers};
use tidewheel_planner::names::PipelineNames;
use tidewheel_planner::plan::Plan;
use tidewheel_planner::topics;

pub use self::error::ReplayError;
pub use self::narrowed::{Untouched, Why};
pub use self::range::Range;
pub use self::reads::Read;

use self::narrowed::{narrowed, replayed_outputs, untouched};
use self::reads::reads;
use self::view::View;
use crate::allot::{feeders, read_allotment};
use crate::context::{Limits, Sinks};
use crate::schemas::SchemasOf;
use crate::status::Status;
use crate::timer::Timer;
use crate::topic_settings::topic_settings;
use crate::worker::Worker;

/// Whose tables the windows are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum For {
    /// The pipeline's own, which its workers write as well: they have to run the same plan, and to be done with the windows.
    ItsTables,
    /// Others, which nobody else writes.
    OtherTables,
}

/// Windows of an output that are computed once more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayedOutput {
    /// Index into the plan's outputs.
    pub output: usize,
    /// The aggregate step whose windows they are.
    pub step: String,
    /// The generation that its rows are of.
    pub generation: i64,
    /// Starts of the first and of the last window, ms.
    pub starts_ms: RangeInclusive<i64>,
    /// How long each of them is, ms.
    pub size_ms: i64,
    /// How far their starts are apart, ms.
    pub every_ms: i64,
}

impl ReplayedOutput {
    /// How many windows there can be.
    pub fn windows(&self) -> u64 {
        let span_ms = self.starts_ms.end() - self.starts_ms.start();
        span_ms.unsigned_abs() / self.every_ms.unsigned_abs().max(1) + 1
    }

    /// The end of the last window, ms.
    pub fn end_ms(&self) -> i64 {
        self.starts_ms.end().saturating_add(self.size_ms)
    }
}

/// A replay that can be done: everything was looked at that could speak against it, and nothing was written.
pub struct Replay {
    log: Arc<dyn Log>,
    /// The plan as it is replayed: without the outputs that are not.
    plan: Arc<Plan>,
    allotment: Allotment,
    outputs: Vec<ReplayedOutput>,
    untouched: Vec<Untouched>,
    reads: Vec<Read>,
}

impl Replay {
    /// Looks at what there is to do for the windows of `plan` that lie in `range` as a whole.
    ///
    /// # Errors
    /// [`ReplayError`]: why it cannot be done.
    pub async fn new(
        log: Arc<dyn Log>,
        plan: &Plan,
        range: Range,
        tables: For,
    ) -> Result<Self, ReplayError> {
        let names = PipelineNames::new(&plan.namespace, &plan.name);
        let found = log.topic(&names.generations()).await?;
        let known = match found {
            Some(_) => read_allotment(log.as_ref(), &names).await?,
            None => None,
        };
        let known = known.ok_or(ReplayError::NeverRan)?;
        let numbers = generations(plan, &known, tables)?;
        let outputs = replayed_outputs(plan, &numbers, range)?;
        let untouched = untouched(plan);
        range::check_final(log.as_ref(), &names, plan, &outputs, (range, tables)).await?;
        let reads = reads(log.as_ref(), &names, plan, &outputs, &known).await?;
        let plan = narrowed(plan, &outputs, &reads);
        let allotment = allotment(&plan, &outputs, &reads)?;
        Ok(Self {
            log,
            plan: Arc::new(plan),
            allotment,
            outputs,
            untouched,
            reads,
        })
    }

    /// What is computed.
    pub fn outputs(&self) -> &[ReplayedOutput] {
        &self.outputs
    }

    /// What is not.
    pub fn untouched(&self) -> &[Untouched] {
        &self.untouched
    }

    /// What is read of each partition of the sources.
    pub fn reads(&self) -> &[Read] {
        &self.reads
    }

    /// How many offsets have been read, by what tasks say.
    pub fn read(&self, status: &Status) -> u64 {
        let read = self.reads.iter().map(|read| {
            let task = status.get(&(read.source.clone(), read.partition));
            let at = task.map_or(read.from, |task| task.next_offset);
            at.clamp(read.from, read.to) - read.from
        });
        read.sum::<i64>().unsigned_abs()
    }

    /// A worker that computes the windows, and all that come after them up to the end of what it reads: to be run until
    /// [`close_windows`](crate::Control::close_windows) returns. Its `sinks` are given each row once.
    ///
    /// # Errors
    /// The log failed.
    pub async fn worker(
        &self,
        sinks: Sinks,
        schemas: SchemasOf,
        timer: Arc<dyn Timer>,
    ) -> Result<Worker, ReplayError> {
        let view = View::new(self.log.clone(), &self.reads)?;
        for topic in topics::own_of_pipeline(&self.plan) {
            view.own().create_topic(&topic_settings(&topic))?;
        }
        let partials = partials_topics(&self.plan, Some(&self.allotment));
        for (name, partitions) in partials.map_err(crate::WorkerError::from)? {
            let topic = topics::of_partial(name, partitions);
            view.own().create_topic(&topic_settings(&topic))?;
        }
        let names = PipelineNames::new(&self.plan.namespace, &self.plan.name);
        view.own().append(self.known(&names)).await?;
        view.take_decrees(&names.watermarks()).await?;
        let limits = Limits::default();
        let (plan, view) = (self.plan.clone(), Arc::new(view));
        Ok(Worker::reading(plan, view, sinks, schemas, timer, limits).await?)
    }

    /// What tasks are to find: their generations, and that all of what they read was taken before, by others.
    fn known(&self, names: &PipelineNames) -> Vec<NewRecord> {
        let record = |topic: String, partition: i32, key: &'static str, value: Bytes| NewRecord {
            topic,
            partition: Some(partition),
            key: Some(key.into()),
            value: Some(value),
            headers: Vec::new(),
        };
        let allotment = self.allotment.encode().into();
        let mut known = vec![record(names.generations(), 0, KEY, allotment)];
        known.extend(self.reads.iter().map(|read| {
            let taken = SourceProgress::of_all_taken(read.from, read.to);
            let topic = names.state(&read.source);
            record(topic, read.partition, SOURCE_PROGRESS_KEY, taken)
        }));
        known
    }

    /// Whether all that was to be read was there to the end: retention goes on while a replay reads.
    ///
    /// # Errors
    /// [`ReplayError::Taken`] where it was not: what was computed is not to be used.
    pub async fn check_kept(&self) -> Result<(), ReplayError> {
        for read in self.reads.iter().filter(|read| read.from < read.to) {
            let found = self.log.offsets(&read.topic, read.partition).await?;
            if found.earliest > read.kept_from {
                return Err(ReplayError::Taken {
                    topic: read.topic.clone(),
                    partition: read.partition,
                });
            }
        }
        Ok(())
    }
}

/// The generation of each aggregate step, by name.
fn generations(
    plan: &Plan,
    known: &Allotment,
    tables: For,
) -> Result<BTreeMap<String, i64>, ReplayError> {
    let numbers = step_numbers(plan, Some(known)).map_err(crate::WorkerError::from)?;
    for (name, number) in &numbers {
        let runs = known.steps.get(name).filter(|runs| !runs.retired);
        if tables == For::ItsTables && runs.is_none_or(|runs| runs.number != *number) {
            return Err(ReplayError::OtherPlan { step: name.clone() });
        }
    }
    Ok(numbers)
}

/// What the replayed plan runs with: generations that begin with the first window.
fn allotment(
    plan: &Plan,
    outputs: &[ReplayedOutput],
    reads: &[Read],
) -> Result<Allotment, ReplayError> {
    let mut allotment = Allotment::of(plan, None).map_err(crate::WorkerError::from)?;
    for read in reads {
        let source = allotment.sources.entry(read.source.clone()).or_default();
        source.first.push(read.from);
    }
    let partitions = plan.sources.iter();
    let partitions: Vec<i32> = partitions
        .map(|source| i32::try_from(source.partitions).unwrap_or(i32::MAX))
        .collect();
    for (index, step) in plan.steps.iter().enumerate() {
        let Some(allotted) = allotment.steps.get_mut(&step.name) else {
            continue;
        };
        allotted.feeders = feeders(plan, index, &partitions);
        if let Some(output) = outputs.iter().find(|output| output.step == step.name) {
            allotted.number = output.generation;
            allotted.cut_ms = Some(*output.starts_ms.start());
        }
    }
    Ok(allotment)
}
