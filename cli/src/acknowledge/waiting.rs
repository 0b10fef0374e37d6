//! What tasks have left in their state topics because they wait for it.
use std::collections::BTreeMap;

use bytes::Bytes;
use tidewheel_engine::wire::acknowledgement::{Acknowledgement, Missing, Place, WAITING, key};
use tidewheel_log::{Log, keep_newest, read_to_end};
use tidewheel_worker::read_allotment;

use crate::failure::Failure;
use crate::place::PipelineName;

/// A task that waits.
#[derive(Debug, Clone)]
pub(super) struct Waits {
    pub(super) place: Place,
    /// Of an aggregate step.
    pub(super) generation: Option<i64>,
    pub(super) missing: Missing,
    pub(super) hash: String,
    /// When it said so, ms since the epoch.
    pub(super) since_ms: i64,
    /// Somebody has acknowledged it, and the task has not gone on yet.
    pub(super) is_acknowledged: bool,
}

impl Waits {
    /// Whether outputs have lost their progress; otherwise offsets are gone.
    pub(super) fn is_of_outputs(&self) -> bool {
        matches!(self.missing, Missing::Progress { .. })
    }
}

/// What the tasks of a pipeline wait for.
pub(super) async fn find(log: &dyn Log, pipeline: &PipelineName) -> Result<Vec<Waits>, Failure> {
    let names = pipeline.names();
    let Some(allotment) = read_allotment(log, &names).await? else {
        return Ok(Vec::new());
    };
    let sources = allotment.sources.keys().map(|source| (source, None));
    let steps = allotment.steps.iter();
    let steps = steps.map(|(step, allotted)| (step, Some(allotted.number)));
    let mut found = Vec::new();
    for (input, generation) in sources.chain(steps) {
        let topic = names.state(input);
        let Some(info) = log.topic(&topic).await? else {
            continue;
        };
        for partition in 0..info.partitions {
            let place = Place {
                pipeline: pipeline.to_string(),
                input: input.clone(),
                partition,
            };
            found.extend(at(log, &topic, place, generation).await?);
        }
    }
    Ok(found)
}

/// What the task of a partition waits for.
async fn at(
    log: &dyn Log,
    topic: &str,
    place: Place,
    generation: Option<i64>,
) -> Result<Option<Waits>, Failure> {
    let mut state: BTreeMap<Bytes, Bytes> = BTreeMap::new();
    let mut since_ms = 0;
    let word = key(WAITING, generation);
    read_to_end(log, topic, place.partition, |record| {
        if record.key.as_ref() == Some(&word) {
            since_ms = record.append_time_ms;
        }
        keep_newest(&mut state, record);
    })
    .await?;
    let known = Acknowledgement::read(&state, generation)
        .map_err(|error| Failure::Run(format!("{topic}/{}: {error}", place.partition)))?;
    Ok(known
        .waiting(&place)
        .map(|(missing, is_acknowledged)| Waits {
            hash: missing.hash(&place),
            missing: missing.clone(),
            generation,
            since_ms,
            is_acknowledged,
            place: place.clone(),
        }))
}
