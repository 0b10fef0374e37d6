//! Allots generations: which version of each step and output writes, decided once and kept in the log.
//!
//! A changed aggregate step begins a new generation at a *cut*: windows that start before it are final and stay as they are,
//! all others are computed anew. The cut follows from how far the old generation has come, and stands in the log, so that every worker and
//! every replay agrees on it.
use tidewheel_engine::{Generations, StepGeneration};
use tidewheel_log::{Log, NewRecord};
use tidewheel_planner::generations::{Allotment, KEY};
use tidewheel_planner::names::PipelineNames;
use tidewheel_planner::plan::Plan;

use crate::cut::cut;
use crate::error::WorkerError;
use crate::recovery::read_compacted;

/// What is allotted to a pipeline; none while no worker has run it.
///
/// # Errors
/// The generations topic is not there, cannot be read, or holds what this build does not know.
pub async fn read_allotment(
    log: &dyn Log,
    names: &PipelineNames,
) -> Result<Option<Allotment>, WorkerError> {
    let topic = names.generations();
    if log.topic(&topic).await?.is_none() {
        return Err(WorkerError::NoTopic { topic });
    }
    let values = read_compacted(log, &topic, 0).await?;
    let value = values.get(KEY.as_bytes());
    Ok(value.map(|value| Allotment::decode(value)).transpose()?)
}

/// The generations that `plan` runs with; new ones where it differs from what ran before.
pub(crate) async fn allot(
    log: &dyn Log,
    names: &PipelineNames,
    plan: &Plan,
) -> Result<Generations, WorkerError> {
    let mut producer = log.producer(&names.allotter()).await?;
    let known = read_allotment(log, names).await?;
    let mut next = Allotment::of(plan, known.as_ref())?;
    for (index, planned) in plan.steps.iter().enumerate() {
        let name = &planned.name;
        let Some(step) = next.steps.get_mut(name) else {
            continue;
        };
        let before = known.as_ref().and_then(|known| known.steps.get(name));
        if let Some(before) = before.filter(|before| before.number < step.number) {
            step.cut_ms = cut(log, names, plan, index, before, step.size_ms).await?;
        }
    }
    if known.as_ref() != Some(&next) {
        producer
            .commit(vec![NewRecord {
                topic: names.generations(),
                partition: Some(0),
                key: Some(KEY.into()),
                value: Some(next.encode().into()),
                headers: Vec::new(),
            }])
            .await?;
    }
    Ok(generations(&next))
}

/// What the engine has to know of an allotment.
fn generations(allotment: &Allotment) -> Generations {
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
