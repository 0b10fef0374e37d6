//! `tidewheel replay`: windows of the past, computed once more.
//!
//! ```text
//!  --specs ──▶ plan ──▶ Replay: is it possible, what is read ──▶ --dry-run: say so
//!  --kafka ──▶ log ─────────┘            │
//!                                        └──▶ a worker over a view of the log ──▶ Collected ──▶ a transaction for each table
//! ```
pub(crate) mod args;
mod progress;
mod refusal;
mod said;
mod tables;

use std::sync::Arc;

use args::ReplayArgs;
use tidewheel_log::Log;
use tidewheel_planner::plan::Plan;
use tidewheel_sinks::{Collected, Sink};
use tidewheel_worker::SchemasOf;
use tidewheel_worker::replay::{For, Range, Replay};
use tidewheel_worker::{Sinks, SystemTimer};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::refusal::refused;
use self::tables::Tables;
use crate::failure::{Exit, Failure};
use crate::roles::open_log;
use crate::roles::registries::registries;
use crate::roles::sinks::SinkUrls;
use crate::roles::specs::RoleSpecs;
use crate::{runtime, signals};

/// Runs it.
pub(crate) fn run(args: &ReplayArgs) -> Result<Exit, Failure> {
    if args.from >= args.to {
        return Err(Failure::usage(
            "--from is not before --to",
            "windows are computed that lie between the two as a whole",
        ));
    }
    let specs = RoleSpecs::read(&args.specs.specs, &args.specs.secrets)?;
    let plan = specs.plan(Some(&args.pipeline))?.clone();
    let schemas = registries(&plan, &specs.secrets)?;
    let urls = SinkUrls::new(&specs.set, specs.secrets, &args.sinks.sink)?;
    let tables = Tables::new(&plan, urls, args.into.as_deref())?;
    runtime::run(replay(args, (&plan, schemas), &tables))
}

async fn replay(
    args: &ReplayArgs,
    (plan, schemas): (&Plan, SchemasOf),
    tables: &Tables,
) -> Result<Exit, Failure> {
    let stop = signals::stop()?;
    let range = Range {
        from_ms: args.from,
        to_ms: args.to,
    };
    let written = match args.into {
        Some(_) => For::OtherTables,
        None => For::ItsTables,
    };
    let log: Arc<dyn Log> = Arc::new(open_log(&args.kafka.kafka)?);
    let replay = Replay::new(log, plan, range, written).await;
    let replay = replay.map_err(|error| refused(error, args))?;
    said::what_is_done(plan, &replay, tables)?;
    if args.dry_run {
        return Ok(Exit::Pending);
    }
    tables.check(plan, &replay).await?;
    let wanted = replay.outputs().iter().map(|replayed| {
        let name = plan.outputs[replayed.output].name.clone();
        (name, replayed.starts_ms.clone())
    });
    let collected = Collected::new(wanted.collect());
    if !compute(args, (plan, schemas), &replay, &collected, &stop).await? {
        return Ok(Exit::Stopped);
    }
    for replayed in replay.outputs() {
        let name = &plan.outputs[replayed.output].name;
        let rows = collected.take(name);
        let replaced = tables.replace(plan, replayed, &rows).await?;
        said::what_was_written(name, &replaced)?;
    }
    Ok(Exit::Good)
}

/// Computes the windows; whether it came to the end.
async fn compute(
    args: &ReplayArgs,
    (plan, schemas): (&Plan, SchemasOf),
    replay: &Replay,
    collected: &Collected,
    stop: &CancellationToken,
) -> Result<bool, Failure> {
    let sinks: Sinks = plan
        .table_sinks()
        .map(|sink| {
            (
                sink.to_owned(),
                Arc::new(collected.clone()) as Arc<dyn Sink>,
            )
        })
        .collect();
    let worker = replay.worker(sinks, schemas, Arc::new(SystemTimer)).await;
    let worker = worker.map_err(|error| refused(error, args))?;
    let control = worker.control();
    let working = CancellationToken::new();
    let inputs: JoinSet<()> = worker.inputs(&working).into_iter().collect();
    let is_done = tokio::select! {
        closed = control.close_windows() => closed.map(|()| true)?,
        () = stop.cancelled() => false,
        failure = progress::watch(args, replay, &control) => return Err(failure),
    };
    progress::say(replay, &control);
    // Nothing of what they have in hand is for anybody.
    drop(inputs);
    if is_done {
        let kept = replay.check_kept().await;
        kept.map_err(|error| refused(error, args))?;
    }
    Ok(is_done)
}
