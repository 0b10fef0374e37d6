//! Allots generations: which version of each step and output writes, and where reading begins; decided once and kept in the log.
//!
//! A changed aggregate step begins a new generation at a *cut*: windows that start before it are final and stay as they are,
//! all others are computed anew. The cut follows from how far the old generation has come, and stands in the log, so that every worker and
//! every replay agrees on it. So does where each partition of a source begins: it is written before any task reads, for all partitions
//! at once. A partition that is not in it was added later.
use std::collections::BTreeMap;

use tidewheel_engine::{Generations, StepGeneration};
use tidewheel_log::{Log, LogError, NewRecord};
use tidewheel_planner::generations::{Allotment, AllottedSource, KEY};
use tidewheel_planner::names::PipelineNames;
use tidewheel_planner::plan::{Plan, Source, Start, Step};

use crate::context::sources_of;
use crate::cut::{Begun, Cut};
use crate::cuts::cuts;
use crate::error::WorkerError;
use crate::progress;
use crate::recovery::{State, read_compacted, take_over};

/// What is allotted to a pipeline; none while no worker has run it.
///
/// # Errors
/// The generations topic is not there, cannot be read, or holds what this build does not know.
pub async fn read_allotment(
    log: &dyn Log,
    names: &PipelineNames,
) -> Result<Option<Allotment>, WorkerError> {
    let topic = topic(log, names).await?;
    decode(&read_compacted(log, &topic, 0).await?)
}

/// What `plan` runs with; new generations where it differs from what ran before. `partitions`: of each source of the plan.
pub(crate) async fn allot(
    log: &dyn Log,
    names: &PipelineNames,
    plan: &Plan,
    partitions: &[i32],
) -> Result<Allotment, WorkerError> {
    let topic = topic(log, names).await?;
    // What was known before this one committed something else.
    let mut before = None;
    loop {
        let (mut producer, values) = take_over(log, &names.allotter(), &topic, 0).await?;
        let known = decode(&values)?;
        let next = next(log, names, plan, partitions, known.as_ref()).await?;
        if known.as_ref() == Some(&next) {
            return Ok(next);
        }
        // An outage may have undone that. If it was somebody else, the two would go on like this for ever.
        if before.is_some_and(|before| before != known) {
            return Err(WorkerError::Outbid);
        }
        let allotted = NewRecord {
            topic: topic.clone(),
            partition: Some(0),
            key: Some(KEY.into()),
            value: Some(next.encode().into()),
            headers: Vec::new(),
        };
        // An outage may undo what was acknowledged. Whoever takes over sees it, so that nothing begins by it before it was seen.
        producer.commit(vec![allotted]).await?;
        before = Some(known);
    }
}

async fn topic(log: &dyn Log, names: &PipelineNames) -> Result<String, WorkerError> {
    let topic = names.generations();
    match log.topic(&topic).await? {
        Some(_) => Ok(topic),
        None => Err(WorkerError::NoTopic { topic }),
    }
}

fn decode(values: &State) -> Result<Option<Allotment>, WorkerError> {
    let value = values.get(KEY.as_bytes());
    Ok(value.map(|value| Allotment::decode(value)).transpose()?)
}

/// What follows on `known` by `plan`.
async fn next(
    log: &dyn Log,
    names: &PipelineNames,
    plan: &Plan,
    partitions: &[i32],
    known: Option<&Allotment>,
) -> Result<Allotment, WorkerError> {
    let mut next = Allotment::of(plan, known)?;
    let is_new = |step: &str, number: i64| {
        let before = known.and_then(|known| known.steps.get(step));
        before.is_none_or(|before| before.number != number)
    };
    for (index, planned) in plan.steps.iter().enumerate() {
        if let Some(step) = next.steps.get_mut(&planned.name)
            && is_new(&planned.name, step.number)
        {
            step.feeders = feeders(plan, index, partitions);
        }
    }
    let mut begun = Vec::new();
    for (index, Step { name, .. }) in plan.steps.iter().enumerate() {
        let Some(step) = next
            .steps
            .get(name)
            .filter(|step| is_new(name, step.number))
        else {
            continue;
        };
        let before = known.into_iter();
        let before = before.flat_map(|known| known.before(name, &step.outputs));
        begun.push(Begun {
            step: index,
            window: step.window(),
            before: before.collect(),
        });
    }
    let (cuts, oldest) = decide(log, names, plan, partitions, &begun).await?;
    let again = begun.iter().filter(|new| !new.before.is_empty());
    let again: Vec<usize> = again.map(|new| new.step).collect();
    for (index, cut) in cuts {
        if let Some(step) = next.steps.get_mut(&plan.steps[index].name) {
            step.cut_ms = cut.at_ms;
            step.not_recomputed = cut.not_recomputed;
            step.rows_until_ms = cut.rows_until_ms;
        }
    }
    for index in again {
        if let Some(step) = next.steps.get_mut(&plan.steps[index].name) {
            let of_sources = sources_of(plan, index).into_iter();
            let name = |source: usize| plan.sources[source].name.clone();
            step.oldest = of_sources
                .map(|source| (name(source), oldest[source].clone()))
                .collect();
        }
    }
    for (source, &partitions) in plan.sources.iter().zip(partitions) {
        if !next.sources.contains_key(&source.name) {
            let allotted = begin(log, source, partitions).await?;
            next.sources.insert(source.name.clone(), allotted);
        }
    }
    Ok(next)
}

/// The sources that feed a step, with their partitions; of windows over windows the step that does.
pub(crate) fn feeders(plan: &Plan, step: usize, partitions: &[i32]) -> BTreeMap<String, i32> {
    if let Some(inner) = plan.fed_by(step) {
        let aggregate = plan.aggregate(inner);
        let partitions = aggregate.map_or(0, |aggregate| aggregate.partitions.cast_signed());
        return BTreeMap::from([(plan.steps[inner].name.clone(), partitions)]);
    }
    let feeder = |source: usize| (plan.sources[source].name.clone(), partitions[source]);
    sources_of(plan, step).into_iter().map(feeder).collect()
}

/// Where new generations begin, and the oldest offsets that were there then, by source and partition; none where nothing is computed anew.
async fn decide(
    log: &dyn Log,
    names: &PipelineNames,
    plan: &Plan,
    partitions: &[i32],
    begun: &[Begun<'_>],
) -> Result<(BTreeMap<usize, Cut>, Vec<Vec<i64>>), WorkerError> {
    if begun.iter().all(|new| new.before.is_empty()) {
        return Ok((cuts(log, names, plan, begun).await?, Vec::new()));
    }
    loop {
        let before = oldest(log, names, plan, partitions).await?;
        let cuts = cuts(log, names, plan, begun).await?;
        // Retention may have gone on meanwhile.
        if oldest(log, names, plan, partitions).await? == before {
            return Ok((cuts, before));
        }
    }
}

/// The oldest offset of each partition of each source, or where its task goes on if that is gone: it may have come farther than is visible,
/// in a transaction whose end is still to come.
async fn oldest(
    log: &dyn Log,
    names: &PipelineNames,
    plan: &Plan,
    partitions: &[i32],
) -> Result<Vec<Vec<i64>>, WorkerError> {
    let mut of_sources = Vec::with_capacity(partitions.len());
    for (source, &partitions) in plan.sources.iter().zip(partitions) {
        let mut oldest = Vec::new();
        for partition in 0..partitions {
            let earliest = log.offsets(&source.topic, partition).await?.earliest;
            let progress = progress::of_source(log, names, &source.name, partition).await?;
            let read_to = progress.map_or(0, |progress| progress.main.next_offset);
            oldest.push(earliest.min(read_to));
        }
        of_sources.push(oldest);
    }
    Ok(of_sources)
}

/// Where each partition of a source begins that was never read before.
async fn begin(
    log: &dyn Log,
    source: &Source,
    partitions: i32,
) -> Result<AllottedSource, LogError> {
    let mut allotted = AllottedSource::default();
    for partition in 0..partitions {
        let first = match source.start {
            // The oldest event that is there once a task begins: what retention takes until then was never promised.
            Start::Earliest => break,
            Start::Latest => log.offsets(&source.topic, partition).await?.end,
            Start::At(append_time_ms) => {
                log.offset_at(&source.topic, partition, append_time_ms)
                    .await?
            }
        };
        allotted.first.push(first);
    }
    Ok(allotted)
}

/// What the engine has to know of an allotment.
pub(crate) fn generations(allotment: &Allotment) -> Generations {
    let steps = allotment.steps.iter().map(|(name, step)| {
        let generation = StepGeneration {
            number: step.number,
            cut_ms: step.cut_ms,
        };
        (name.clone(), generation)
    });
    let outputs = allotment.outputs.iter();
    Generations {
        revision: allotment.revision,
        steps: steps.collect(),
        outputs: outputs
            .map(|(name, output)| (name.clone(), output.number))
            .collect(),
    }
}
