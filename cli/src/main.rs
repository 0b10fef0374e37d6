//! The tidewheel binary: every role, and the tools for people.
mod acknowledge;
mod aligned;
mod args;
mod check;
mod dead_letters;
mod dev;
mod failure;
mod logging;
mod metrics;
mod place;
mod printed;
mod replay;
mod roles;
mod runtime;
mod served;
mod signals;
mod view;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

use args::{Arguments, Command};
use failure::{Exit, Failure};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    logging::start(&arguments);
    let outcome = match arguments.command {
        Command::Dev(dev) => dev::run(dev),
        Command::Check(check) => check::run(&check),
        Command::Provision(provision) => roles::provision(&provision),
        Command::Ingest(ingest) => roles::ingest(ingest),
        Command::Worker(worker) => roles::worker(worker),
        Command::Generate(generate) => roles::generate(generate),
        Command::Operator(operator) => roles::operator(operator),
        Command::DeadLetters(letters) => dead_letters::run(letters),
        Command::Acknowledge(acknowledge) => acknowledge::run(&acknowledge),
        Command::Replay(replay) => replay::run(&replay),
        Command::Crds => crds(),
    };
    match outcome {
        Ok(exit) => exit.into(),
        Err(failure) if failure.is_closed_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            failure.exit().into()
        }
    }
}

fn crds() -> Result<Exit, Failure> {
    std::io::stdout().write_all(tidewheel_crds::crds_yaml().as_bytes())?;
    Ok(Exit::Good)
}
