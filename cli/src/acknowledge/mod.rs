//! `tidewheel acknowledge`: what tasks wait for because it is gone, and having them go on without.
//!
//! ```text
//!  --kafka, --data ──▶ Log ──▶ what waits in the state topics ──▶ list
//!                                      │
//!                                      └──▶ --hash ──▶ into the task's state, under its transactional id
//! ```
pub(crate) mod args;
mod choice;
mod shown;
mod waiting;

use std::io::{self, Write as _};

use args::AcknowledgeArgs;
use tidewheel_engine::wire::acknowledgement::Acknowledged;
use tidewheel_log::{Log, LogError};
use tidewheel_worker::WorkerError;
use waiting::Waits;

use crate::failure::{Exit, Failure};
use crate::printed::{Format, write_json};
use crate::runtime;

/// Runs it.
pub(crate) fn run(args: &AcknowledgeArgs) -> Result<Exit, Failure> {
    runtime::run(acknowledge(args))
}

async fn acknowledge(args: &AcknowledgeArgs) -> Result<Exit, Failure> {
    let names = args.place.pipeline.names();
    let log = args.place.open(&names.generations()).await?;
    let all = waiting::find(log.as_ref(), &args.place.pipeline).await?;
    let is_listed = args.hash.is_empty();
    let chosen = match is_listed {
        true => all,
        false => choice::choose(all, args)?,
    };
    if !is_listed {
        write(log.as_ref(), args, &chosen).await?;
    }
    let mut out = io::BufWriter::new(io::stdout().lock());
    match args.output_format {
        Format::Json => write_json(&mut out, &shown::for_programs(&chosen, !is_listed))?,
        Format::Table if is_listed => shown::write_list(&mut out, &chosen)?,
        Format::Table => shown::write_acknowledged(&mut out, &chosen, args.refill)?,
    }
    out.flush()?;
    Ok(Exit::Good)
}

/// Acknowledges them, one by one.
async fn write(log: &dyn Log, args: &AcknowledgeArgs, chosen: &[Waits]) -> Result<(), Failure> {
    let names = args.place.pipeline.names();
    for waits in chosen {
        let acknowledged = Acknowledged::new(&waits.hash, args.refill && waits.is_of_outputs());
        let task = (&waits.place, waits.generation);
        let written = tidewheel_worker::acknowledge(log, &names, task, &acknowledged).await;
        match written {
            Ok(true) => {}
            Ok(false) => return Err(choice::waits_no_more(&waits.hash, args)),
            Err(WorkerError::Log(error @ LogError::Unavailable { .. })) => {
                return Err(Failure::Run(format!(
                    "{error}; whether {} was acknowledged is not known: run this again, which does no harm",
                    waits.hash
                )));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
