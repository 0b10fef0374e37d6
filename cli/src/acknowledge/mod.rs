//! `tidewheel acknowledge`: what tasks wait for because it is gone, and having them go on without.
//!
//! ```text
//!  --kafka, --data ──▶ Log ──▶ what waits in the state topics ──▶ list
//!                                      │
//!                                      └──▶ --hash ──▶ appended to the state topic, where the task finds it
//! ```
pub(crate) mod args;
mod choice;
mod shown;
mod waiting;

use std::io::{self, Write as _};

use args::AcknowledgeArgs;
use tidewheel_engine::wire::acknowledgement::Acknowledged;
use tidewheel_log::{Log, NewRecord};
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
        append(log.as_ref(), &chosen, args.refill).await?;
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

/// Outside of any transaction: an open one would hide the progress that tasks write behind it.
async fn append(log: &dyn Log, chosen: &[Waits], refill: bool) -> Result<(), Failure> {
    let record = |waits: &Waits| NewRecord {
        topic: waits.topic.clone(),
        partition: Some(waits.place.partition),
        key: Some(waits.answer_key.clone()),
        value: Some(Acknowledged::new(&waits.hash, refill && waits.is_of_outputs()).encode()),
        headers: Vec::new(),
    };
    let appended = log.append(chosen.iter().map(record).collect()).await;
    appended.map(drop).map_err(|error| {
        Failure::Run(format!(
            "{error}; whether it was acknowledged is not known: run this again, which does no harm"
        ))
    })
}
