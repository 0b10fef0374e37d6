//! The roles that a cluster runs. Each reads resolved specs and the environment, serves its probes and metrics, and ends cleanly when told to.
//!
//! ```text
//!  --specs, --secrets ──▶ RoleSpecs ──▶ plan, sources ──┐
//!  --kafka ──▶ KafkaLog ────────────────────────────────┼──▶ the role, until SIGTERM, and then for the grace period
//!  Secrets of Sinks ──▶ Databases ──────────────────────┘
//! ```
pub(crate) mod args;
mod generate;
mod ingest;
pub(crate) mod kafka;
mod moves;
mod operations;
mod operator;
pub(crate) mod provision;
mod readiness;
pub(crate) mod registries;
pub(crate) mod secrets;
pub(crate) mod sinks;
pub(crate) mod specs;
pub(crate) mod upkeep;
mod worker;

use std::future::Future;
use std::time::Duration;

use tidewheel_log::LogError;
use tidewheel_log_kafka::KafkaLog;
use tokio_util::sync::CancellationToken;

use crate::failure::{Exit, Failure};
use crate::runtime;
use crate::signals;

pub(crate) use generate::run as generate;
pub(crate) use ingest::run as ingest;
pub(crate) use operator::run as operator;
pub(crate) use provision::run as provision;
pub(crate) use worker::run as worker;

/// Runs a role on a runtime of its own until SIGTERM; what it does after that has to be done within `grace`.
fn run_until_told<F: Future<Output = Result<(), Failure>>>(
    grace: Duration,
    role: impl FnOnce(CancellationToken) -> F,
) -> Result<Exit, Failure> {
    runtime::run(async {
        let stop = signals::stop()?;
        let too_late = async {
            stop.cancelled().await;
            tracing::info!("told to stop: finishing what is in hand");
            tokio::time::sleep(grace).await;
        };
        tokio::select! {
            done = role(stop.clone()) => done,
            () = too_late => Err(Failure::Run(format!(
                "not done {} s after it was told to stop: what was in hand is given up; nothing is lost by that",
                grace.as_secs()
            ))),
        }
    })?;
    tracing::info!("ended");
    Ok(Exit::Good)
}

/// The log on Kafka. To be called within the runtime.
pub(crate) fn open_log(place: &kafka::KafkaPlace) -> Result<KafkaLog, Failure> {
    KafkaLog::new(place.connection()?).map_err(misused)
}

/// The same for what runs tasks.
fn open_log_for_tasks(place: &kafka::KafkaPlace) -> Result<KafkaLog, Failure> {
    let log = open_log(place)?;
    log.check_for_tasks().map_err(misused)?;
    Ok(log)
}

fn misused(error: LogError) -> Failure {
    match error {
        LogError::Invalid { reason } => Failure::usage(format!("--kafka: {reason}"), kafka::HELP),
        error => error.into(),
    }
}
