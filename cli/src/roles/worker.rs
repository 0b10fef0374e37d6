//! `tidewheel worker`: the tasks of one pipeline that the consumer groups give to this process.
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tidewheel_ingest::{Check, Readiness};
use tidewheel_log::{Log, LogError};
use tidewheel_planner::plan::Plan;
use tidewheel_worker::{Control, Limits, Membership, Sinks, SystemTimer, Worker, WorkerError};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;
use crate::metrics::WorkerMetrics;

/// How long a readiness check waits for the log.
const LOG_ANSWERS_WITHIN: Duration = Duration::from_secs(2);
/// The longest pause between attempts to begin.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Whether a worker can work, for probes. Clones share everything.
#[derive(Clone)]
pub(crate) struct WorkerReadiness {
    log: Arc<dyn Log>,
    /// A topic that has to be there.
    topic: String,
    control: Arc<Mutex<Option<Control>>>,
}

impl WorkerReadiness {
    pub(crate) fn new(log: Arc<dyn Log>, plan: &Plan) -> Self {
        let source = plan.sources.first();
        Self {
            log,
            topic: source
                .map(|source| source.topic.clone())
                .unwrap_or_default(),
            control: Arc::default(),
        }
    }

    async fn log(&self) -> Check {
        let answer = tokio::time::timeout(LOG_ANSWERS_WITHIN, self.log.topic(&self.topic)).await;
        let (ready, detail) = match answer {
            Err(_) => (false, "it does not answer".to_owned()),
            Ok(Err(error)) => (false, error.to_string()),
            Ok(Ok(_)) => (true, "it answers".to_owned()),
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
            (inputs, 0) => (true, format!("{inputs} inputs are assigned")),
            (inputs, waiting) => (
                false,
                format!("{waiting} of {inputs} inputs wait for their assignment"),
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
    fn sinks(&self) -> Check {
        let status = match self.control.lock().as_ref() {
            Some(control) => control.status(),
            None => Default::default(),
        };
        let waiting = status
            .values()
            .filter(|task| task.blocked_by_sink.is_some())
            .count();
        let detail = match waiting {
            0 => "all that were written to have answered".to_owned(),
            waiting => format!(
                "{waiting} of {} tasks wait for one that does not answer",
                status.len()
            ),
        };
        Check {
            name: "sinks",
            ready: waiting == 0,
            required: false,
            detail,
        }
    }
}

#[async_trait]
impl Readiness for WorkerReadiness {
    async fn check(&self) -> Vec<Check> {
        vec![self.log().await, self.assignment(), self.sinks()]
    }
}

/// Works on a plan until `stop`, then finishes what it has in hand.
pub(crate) async fn work(
    log: Arc<dyn Log>,
    plan: Arc<Plan>,
    sinks: Sinks,
    metrics: &WorkerMetrics,
    readiness: &WorkerReadiness,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let Some(worker) = begin(&log, &plan, &sinks, stop).await? else {
        return Ok(());
    };
    let name = format!("{}/{}", plan.namespace, plan.name);
    let written = plan.outputs.iter().map(|output| output.sink.clone());
    metrics.watch(&name, worker.control(), written.collect());
    *readiness.control.lock() = Some(worker.control());
    let mut inputs: JoinSet<()> = worker.inputs(stop).into_iter().collect();
    while let Some(ended) = inputs.join_next().await {
        ended.map_err(|error| Failure::Run(format!("{name}: an input ended badly: {error}")))?;
    }
    // A newer plan has taken over where nobody told us to stop: this process is there until it is.
    stop.cancelled().await;
    metrics.forget(&name);
    Ok(())
}

/// A worker whose topics are all there; none where it was told to stop before they were.
async fn begin(
    log: &Arc<dyn Log>,
    plan: &Arc<Plan>,
    sinks: &Sinks,
    stop: &CancellationToken,
) -> Result<Option<Worker>, Failure> {
    let mut pause = Duration::from_millis(200);
    loop {
        let reason = match try_begin(log, plan, sinks).await {
            Ok(worker) => return Ok(Some(worker)),
            Err(
                error @ (WorkerError::NoTopic { .. }
                | WorkerError::Log(LogError::Unavailable { .. } | LogError::Fenced { .. })),
            ) => error.to_string(),
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

async fn try_begin(
    log: &Arc<dyn Log>,
    plan: &Arc<Plan>,
    sinks: &Sinks,
) -> Result<Worker, WorkerError> {
    let worker = Worker::new(
        plan.clone(),
        log.clone(),
        sinks.clone(),
        Arc::new(SystemTimer),
        Limits::default(),
    )
    .await?;
    for (topic, _) in worker.partials_topics() {
        if log.topic(&topic).await?.is_none() {
            return Err(WorkerError::NoTopic { topic });
        }
    }
    Ok(worker)
}
