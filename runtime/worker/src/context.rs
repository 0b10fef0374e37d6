//! What all tasks of a worker share.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tidewheel_engine::Generations;
use tidewheel_engine::sabotage::{self, Bug};
use tidewheel_log::Log;
use tidewheel_planner::names::PipelineNames;
use tidewheel_planner::plan::{Plan, Relation};
use tidewheel_sinks::Sink;
use tokio::sync::watch;

use crate::status::{Board, TaskKey};
use crate::timer::Timer;

/// Sinks by `<namespace>/<name>`.
pub type Sinks = BTreeMap<String, Arc<dyn Sink>>;

/// Bounds of what a task takes at once.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Records of a batch.
    pub batch_records: usize,
    /// Bytes of a batch.
    pub batch_bytes: usize,
    /// How long a fetch waits for the first record.
    pub fetch_wait: Duration,
    /// The longest pause between attempts.
    pub longest_pause: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            batch_records: 8_192,
            batch_bytes: 8 * 1024 * 1024,
            fetch_wait: Duration::from_millis(50),
            longest_pause: Duration::from_secs(5),
        }
    }
}

pub(crate) struct Context {
    pub(crate) plan: Arc<Plan>,
    pub(crate) names: PipelineNames,
    pub(crate) generations: Arc<Generations>,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) sinks: Sinks,
    pub(crate) timer: Arc<dyn Timer>,
    pub(crate) limits: Limits,
    pub(crate) board: Board,
    /// Partitions of each source of the plan.
    pub(crate) source_partitions: Vec<i32>,
    /// The watermark that every source partition is to be lifted to once it is read to its end.
    pub(crate) closing: watch::Receiver<Option<i64>>,
}

impl Context {
    pub(crate) fn pipeline(&self) -> String {
        format!("{}/{}", self.plan.namespace, self.plan.name)
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

    /// The number of an aggregate step's generation.
    pub(crate) fn generation(&self, step: &str) -> i64 {
        let generation = self.generations.steps.get(step);
        generation.map_or(1, |generation| generation.number)
    }

    /// The source partitions that feed an aggregate step, as `<source>/<partition>`.
    pub(crate) fn feeders(&self, step: usize) -> Vec<String> {
        sources_of(&self.plan, step)
            .into_iter()
            .flat_map(|source| {
                let name = &self.plan.sources[source].name;
                (0..self.source_partitions[source])
                    .map(move |partition| format!("{name}/{partition}"))
            })
            .collect()
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
