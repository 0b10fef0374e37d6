//! The pipelines that run: a worker each.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use tidewheel_planner::plan::{Output, Plan};
use tidewheel_worker::{Control, Limits, SystemTimer, TaskStatus, Worker};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::dev::store::Store;
use crate::failure::Failure;
use crate::metrics::WorkerMetrics;
use crate::roles::upkeep::{RetentionMetrics, Upkeep};

/// How often a task that cannot go on is spoken of.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

/// How often it is looked whether tasks can go on.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The pipelines that run, by `<namespace>/<name>`.
pub(crate) struct Pipelines {
    by_name: BTreeMap<String, Pipeline>,
    metrics: WorkerMetrics,
}

/// A pipeline at work.
pub(crate) struct Pipeline {
    pub(crate) plan: Arc<Plan>,
    pub(crate) control: Control,
    stop: CancellationToken,
    inputs: JoinSet<()>,
    _upkeep: AbortOnDropHandle<()>,
}

impl Pipeline {
    async fn start(store: &Store, plan: Plan) -> Result<Self, Failure> {
        let log = store.log();
        let (plan, schemas) = store.as_run(plan)?;
        let plan = Arc::new(plan);
        let worker = Worker::reading(
            plan.clone(),
            log,
            store.sinks(),
            schemas,
            Arc::new(SystemTimer),
            Limits::default(),
        )
        .await?;
        store.prepare_partials(&worker.partials_topics()).await?;
        let stop = CancellationToken::new();
        let mut inputs = JoinSet::new();
        for input in worker.inputs(&stop) {
            inputs.spawn(input);
        }
        let upkeep = Self::keep_tables(store, &plan, &stop)?;
        Ok(Self {
            plan,
            control: worker.control(),
            stop,
            inputs,
            _upkeep: upkeep,
        })
    }

    /// Looks after the tables in databases; embedded ones keep everything.
    fn keep_tables(
        store: &Store,
        plan: &Plan,
        stop: &CancellationToken,
    ) -> Result<AbortOnDropHandle<()>, Failure> {
        let given = |sink: &str| Some((sink.to_owned(), store.url(sink)?));
        let urls: BTreeMap<String, String> = plan.table_sinks().filter_map(given).collect();
        let upkeep = Upkeep::new(plan, RetentionMetrics::new()?).of(&urls);
        let url = move |sink: &str| Ok(urls.get(sink).cloned().unwrap_or_default());
        let running = tokio::spawn(upkeep.run(url, stop.clone()));
        Ok(AbortOnDropHandle::new(running))
    }

    /// Whether an output of this pipeline fills the topic of a source of `other`.
    fn feeds(&self, other: &Self) -> bool {
        let mut filled = self.plan.outputs.iter().filter_map(Output::topic);
        filled.any(|topic| {
            let mut sources = other.plan.sources.iter();
            sources.any(|source| source.topic == topic.name)
        })
    }

    /// Lets every task finish the batch that it has in hand.
    async fn stop(mut self) {
        self.stop.cancel();
        while self.inputs.join_next().await.is_some() {}
    }
}

impl Pipelines {
    /// None yet; `metrics` show those that run.
    pub(crate) fn new(metrics: WorkerMetrics) -> Self {
        Self {
            by_name: BTreeMap::new(),
            metrics,
        }
    }

    /// Starts a plan whose topics and tables are there, in the place of the one of that name that runs.
    pub(crate) async fn start(&mut self, store: &Store, plan: Plan) -> Result<(), Failure> {
        let name = plan.full_name();
        self.stop(&name).await;
        let pipeline = Pipeline::start(store, plan).await?;
        let outputs = pipeline.plan.outputs.iter();
        let sinks = outputs.map(|output| output.sink.clone()).collect();
        self.metrics.watch(&name, pipeline.control.clone(), sinks);
        self.by_name.insert(name, pipeline);
        Ok(())
    }

    /// Stops the pipeline of that name, if it runs.
    pub(crate) async fn stop(&mut self, name: &str) {
        if let Some(pipeline) = self.by_name.remove(name) {
            self.metrics.forget(name);
            pipeline.stop().await;
        }
    }

    /// Stops all.
    pub(crate) async fn stop_all(&mut self) {
        let pipelines = std::mem::take(&mut self.by_name);
        futures::future::join_all(pipelines.into_values().map(Pipeline::stop)).await;
    }

    /// The names of those that run.
    pub(crate) fn names(&self) -> Vec<String> {
        self.by_name.keys().cloned().collect()
    }

    /// Those that run, in order of their names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Pipeline> {
        self.by_name.values()
    }

    /// Reads every source to its end and closes every window. A task that cannot go on for now is spoken of until it can; one that never
    /// will is an error.
    pub(crate) async fn close_windows(&self) -> Result<(), Failure> {
        let closing = async {
            for together in self.upstream_first() {
                let closing = together
                    .iter()
                    .map(|pipeline| pipeline.control.close_windows());
                try_join_all(closing).await?;
            }
            Ok(())
        };
        tokio::select! {
            closed = closing => closed,
            failure = self.stuck() => Err(failure),
        }
    }

    /// All pipelines: those that fill topics which others read come before those.
    fn upstream_first(&self) -> Vec<Vec<&Pipeline>> {
        let mut left: Vec<&Pipeline> = self.iter().collect();
        let mut order = Vec::new();
        while !left.is_empty() {
            let is_fed = |pipeline: &&Pipeline| left.iter().any(|other| other.feeds(pipeline));
            let (fed, free): (Vec<&Pipeline>, Vec<&Pipeline>) =
                left.iter().copied().partition(is_fed);
            // Those that feed each other in a circle have no order.
            if free.is_empty() {
                order.push(left);
                break;
            }
            order.push(free);
            left = fed;
        }
        order
    }

    /// Says why tasks are blocked, again and again; returns once one of them cannot go on before somebody has mended what is wrong.
    async fn stuck(&self) -> Failure {
        let mut spoke_at = Instant::now();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let stuck = self.blocked(|task| task.blocked_until_mended);
            if !stuck.is_empty() {
                return Failure::Run(stuck.join("\nerror: "));
            }
            if spoke_at.elapsed() >= COMPLAIN_EVERY {
                spoke_at = Instant::now();
                for text in self.blocked(|_| true) {
                    eprintln!("waiting: {text}");
                }
            }
        }
    }

    /// The tasks that are blocked, and why, in words: those that `counts`.
    fn blocked(&self, counts: impl Fn(&TaskStatus) -> bool) -> Vec<String> {
        let mut texts = Vec::new();
        for (pipeline, at_work) in &self.by_name {
            let tasks = at_work.control.status().into_iter();
            for ((input, partition), task) in tasks.filter(|(_, task)| counts(task)) {
                if let Some(reason) = task.blocked {
                    texts.push(format!(
                        "{pipeline}, {input}/{partition} cannot go on: {reason}"
                    ));
                }
            }
        }
        texts
    }
}
