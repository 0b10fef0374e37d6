//! `tidewheel worker`: the tasks of one pipeline that the consumer groups give to this process.
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use prometheus::Registry;
use tidewheel_ingest::{Check, Readiness};
use tidewheel_log::{Log, LogError};
use tidewheel_log_kafka::KafkaLog;
use tidewheel_planner::plan::Plan;
use tidewheel_worker::{Control, Limits, Membership, SystemTimer, Worker, WorkerError};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::failure::{Exit, Failure};
use crate::metrics::WorkerMetrics;
use crate::roles::args::WorkerArgs;
use crate::roles::operations::Operations;
use crate::roles::sinks::{Databases, SinkUrls};
use crate::roles::specs::RoleSpecs;
use crate::roles::upkeep::{RetentionMetrics, Upkeep};
use crate::roles::{open_log, run_until_told};

/// How long a readiness check waits for the log.
const LOG_ANSWERS_WITHIN: Duration = Duration::from_secs(2);
/// The longest pause between attempts to begin.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Works until SIGTERM, then finishes what it has in hand.
pub(crate) fn run(args: WorkerArgs) -> Result<Exit, Failure> {
    let specs = RoleSpecs::read(&args.specs.specs, &args.specs.secrets)?;
    let plan = specs.plan(args.pipeline.as_deref())?.clone();
    let urls = SinkUrls::new(&specs.set, specs.secrets, &[])?;
    let databases = Databases::open(urls, &plan)?;
    run_until_told(args.operations.grace, |stop| {
        work(args, Arc::new(plan), databases, stop)
    })
}

async fn work(
    args: WorkerArgs,
    plan: Arc<Plan>,
    databases: Databases,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let log = open_log(&args.kafka.kafka)?;
    let metrics = WorkerMetrics::new()?;
    let registry = Registry::new();
    registry.register(Box::new(metrics.clone()))?;
    let retention = RetentionMetrics::new()?;
    registry.register(Box::new(retention.clone()))?;
    let readiness = WorkerReadiness::new(&log, &plan, databases.clone());
    let shown = Arc::new(readiness.clone());
    let operations =
        Operations::start(args.operations.operations, registry, &log, vec![shown]).await?;
    let following = {
        let (databases, stop) = (databases.clone(), stop.clone());
        tokio::spawn(async move { databases.follow_secrets(&stop).await })
    };
    let keeping = {
        let (upkeep, databases) = (Upkeep::new(&plan, retention), databases.clone());
        let url = move |sink: &str| databases.url(sink);
        AbortOnDropHandle::new(tokio::spawn(upkeep.run(url, stop.clone())))
    };
    let worked = run_tasks(&log, plan, &databases, &metrics, &readiness, &stop).await;
    following.abort();
    drop(keeping);
    operations.stop().await;
    worked
}

/// Runs the tasks of a plan until `stop`, and then to the end of what they have in hand.
async fn run_tasks(
    log: &KafkaLog,
    plan: Arc<Plan>,
    databases: &Databases,
    metrics: &WorkerMetrics,
    readiness: &WorkerReadiness,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let Some(worker) = begin(log, &plan, databases, stop).await? else {
        return Ok(());
    };
    let name = format!("{}/{}", plan.namespace, plan.name);
    let written = plan.table_sinks().map(str::to_owned);
    metrics.watch(&name, worker.control(), written.collect());
    *readiness.control.lock() = Some(worker.control());
    tracing::info!(pipeline = name, "at work");
    let mut inputs: JoinSet<()> = worker.inputs(stop).into_iter().collect();
    while let Some(ended) = inputs.join_next().await {
        ended.map_err(|error| Failure::Run(format!("{name}: an input ended badly: {error}")))?;
    }
    // A newer plan has taken over where nobody told us to stop: this process is there until it is.
    stop.cancelled().await;
    Ok(())
}

/// A worker whose topics are there, apart from those that its inputs wait for; none where it was told to stop before they were, or a
/// newer plan has taken over.
async fn begin(
    log: &KafkaLog,
    plan: &Arc<Plan>,
    databases: &Databases,
    stop: &CancellationToken,
) -> Result<Option<Worker>, Failure> {
    let mut pause = Duration::from_millis(200);
    loop {
        let begun = Worker::new(
            plan.clone(),
            Arc::new(log.clone()),
            databases.sinks(),
            Arc::new(SystemTimer),
            Limits::default(),
        );
        let reason = match begun.await {
            Ok(worker) => return Ok(Some(worker)),
            Err(
                error @ (WorkerError::NoTopic { .. }
                | WorkerError::Log(
                    LogError::Unavailable { .. }
                    | LogError::Fenced { .. }
                    | LogError::UnknownPartition { .. },
                )),
            ) => error.to_string(),
            // Starting again would not help: whoever manages this process is about to replace it.
            Err(WorkerError::NewerPlan(error)) => {
                tracing::warn!(%error, "there is nothing to do for this worker");
                stop.cancelled().await;
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        tracing::warn!(reason, "the worker cannot begin yet");
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return Ok(None),
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Whether a worker can work, for probes. Clones share everything.
#[derive(Clone)]
struct WorkerReadiness {
    log: Arc<dyn Log>,
    /// A topic that has to be there.
    topic: String,
    databases: Databases,
    control: Arc<Mutex<Option<Control>>>,
}

impl WorkerReadiness {
    fn new(log: &KafkaLog, plan: &Plan, databases: Databases) -> Self {
        let source = plan.sources.first();
        Self {
            log: Arc::new(log.clone()),
            topic: source
                .map(|source| source.topic.clone())
                .unwrap_or_default(),
            databases,
            control: Arc::default(),
        }
    }

    async fn log(&self) -> Check {
        let answer = tokio::time::timeout(LOG_ANSWERS_WITHIN, self.log.topic(&self.topic)).await;
        let (ready, detail) = match answer {
            Err(_) => (false, "it does not answer".to_owned()),
            Ok(Err(error)) => (false, error.to_string()),
            Ok(Ok(None)) => (
                false,
                "it answers, but has not the source's topic".to_owned(),
            ),
            Ok(Ok(Some(_))) => (true, "it answers".to_owned()),
        };
        Check {
            name: "log",
            ready,
            required: true,
            detail,
        }
    }

    fn assignment(&self) -> Check {
        let memberships = match self.control.lock().as_ref() {
            Some(control) => control.memberships(),
            None => Default::default(),
        };
        let joining = |membership: &&Membership| **membership == Membership::Joining;
        let waiting = memberships.values().filter(joining).count();
        let superseded = memberships
            .values()
            .any(|membership| *membership == Membership::Superseded);
        let (ready, detail) = match (memberships.len(), waiting) {
            (0, _) => (false, "the worker has not begun".to_owned()),
            (_, 0) if superseded => (true, "a newer plan has taken over".to_owned()),
            (inputs, 0) => (true, format!("{inputs} of {inputs} inputs are assigned")),
            (inputs, waiting) => (
                false,
                format!("{} of {inputs} inputs are assigned", inputs - waiting),
            ),
        };
        Check {
            name: "assignment",
            ready,
            required: true,
            detail,
        }
    }

    /// Sinks come back by themselves, and no other worker reaches them better: a worker that waits for one stays ready.
    async fn sinks(&self) -> Check {
        let answering = self.databases.answering().await;
        let status = match self.control.lock().as_ref() {
            Some(control) => control.status(),
            None => Default::default(),
        };
        let waiting = status
            .values()
            .filter(|task| task.blocked_by_sink.is_some())
            .count();
        let (all, silent) = (answering.databases, answering.silent);
        let mut detail = format!("{} of {all} answer", all - silent);
        if waiting > 0 {
            detail.push_str(&format!("; {waiting} tasks wait for one"));
        }
        Check {
            name: "sinks",
            ready: silent == 0 && waiting == 0,
            required: false,
            detail,
        }
    }
}

#[async_trait]
impl Readiness for WorkerReadiness {
    async fn check(&self) -> Vec<Check> {
        let (log, sinks) = tokio::join!(self.log(), self.sinks());
        vec![log, self.assignment(), sinks]
    }
}
