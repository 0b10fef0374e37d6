//! `tidewheel worker`: the tasks of one pipeline that the consumer groups give to this process.
use std::sync::Arc;
use std::time::Duration;

use prometheus::Registry;
use tidewheel_log::LogError;
use tidewheel_log_kafka::KafkaLog;
use tidewheel_planner::plan::Plan;
use tidewheel_worker::{Limits, SchemasOf, SystemTimer, Worker, WorkerError};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::failure::{Exit, Failure};
use crate::metrics::WorkerMetrics;
use crate::roles::args::WorkerArgs;
use crate::roles::operations::Operations;
use crate::roles::readiness::WorkerReadiness;
use crate::roles::registries::registries;
use crate::roles::sinks::{Databases, SinkUrls};
use crate::roles::specs::RoleSpecs;
use crate::roles::upkeep::{RetentionMetrics, Upkeep};
use crate::roles::{open_log_for_tasks, run_until_told};

/// The longest pause between attempts to begin.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Works until SIGTERM, then finishes what it has in hand.
pub(crate) fn run(args: WorkerArgs) -> Result<Exit, Failure> {
    let specs = RoleSpecs::read(&args.specs.specs, &args.specs.secrets)?;
    let plan = specs.plan(args.pipeline.as_deref())?.clone();
    let schemas = registries(&plan, &specs.secrets)?;
    let urls = SinkUrls::new(&specs.set, specs.secrets, &[])?;
    let databases = Databases::open(urls, &plan)?;
    run_until_told(args.operations.grace, |stop| {
        work(args, Arc::new(plan), schemas, databases, stop)
    })
}

async fn work(
    args: WorkerArgs,
    plan: Arc<Plan>,
    schemas: SchemasOf,
    databases: Databases,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let log = open_log_for_tasks(&args.kafka.kafka)?;
    let metrics = WorkerMetrics::new()?;
    let registry = Registry::new();
    registry.register(Box::new(metrics.clone()))?;
    let retention = RetentionMetrics::new()?;
    registry.register(Box::new(retention.clone()))?;
    let readiness = WorkerReadiness::new(Arc::new(log.clone()), &plan, databases.clone());
    let shown = Arc::new(readiness.clone());
    let operations = Operations::start(
        args.operations.operations,
        registry,
        Some(&log),
        vec![shown],
    )?;
    let following = {
        let (databases, stop) = (databases.clone(), stop.clone());
        tokio::spawn(async move { databases.follow_secrets(&stop).await })
    };
    let keeping = {
        let (upkeep, databases) = (Upkeep::new(&plan, retention), databases.clone());
        let url = move |sink: &str| databases.url(sink);
        AbortOnDropHandle::new(tokio::spawn(upkeep.run(url, stop.clone())))
    };
    let worked = run_tasks(
        &log,
        (plan, &schemas),
        &databases,
        &metrics,
        &readiness,
        &stop,
    )
    .await;
    following.abort();
    drop(keeping);
    operations.stop().await;
    worked
}

/// Runs the tasks of a plan until `stop`, and then to the end of what they have in hand.
async fn run_tasks(
    log: &KafkaLog,
    (plan, schemas): (Arc<Plan>, &SchemasOf),
    databases: &Databases,
    metrics: &WorkerMetrics,
    readiness: &WorkerReadiness,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let Some(worker) = begin(log, (&plan, schemas), databases, stop).await? else {
        return Ok(());
    };
    let name = plan.full_name();
    let written = plan.table_sinks().map(str::to_owned);
    metrics.watch(&name, worker.control(), written.collect());
    readiness.follow(worker.control());
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
    (plan, schemas): (&Arc<Plan>, &SchemasOf),
    databases: &Databases,
    stop: &CancellationToken,
) -> Result<Option<Worker>, Failure> {
    let mut pause = Duration::from_millis(200);
    loop {
        let begun = Worker::reading(
            plan.clone(),
            Arc::new(log.clone()),
            databases.sinks(),
            schemas.clone(),
            Arc::new(SystemTimer),
            Limits::default(),
        );
        // A log that does not answer is not waited for.
        let begun = tokio::select! {
            begun = begun => begun,
            () = stop.cancelled() => return Ok(None),
        };
        let reason = match begun {
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
