//! A plan deployed in this process: topics, tables and a worker.
use std::path::Path;
use std::sync::Arc;

use tidewheel_log::{EmbeddedLog, Options};
use tidewheel_planner::plan::{Output, Plan};
use tidewheel_planner::topics::{self, Topic};
use tidewheel_sinks::OutputId;
use tidewheel_sinks::embedded::Database;
use tidewheel_worker::{Control, Limits, Sinks, SystemTimer, Worker, topic_settings};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::Failure;

/// A running pipeline.
pub(crate) struct Deployment {
    control: Control,
    stop: CancellationToken,
    inputs: JoinSet<()>,
    database: Database,
    plan: Arc<Plan>,
}

/// A log in `folder` with the topic of the plan's source.
pub(crate) fn open_log(folder: &Path, plan: &Plan) -> Result<EmbeddedLog, Failure> {
    let log = EmbeddedLog::open(folder, Options::default())?;
    create(&log, &topics::of_plan_sources(plan))?;
    Ok(log)
}

fn create(log: &EmbeddedLog, topics: &[Topic]) -> Result<(), Failure> {
    for topic in topics {
        log.create_topic(&topic_settings(topic))?;
    }
    Ok(())
}

impl Deployment {
    /// Makes what the plan needs and starts its worker; tables go to `folder`.
    pub(crate) async fn start(
        plan: &Arc<Plan>,
        log: &EmbeddedLog,
        folder: &Path,
    ) -> Result<Self, Failure> {
        create(log, &topics::of_pipeline(plan))?;
        let database = Database::open(folder.join("tables.db")).await?;
        for output in &plan.outputs {
            let id = OutputId {
                pipeline: plan.full_name(),
                output: output.name.clone(),
            };
            if let Some(table) = output.table() {
                database.create_table(&id, table).await?;
            }
        }
        let mut sinks = Sinks::new();
        sinks.extend(
            plan.outputs
                .iter()
                .map(|output| (output.sink.clone(), Arc::new(database.clone()) as _)),
        );
        let worker = Worker::new(
            plan.clone(),
            Arc::new(log.clone()),
            sinks,
            Arc::new(SystemTimer),
            Limits::default(),
        )
        .await?;
        create(log, &topics::of_partials(plan, None)?)?;
        let stop = CancellationToken::new();
        let inputs = worker.inputs(&stop).into_iter().collect();
        Ok(Self {
            control: worker.control(),
            stop,
            inputs,
            database,
            plan: plan.clone(),
        })
    }

    /// Reads to the end, closes every window, stops. How many rows each table has.
    pub(crate) async fn finish(mut self) -> Result<Vec<u64>, Failure> {
        self.control.close_windows().await?;
        self.stop.cancel();
        while self.inputs.join_next().await.is_some() {}
        let mut counts = Vec::new();
        for table in self.plan.outputs.iter().filter_map(Output::table) {
            counts.push(self.database.count(table).await?);
        }
        self.database.close().await?;
        Ok(counts)
    }
}
