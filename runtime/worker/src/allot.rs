//! Allots generations: which version of each step and output writes, decided once and kept in the log.
//!
//! A changed aggregate step begins a new generation at a *cut*: windows that start before it are final and stay as they are,
//! all others are computed anew. The cut follows from how far the old generation has come, and stands in the log, so that every worker and
//! every replay agrees on it.
use tidewheel_engine::window::first_open;
use tidewheel_engine::wire::state::{StepKey, StepProgress};
use tidewheel_engine::{Generations, StepGeneration};
use tidewheel_log::{Log, NewRecord};
use tidewheel_planner::generations::{Allotment, AllottedStep, KEY};
use tidewheel_planner::names::PipelineNames;
use tidewheel_planner::plan::{Late, LatePolicy, Plan, Window};

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
    for (name, step) in &mut next.steps {
        let before = known.as_ref().and_then(|known| known.steps.get(name));
        if let Some(before) = before.filter(|before| before.number < step.number) {
            step.cut_ms = cut(log, names, name, before, step.size_ms).await?;
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

/// Where the generation that follows on `before`, with windows of `size_ms`, begins.
async fn cut(
    log: &dyn Log,
    names: &PipelineNames,
    step: &str,
    before: &AllottedStep,
    size_ms: i64,
) -> Result<Option<i64>, WorkerError> {
    let final_below_ms = final_below(log, names, step, before).await?;
    let cut_ms = final_below_ms.or(before.cut_ms);
    Ok(cut_ms.map(|ms| ms.div_euclid(size_ms) * size_ms))
}

/// Windows of the old generation that start before this are final: no partition of any source can add to them.
async fn final_below(
    log: &dyn Log,
    names: &PipelineNames,
    step: &str,
    before: &AllottedStep,
) -> Result<Option<i64>, WorkerError> {
    let topic = names.state(step);
    let Some(info) = log.topic(&topic).await? else {
        return Ok(None);
    };
    let window = Window::Tumbling {
        size_ms: before.size_ms,
    };
    let late = Late {
        allowed_ms: before.allowed_ms,
        policy: LatePolicy::Amend,
    };
    let mut lowest_ms: Option<i64> = None;
    for partition in 0..info.partitions {
        let values = read_compacted(log, &topic, partition).await?;
        let progress = values
            .get(&StepKey::Progress.encode(before.number))
            .map(|bytes| StepProgress::decode(bytes));
        let watermark_ms = progress
            .transpose()?
            .and_then(|progress| progress.watermark_ms);
        let Some(watermark_ms) = watermark_ms else {
            return Ok(None);
        };
        let open_ms = first_open(window, late, watermark_ms);
        lowest_ms = Some(lowest_ms.map_or(open_ms, |lowest_ms| lowest_ms.min(open_ms)));
    }
    Ok(lowest_ms)
}
