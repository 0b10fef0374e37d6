//! Allots generations: which version of each step and output writes, decided once and kept in the log.
//!
//! A changed aggregate step begins a new generation at a *cut*: windows that start before it are final and stay as they are,
//! all others are computed anew. The cut follows from how far the old generation has come, and stands in the log, so that every worker and
//! every replay agrees on it.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidewheel_engine::window::first_open;
use tidewheel_engine::wire::WireError;
use tidewheel_engine::wire::state::{StepKey, StepProgress};
use tidewheel_engine::{Generations, StepGeneration};
use tidewheel_log::{Log, NewRecord};
use tidewheel_planner::names::PipelineNames;
use tidewheel_planner::plan::{
    Aggregate, Late, LatePolicy, Plan, Relation, Stage, StepKind, TableKind, Window,
};
use xxhash_rust::xxh3::xxh3_128;

use crate::error::WorkerError;
use crate::recovery::read_compacted;

const VERSION: u8 = 1;
const KEY: &str = "plan";

/// The value of the key `plan` in a pipeline's generations topic, as JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allotment {
    version: u8,
    /// Counts the plans of the pipeline.
    pub revision: i64,
    /// Aggregate steps by name, those that are no longer there included: their numbers are not given out again.
    pub steps: BTreeMap<String, AllottedStep>,
    /// Row outputs by name.
    pub outputs: BTreeMap<String, AllottedOutput>,
}

/// The generation of an aggregate step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllottedStep {
    /// What it computes and for which outputs.
    pub fingerprint: String,
    /// Number of the generation.
    pub number: i64,
    /// Windows that start before this belong to earlier generations, ms.
    pub cut_ms: Option<i64>,
    /// Size of its windows, ms.
    pub size_ms: i64,
    /// Allowed lateness, ms.
    pub allowed_ms: i64,
}

/// The generation of a row output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllottedOutput {
    /// What it writes.
    pub fingerprint: String,
    /// Number of the generation.
    pub number: i64,
}

impl Allotment {
    /// Reads what was allotted to a pipeline.
    pub async fn read(log: &dyn Log, names: &PipelineNames) -> Result<Option<Self>, WorkerError> {
        let values = read_compacted(log, &names.generations(), 0).await?;
        let Some(value) = values.get(KEY.as_bytes()) else {
            return Ok(None);
        };
        let damaged = |reason: String| WireError {
            what: "allotment of generations",
            reason,
        };
        let allotment: Self =
            serde_json::from_slice(value).map_err(|error| damaged(error.to_string()))?;
        if allotment.version != VERSION {
            return Err(damaged(format!("version {} is not known here", allotment.version)).into());
        }
        Ok(Some(allotment))
    }

    fn generations(&self) -> Generations {
        let step = |step: &AllottedStep| StepGeneration {
            number: step.number,
            cut_ms: step.cut_ms,
        };
        Generations {
            revision: self.revision,
            steps: self
                .steps
                .iter()
                .map(|(name, allotted)| (name.clone(), step(allotted)))
                .collect(),
            outputs: self
                .outputs
                .iter()
                .map(|(name, allotted)| (name.clone(), allotted.number))
                .collect(),
        }
    }
}

/// The generations that `plan` runs with; new ones where it differs from what ran before.
pub(crate) async fn allot(
    log: &dyn Log,
    names: &PipelineNames,
    plan: &Plan,
) -> Result<Generations, WorkerError> {
    let mut producer = log.producer(&names.allotter()).await?;
    let known = Allotment::read(log, names).await?;
    let mut next = known.clone().unwrap_or_default();
    for (index, step) in plan.steps.iter().enumerate() {
        let StepKind::Aggregate(aggregate) = &step.kind else {
            continue;
        };
        let fingerprint = step_fingerprint(plan, index);
        let before = next.steps.get(&step.name);
        if before.is_some_and(|before| before.fingerprint == fingerprint) {
            continue;
        }
        let allotted =
            new_generation(log, names, &step.name, aggregate, fingerprint, before).await?;
        next.steps.insert(step.name.clone(), allotted);
    }
    for output in plan
        .outputs
        .iter()
        .filter(|output| output.table.kind == TableKind::Rows)
    {
        let fingerprint = digest(&format!(
            "{} {:?}",
            relation_fingerprint(plan, output.from),
            output.table
        ));
        let before = next.outputs.get(&output.name);
        if before.is_none_or(|before| before.fingerprint != fingerprint) {
            let number = before.map_or(1, |before| before.number + 1);
            next.outputs.insert(
                output.name.clone(),
                AllottedOutput {
                    fingerprint,
                    number,
                },
            );
        }
    }
    if known.as_ref() != Some(&next) {
        next.version = VERSION;
        next.revision += 1;
        let value = serde_json::to_vec(&next).unwrap_or_default();
        producer
            .commit(vec![NewRecord {
                topic: names.generations(),
                partition: Some(0),
                key: Some(KEY.into()),
                value: Some(value.into()),
                headers: Vec::new(),
            }])
            .await?;
    }
    Ok(next.generations())
}

async fn new_generation(
    log: &dyn Log,
    names: &PipelineNames,
    step: &str,
    aggregate: &Aggregate,
    fingerprint: String,
    before: Option<&AllottedStep>,
) -> Result<AllottedStep, WorkerError> {
    let Window::Tumbling { size_ms } = aggregate.window;
    let allowed_ms = aggregate.late.allowed_ms;
    let (number, cut_ms) = match before {
        None => (1, None),
        Some(before) => {
            let final_below_ms = final_below(log, names, step, before).await?;
            let cut_ms = final_below_ms.map(|ms| ms.div_euclid(size_ms) * size_ms);
            (
                before.number + 1,
                cut_ms.or(before.cut_ms.map(|ms| ms.div_euclid(size_ms) * size_ms)),
            )
        }
    };
    Ok(AllottedStep {
        fingerprint,
        number,
        cut_ms,
        size_ms,
        allowed_ms,
    })
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

/// The step itself and everything that its windows are made into: a change of any of it computes windows anew.
fn step_fingerprint(plan: &Plan, step: usize) -> String {
    let mut text = plan.steps[step].fingerprint.clone();
    if let StepKind::Aggregate(aggregate) = &plan.steps[step].kind {
        // Another number of partitions sends groups to other tasks than those that have their state.
        text.push_str(&format!(" {}", aggregate.partitions));
    }
    for output in &plan.outputs {
        let Relation::Step(from) = output.from else {
            continue;
        };
        if from == step || plan.steps[from].stage == Stage::Two(step) {
            text.push_str(&format!(
                " {} {} {:?} {}",
                output.name, output.sink, output.table, plan.steps[from].fingerprint
            ));
        }
    }
    digest(&text)
}

fn relation_fingerprint(plan: &Plan, relation: Relation) -> String {
    match relation {
        Relation::Step(step) => plan.steps[step].fingerprint.clone(),
        Relation::Source(source) => digest(&format!(
            "{:?} {:?}",
            plan.sources[source].events, plan.sources[source].key
        )),
    }
}

fn digest(text: &str) -> String {
    format!("{:032x}", xxh3_128(text.as_bytes()))
}
