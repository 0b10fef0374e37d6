//! A worker: everything that one process does for one plan.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tidewheel_engine::chain::has_reached;
use tidewheel_log::{Log, LogError};
use tidewheel_planner::generations::NotRecomputed;
use tidewheel_planner::names::PipelineNames;
use tidewheel_planner::plan::{Plan, StepKind};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::allot::{allot, generations};
use crate::batches::Batches;
use crate::context::{Context, Limits, Sinks};
use crate::error::WorkerError;
use crate::input::{self, Input};
use crate::schemas::SchemasOf;
use crate::status::{Board, Membership, Status, TaskKey};
use crate::timer::Timer;
use crate::watermarks::Watermarks;

/// Runs one plan; several workers of the same plan share its partitions.
pub struct Worker {
    context: Arc<Context>,
    closing: watch::Sender<Option<i64>>,
}

/// What can be seen and asked of a worker while it runs.
#[derive(Clone)]
pub struct Control {
    context: Arc<Context>,
    closing: watch::Sender<Option<i64>>,
    step_tasks: usize,
}

impl Worker {
    /// Allots the plan's generations. The topics of the sources and that of the generations exist already.
    ///
    /// # Errors
    /// A newer plan has taken over, a topic is not there, or the log failed.
    pub async fn new(
        plan: Arc<Plan>,
        log: Arc<dyn Log>,
        sinks: Sinks,
        timer: Arc<dyn Timer>,
        limits: Limits,
    ) -> Result<Self, WorkerError> {
        Self::reading(plan, log, sinks, SchemasOf::new(), timer, limits).await
    }

    /// As [`Self::new`], with where the schemas come from that records of sources name.
    ///
    /// # Errors
    /// As there.
    pub async fn reading(
        plan: Arc<Plan>,
        log: Arc<dyn Log>,
        sinks: Sinks,
        schemas: SchemasOf,
        timer: Arc<dyn Timer>,
        limits: Limits,
    ) -> Result<Self, WorkerError> {
        let names = PipelineNames::new(&plan.namespace, &plan.name);
        let mut source_partitions = Vec::with_capacity(plan.sources.len());
        for source in &plan.sources {
            let found = log.topic(&source.topic).await?;
            let topic = found.ok_or_else(|| WorkerError::NoTopic {
                topic: source.topic.clone(),
            })?;
            source_partitions.push(topic.partitions);
        }
        let allotment = allot(log.as_ref(), &names, &plan, &source_partitions).await?;
        let (closing, closing_seen) = watch::channel(None);
        let board = Board::default();
        let context = Context {
            plan,
            names,
            generations: Arc::new(generations(&allotment)),
            allotment,
            log,
            sinks,
            schemas,
            timer,
            limits,
            batches: Batches::new(limits),
            board,
            watermarks: Watermarks::default(),
            closing: closing_seen,
        };
        Ok(Self {
            context: Arc::new(context),
            closing,
        })
    }

    /// The revision that was allotted to the plan, which its tasks leave in their progress.
    pub fn revision(&self) -> i64 {
        self.context.generations.revision
    }

    /// Topics of partials that the plan needs and their partitions: they carry the generation in their name. [`Self::inputs`] wait
    /// for them. Who makes topics before a worker starts knows them from
    /// [`partials_topics`](tidewheel_planner::generations::partials_topics).
    pub fn partials_topics(&self) -> Vec<(String, u32)> {
        let context = &self.context;
        context
            .plan
            .steps
            .iter()
            .filter_map(|step| match &step.kind {
                StepKind::Aggregate(aggregate) => {
                    Some((context.partials(&step.name), aggregate.partitions))
                }
                _ => None,
            })
            .collect()
    }

    /// What can be seen and asked of this worker.
    pub fn control(&self) -> Control {
        Control {
            context: self.context.clone(),
            closing: self.closing.clone(),
            step_tasks: self
                .partials_topics()
                .iter()
                .map(|(_, partitions)| *partitions as usize)
                .sum(),
        }
    }

    /// The work, a future for each input; each runs until `stop`, finishes what it has in hand, and leaves its group.
    pub fn inputs(&self, stop: &CancellationToken) -> Vec<BoxFuture<'static, ()>> {
        let sources = (0..self.context.plan.sources.len()).map(Input::Source);
        let steps = self.context.plan.steps.iter().enumerate();
        let aggregates = steps.filter(|(_, step)| matches!(step.kind, StepKind::Aggregate(_)));
        sources
            .chain(aggregates.map(|(index, _)| Input::Step(index)))
            .map(|input| {
                let work: BoxFuture<'static, ()> =
                    Box::pin(input::run(self.context.clone(), input, stop.clone()));
                work
            })
            .collect()
    }
}

impl Control {
    /// What every task is doing.
    pub fn status(&self) -> Status {
        self.context.board.read()
    }

    /// What this worker is to the consumer group of each input, by the input's name; inputs that were not begun are not there.
    pub fn memberships(&self) -> BTreeMap<String, Membership> {
        self.context.board.memberships()
    }

    /// Windows that changed steps of the plan should have computed anew and could not, by step.
    pub fn not_recomputed(&self) -> BTreeMap<String, NotRecomputed> {
        let steps = self.context.allotment.steps.iter();
        steps
            .filter(|(_, step)| !step.retired)
            .filter_map(|(name, step)| Some((name.clone(), step.not_recomputed?)))
            .collect()
    }

    /// Where the input of each task that this worker has ends, as far as it is committed. Asks the log for every task: not to be called
    /// more often than every few seconds.
    ///
    /// # Errors
    /// The log does not answer.
    pub async fn ends(&self) -> Result<BTreeMap<TaskKey, i64>, LogError> {
        let mut ends = BTreeMap::new();
        let begun = self
            .status()
            .into_iter()
            .filter(|(_, task)| task.has_begun());
        for (key, _) in begun {
            let topic = self.topic(&key.0);
            let end = self.context.log.offsets(&topic, key.1).await?.end;
            ends.insert(key, end);
        }
        Ok(ends)
    }

    fn topic(&self, input: &str) -> String {
        let context = &self.context;
        let source = context
            .plan
            .sources
            .iter()
            .find(|source| source.name == input);
        source.map_or_else(|| context.partials(input), |source| source.topic.clone())
    }

    /// Reads every source to its end, then closes every window that holds an event, by a decree in the log. Returns when all of it is
    /// written. For a worker that has all partitions, while nothing is sent any more.
    pub async fn close_windows(&self) -> Result<(), LogError> {
        const LOOK_EVERY: Duration = Duration::from_millis(10);
        while !self.sources_are_read().await? {
            self.context.timer.sleep(LOOK_EVERY).await;
        }
        let Some(closing_ms) = self
            .status()
            .values()
            .filter_map(|task| task.closing_watermark_ms)
            .max()
        else {
            return Ok(());
        };
        self.closing.send_replace(Some(closing_ms));
        while !self.is_closed(closing_ms).await? {
            self.context.timer.sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Whether the task of every source partition has taken all that is in the log now.
    pub async fn sources_are_read(&self) -> Result<bool, LogError> {
        let context = &self.context;
        let partitions = context.source_partitions().await?;
        for (source, partitions) in context.plan.sources.iter().zip(partitions) {
            for partition in 0..partitions {
                let end = context.log.offsets(&source.topic, partition).await?.end;
                let status = self.status();
                let task = status.get(&(source.name.clone(), partition));
                if !task.is_some_and(|task| task.at_end && task.next_offset >= end) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    async fn is_closed(&self, closing_ms: i64) -> Result<bool, LogError> {
        let partitions = self.context.source_partitions().await?;
        let source_tasks: usize = partitions
            .iter()
            .map(|&partitions| partitions as usize)
            .sum();
        let status = self.status();
        let count = |stage, done: &dyn Fn(&str, &crate::TaskStatus) -> bool| {
            status
                .iter()
                .filter(|(key, task)| task.stage == stage && task.at_end && done(&key.0, task))
                .count()
        };
        let sources_are_closed =
            count(1, &|_, task| task.closed_ms >= Some(closing_ms)) == source_tasks;
        let plan = &self.context.plan;
        let has_reached = |input: &str, watermark_ms| {
            let step = plan.steps.iter().position(|step| step.name == input);
            step.is_some_and(|step| has_reached(plan, step, watermark_ms, closing_ms))
        };
        Ok(sources_are_closed
            && count(2, &|input, task| {
                has_reached(input, task.watermark_ms) && task.open_windows.is_empty()
            }) == self.step_tasks)
    }
}
