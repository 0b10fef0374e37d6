//! How far the sinks of a task's outputs are, and what the log expects of them: a sink without progress where some is expected stops the task
//! until somebody says how to go on.
use std::collections::BTreeMap;

use tidewheel_planner::plan::Plan;

use crate::error::EngineError;
use crate::wire::acknowledgement::{Acknowledgement, Missing, Place, Unacknowledged};
use crate::wire::state::{OutputProgress, Position};

/// How far an output's sink is.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SinkPlace {
    /// Its progress.
    pub(crate) sink: Option<Position>,
    /// The offset that it must have at least.
    pub(crate) expected: Option<i64>,
    /// It has lost its progress, and is to be filled again from this offset on.
    pub(crate) refill_from: Option<i64>,
}

/// What is known of the outputs of a task.
pub(crate) struct Known<'a> {
    /// By the log.
    pub(crate) logged: Option<&'a BTreeMap<String, OutputProgress>>,
    /// By the sinks.
    pub(crate) sinks: &'a BTreeMap<String, Position>,
    /// The oldest offset from which a sink can be filled again.
    pub(crate) oldest: i64,
}

/// The place of each of `outputs` (indices into the plan's), in their order. An error where a sink has lost its progress and nobody has
/// acknowledged that.
pub(crate) fn sink_places(
    plan: &Plan,
    outputs: &[usize],
    known: &Known<'_>,
    (acknowledgement, place): (&Acknowledgement, &Place),
) -> Result<Vec<SinkPlace>, EngineError> {
    let mut places: Vec<SinkPlace> = outputs
        .iter()
        .map(|&output| {
            let output = &plan.outputs[output];
            let logged = known.logged.and_then(|logged| logged.get(&output.name));
            let logged = logged.filter(|_| output.table().is_some());
            let sink = known.sinks.get(&output.name).copied();
            SinkPlace {
                sink,
                expected: logged.and_then(|logged| logged.sink_next_offset),
                refill_from: logged
                    .and_then(|logged| logged.refill_from)
                    .filter(|_| sink.is_none()),
            }
        })
        .collect();
    let lost = |place: &SinkPlace| place.sink.is_none() && place.refill_from.is_none();
    let without: BTreeMap<String, i64> = places
        .iter()
        .zip(outputs)
        .filter(|(place, _)| lost(place))
        .filter_map(|(place, &output)| Some((plan.outputs[output].name.clone(), place.expected?)))
        .collect();
    if without.is_empty() {
        return Ok(places);
    }
    let missing = Missing::Progress { outputs: without };
    let refill = acknowledged(acknowledgement, place, missing)?;
    for place in places.iter_mut().filter(|place| lost(place)) {
        match place.expected {
            Some(_) if refill => place.refill_from = Some(known.oldest),
            _ => place.expected = None,
        }
    }
    Ok(places)
}

/// Whether outputs are to be filled again, where this was acknowledged; an error where it was not.
pub(crate) fn acknowledged(
    acknowledgement: &Acknowledgement,
    place: &Place,
    missing: Missing,
) -> Result<bool, EngineError> {
    let given = acknowledgement.of(&missing, place);
    let unacknowledged = || Unacknowledged {
        place: place.clone(),
        missing: missing.clone(),
    };
    Ok(given.ok_or_else(unacknowledged)?.refill)
}
