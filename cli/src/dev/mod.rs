//! `tidewheel dev`: everything in one process.
mod changes;
mod generators;
mod kept;
mod listen;
mod live;
mod log;
mod pipelines;
pub(crate) mod results;
mod send;
mod session;
mod specs;
mod store;
mod tables;
mod watch;

use tidewheel_planner::problem;

use crate::args::DevArgs;
use crate::failure::{Exit, Failure};
use crate::runtime;
use specs::Specs;
pub(crate) use store::MAX_RECORD_BYTES;

/// Runs until the input has ended, with `--until-idle`, or until told to stop.
pub(crate) fn run(args: DevArgs) -> Result<Exit, Failure> {
    let specs = Specs::read(&args.paths).map_err(Failure::Specs)?;
    if !specs.warnings.is_empty() {
        eprintln!("{}", problem::render(&specs.warnings));
    }
    runtime::run_reading(session::run(args, specs))
}
