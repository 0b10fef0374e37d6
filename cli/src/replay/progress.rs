//! How far a replay is, and what it stumbles over.
use std::time::Duration;

use tidewheel_worker::Control;
use tidewheel_worker::replay::Replay;

use super::args::ReplayArgs;
use super::refusal::refused;
use crate::failure::Failure;
use crate::view::text::count;

/// How often it is looked, and said how far it is.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Says how far it is; returns once it cannot come to its end.
pub(super) async fn watch(args: &ReplayArgs, replay: &Replay, control: &Control) -> Failure {
    let mut waits = None;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        say(replay, control);
        if let Err(error) = replay.check_kept().await {
            return refused(error, args);
        }
        for ((input, partition), task) in control.status() {
            let Some(reason) = task.blocked else { continue };
            let reason = format!("{input}/{partition} cannot go on: {reason}");
            if task.blocked_until_mended {
                return Failure::Run(format!("{reason}. Nothing was written"));
            }
            if waits.as_ref() != Some(&reason) {
                eprintln!("waiting: {reason}");
                waits = Some(reason);
            }
        }
    }
}

/// Says how far it is.
pub(super) fn say(replay: &Replay, control: &Control) {
    let total = replay.reads().iter().map(|read| read.to - read.from);
    let total = total.sum::<i64>().unsigned_abs();
    let read = replay.read(&control.status());
    eprintln!("read {} of {} records", count(read), count(total));
}
