//! What tasks have left in their state topics because they wait for it.
use std::collections::BTreeMap;

use bytes::Bytes;
use tidewheel_engine::wire::acknowledgement::{
    ACKNOWLEDGED, Acknowledged, Missing, Place, WAITING, Waiting,
};
use tidewheel_engine::wire::state::StepKey;
use tidewheel_log::{Log, Record, read_to_end};
use tidewheel_worker::read_allotment;

use crate::failure::Failure;
use crate::place::PipelineName;

/// A task that waits.
#[derive(Debug, Clone)]
pub(super) struct Waits {
    pub(super) place: Place,
    /// It is an aggregate step's.
    pub(super) is_step: bool,
    pub(super) missing: Missing,
    pub(super) hash: String,
    /// When it said so, ms since the epoch.
    pub(super) since_ms: i64,
    /// Somebody has acknowledged it, and the task has not gone on yet.
    pub(super) is_acknowledged: bool,
    /// The state topic, and the key under which the task looks for an acknowledgement.
    pub(super) topic: String,
    pub(super) answer_key: Bytes,
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
    let (asked, answered) = match generation {
        None => (Bytes::from(WAITING), Bytes::from(ACKNOWLEDGED)),
        Some(number) => (
            StepKey::Waiting.encode(number),
            StepKey::Acknowledged.encode(number),
        ),
    };
    let mut newest: BTreeMap<Bytes, Record> = BTreeMap::new();
    read_to_end(log, topic, place.partition, |record| {
        let key = record.key.clone();
        if let Some(key) = key.filter(|key| *key == asked || *key == answered) {
            newest.insert(key, record);
        }
    })
    .await?;
    let value = |key: &Bytes| newest.get(key)?.value.clone();
    let Some(waiting) = value(&asked) else {
        return Ok(None);
    };
    let unreadable = |error| Failure::Run(format!("{topic}/{}: {error}", place.partition));
    let missing = Waiting::decode(&waiting).map_err(unreadable)?.missing;
    let hash = missing.hash(&place);
    let acknowledged = value(&answered).map(|value| Acknowledged::decode(&value));
    let acknowledged = acknowledged.transpose().map_err(unreadable)?;
    Ok(Some(Waits {
        is_step: generation.is_some(),
        is_acknowledged: acknowledged.is_some_and(|acknowledged| acknowledged.hash == hash),
        since_ms: newest.get(&asked).map_or(0, |record| record.append_time_ms),
        topic: topic.to_owned(),
        answer_key: answered,
        place,
        missing,
        hash,
    }))
}
