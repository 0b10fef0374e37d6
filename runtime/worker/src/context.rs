//! What all tasks of a worker share.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tidewheel_engine::Generations;
use tidewheel_engine::sabotage::{self, Bug};
use tidewheel_log::{Log, LogError};
use tidewheel_planner::generations::Allotment;
use tidewheel_planner::names::PipelineNames;
use tidewheel_planner::plan::{Plan, Relation};
use tidewheel_sinks::Sink;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::batches::Batches;
use crate::error::AttemptError;
use crate::schemas::SchemasOf;
use crate::status::{Board, TaskKey};
use crate::timer::Timer;
use crate::watermarks::Watermarks;

/// Sinks by `<namespace>/<name>`.
pub type Sinks = BTreeMap<String, Arc<dyn Sink>>;

/// A batch of so many records shows that a task is behind, also where they are so large that more do not fit into it.
const BEHIND: usize = 4_096;

/// So many tasks have a large batch in hand at least: while some compute, others wait for a sink or the log.
const LARGE_BATCHES: usize = 8;

/// How long a task that was told to stop may take to say how far it has come: nothing depends on it.
const LAST_WORD: Duration = Duration::from_secs(1);

/// Bounds of what a task takes at once.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Records of a batch.
    pub batch_records: usize,
    /// Bytes of a batch.
    pub batch_bytes: usize,
    /// How many batches of a worker's tasks may be large at a time.
    pub large_batches: usize,
    /// How long a fetch waits for the first record.
    pub fetch_wait: Duration,
    /// The time from the begin of a small batch of a task to that of its next one: what comes meanwhile is committed together. A
    /// batch costs the log and the sink about the same, however many records are in it.
    pub batch_every: Duration,
    /// How often changed windows go to the state topic: the partials since then are what a task reads again that is taken over.
    pub snapshot_every: Duration,
    /// The longest pause between attempts.
    pub longest_pause: Duration,
    /// How long a task that is told to stop may go on with what it has in hand: a sink or a log that does not answer is not waited
    /// for longer. What was in hand is done again by the next owner.
    pub finish_within: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            batch_records: 16_384,
            batch_bytes: 8 * 1024 * 1024,
            large_batches: cores().max(LARGE_BATCHES),
            fetch_wait: Duration::from_millis(50),
            batch_every: Duration::from_millis(50),
            snapshot_every: Duration::from_secs(5),
            longest_pause: Duration::from_secs(5),
            finish_within: Duration::from_secs(10),
        }
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

pub(crate) struct Context {
    pub(crate) plan: Arc<Plan>,
    pub(crate) names: PipelineNames,
    pub(crate) allotment: Allotment,
    pub(crate) generations: Arc<Generations>,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) sinks: Sinks,
    pub(crate) schemas: SchemasOf,
    pub(crate) timer: Arc<dyn Timer>,
    pub(crate) limits: Limits,
    pub(crate) batches: Batches,
    pub(crate) board: Board,
    pub(crate) watermarks: Watermarks,
    /// The watermark that every source partition is to be lifted to once it is read to its end.
    pub(crate) closing: watch::Receiver<Option<i64>>,
}

impl Context {
    /// Waits until the next batch is due, unless the last one shows that the task is behind.
    pub(crate) async fn pause(&self, began_ms: i64, records: usize, stop: &CancellationToken) {
        let taken_ms = self.timer.now_ms().saturating_sub(began_ms);
        let taken = Duration::from_millis(u64::try_from(taken_ms).unwrap_or(0));
        let rest = self.limits.batch_every.saturating_sub(taken);
        let is_small = (1..BEHIND.min(self.limits.batch_records / 2)).contains(&records);
        if is_small && !rest.is_zero() {
            tokio::select! {
                () = self.timer.sleep(rest) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    pub(crate) fn pipeline(&self) -> String {
        self.plan.full_name()
    }

    /// Number of the generation of an aggregate step.
    pub(crate) fn generation(&self, step: &str) -> i64 {
        let generation = self.generations.steps.get(step);
        generation.map_or(1, |generation| generation.number)
    }

    /// The topic of the partials of an aggregate step.
    pub(crate) fn partials(&self, step: &str) -> String {
        self.names.partials(step, self.generation(step))
    }

    /// The transactional id of a task: taking it fences whoever had the task before.
    pub(crate) fn transactional_id(&self, (input, partition): &TaskKey) -> String {
        let id = self.names.task(input, *partition);
        if sabotage::is(Bug::NoFencing) {
            format!("{id}.{:p}", std::ptr::from_ref(self))
        } else {
            id
        }
    }

    /// Counts a commit of a task that began at `began_ms`.
    pub(crate) fn committed(&self, key: &TaskKey, began_ms: i64) {
        let took_ms = u64::try_from(self.timer.now_ms() - began_ms).unwrap_or(0);
        self.board
            .update(key, |status| status.work.commits.add(took_ms));
    }

    /// Carries out the last of what a task does that was told to stop, if that does not take long.
    pub(crate) async fn last_word(
        &self,
        key: &TaskKey,
        word: impl Future<Output = Result<(), AttemptError>>,
    ) {
        let said = tokio::select! {
            biased;
            said = word => said,
            () = self.timer.sleep(LAST_WORD) => Err(AttemptError::Stopped),
        };
        if let Err(error) = said {
            tracing::debug!(task = ?key, %error, "what was taken last will be read again");
        }
    }

    /// What fed an aggregate step when its generation began: source partitions as `<source>/<partition>`, or those of the step whose windows it
    /// aggregates.
    pub(crate) fn feeders(&self, step: &str) -> Vec<String> {
        let feeders = self.allotment.steps.get(step).map(|step| &step.feeders);
        feeders
            .into_iter()
            .flatten()
            .flat_map(|(source, &partitions)| {
                (0..partitions).map(move |partition| format!("{source}/{partition}"))
            })
            .collect()
    }

    /// The offset at which a partition of a source begins; none: at its oldest event.
    pub(crate) fn first(&self, source: &str, partition: i32) -> Option<i64> {
        let allotted = self.allotment.sources.get(source)?;
        let partition = usize::try_from(partition).ok()?;
        allotted.first.get(partition).copied()
    }

    /// The oldest offset of a partition when the cut of a step was decided that computes windows anew.
    pub(crate) fn oldest(&self, step: &str, source: &str, partition: i32) -> Option<i64> {
        let oldest = self.allotment.steps.get(step)?.oldest.get(source)?;
        let partition = usize::try_from(partition).ok()?;
        oldest.get(partition).copied()
    }

    /// How many partitions each source of the plan has by now.
    pub(crate) async fn source_partitions(&self) -> Result<Vec<i32>, LogError> {
        let mut partitions = Vec::with_capacity(self.plan.sources.len());
        for source in &self.plan.sources {
            let topic = self.log.topic(&source.topic).await?;
            let topic = topic.ok_or_else(|| LogError::UnknownPartition {
                topic: source.topic.clone(),
                partition: 0,
            })?;
            partitions.push(topic.partitions);
        }
        Ok(partitions)
    }
}

/// The sources whose events reach a step.
pub(crate) fn sources_of(plan: &Plan, step: usize) -> Vec<usize> {
    let mut sources = Vec::new();
    collect_sources(plan, step, &mut sources);
    sources
}

fn collect_sources(plan: &Plan, step: usize, sources: &mut Vec<usize>) {
    for &relation in plan.steps[step].kind.reads() {
        match relation {
            Relation::Source(source) if !sources.contains(&source) => sources.push(source),
            Relation::Source(_) => {}
            Relation::Step(step) => collect_sources(plan, step, sources),
        }
    }
}
