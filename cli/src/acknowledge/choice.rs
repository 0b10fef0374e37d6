//! Which of what waits is acknowledged.
use super::args::AcknowledgeArgs;
use super::waiting::Waits;
use crate::failure::Failure;

/// Those whose hashes are given. An error where one is not there, or where it is not said how to go on.
pub(super) fn choose(all: Vec<Waits>, args: &AcknowledgeArgs) -> Result<Vec<Waits>, Failure> {
    for hash in &args.hash {
        if !all.iter().any(|waits| waits.hash == hash.as_str()) {
            return Err(waits_no_more(hash.as_str(), args));
        }
    }
    let is_meant = |waits: &Waits| args.hash.iter().any(|hash| hash.as_str() == waits.hash);
    let chosen: Vec<Waits> = all.into_iter().filter(is_meant).collect();
    let of_outputs = chosen.iter().find(|waits| waits.is_of_outputs());
    match of_outputs {
        Some(waits) if !args.refill && !args.as_it_is => Err(Failure::usage(
            format!("{}: it is not said how its outputs go on", waits.hash),
            "add --refill to write them again from what is still there, with their tables empty, or --as-it-is to leave the tables as they are and write what comes from now on",
        )),
        None if args.refill || args.as_it_is => Err(Failure::usage(
            "--refill and --as-it-is are for outputs whose table has lost its progress, and none of these is one",
            "leave them out: events that are gone count as lost",
        )),
        _ => Ok(chosen),
    }
}

/// That nothing waits with this hash.
pub(super) fn waits_no_more(hash: &str, args: &AcknowledgeArgs) -> Failure {
    let pipeline = &args.place.pipeline;
    Failure::usage(
        format!("nothing of {pipeline} waits with the hash {hash}"),
        "run this without --hash to see what waits now: what has grown since has another hash, and what a task has gone on without waits no more",
    )
}
