//! Why a replay is not done, and which flag would have it done.
use tidewheel_worker::replay::ReplayError;

use super::args::ReplayArgs;
use crate::failure::Failure;
use crate::view::text::timestamp;

/// What to say of it. Nothing was written.
pub(super) fn refused(error: ReplayError, args: &ReplayArgs) -> Failure {
    let help = match &error {
        ReplayError::NoWindows => {
            "tumbling and hopping windows in tables are computed again; rows of events, sessions, and what is in topics are left as they are".to_owned()
        }
        ReplayError::NeverRan => {
            "start its workers first: what they have read and closed decides what can be computed again".to_owned()
        }
        ReplayError::OtherPlan { .. } => {
            "have the workers run these files first, or give --into SCHEMA to compute with these files into other tables".to_owned()
        }
        ReplayError::NoWindow { .. } => {
            "move --from or --to apart: windows are computed that lie between them as a whole".to_owned()
        }
        ReplayError::NotFinal { until_ms: Some(ms), .. } => {
            format!("give --to {} or earlier, or wait until the workers have closed the others", timestamp(*ms))
        }
        ReplayError::NotFinal { until_ms: None, .. } => {
            format!("wait until the workers have closed windows after --from {}: every partition of the sources has to be read and past `late.allowed`", timestamp(args.from))
        }
        ReplayError::OutOfReach { from_ms: Some(ms), .. } if *ms < args.to => {
            format!("the earliest windows that can be computed again start at {0}: give --from {0} or later", timestamp(*ms))
        }
        ReplayError::OutOfReach { from_ms: Some(ms), .. } => {
            format!("the earliest windows that can be computed again start at {}, after --to: those that were asked for stay as they are", timestamp(*ms))
        }
        ReplayError::OutOfReach { from_ms: None, .. } => {
            "none of the windows until now can be computed again: they stay as they are".to_owned()
        }
        ReplayError::Taken { .. } => {
            "nothing was written: run it again with a later --from, or give the topic a longer retention".to_owned()
        }
        ReplayError::Log(_) | ReplayError::Wire(_) | ReplayError::Worker(_) => {
            return Failure::Run(format!("{error}. Nothing was written"));
        }
    };
    Failure::usage(error.to_string(), help)
}
