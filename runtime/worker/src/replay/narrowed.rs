//! The part of a plan that is replayed: windows in tables, each emitted once.
use std::collections::BTreeMap;

use tidewheel_planner::plan::{LatePolicy, Output, Plan, Relation, Stage, StepKind, TableKind};

use super::range::{Range, starts_in};
use super::{Read, ReplayError, ReplayedOutput};

/// An output that a replay leaves as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Untouched {
    /// Its name.
    pub output: String,
    /// Why.
    pub why: Why,
}

/// Why an output is left as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It has rows of events and not of windows.
    Rows,
    /// It goes to a topic, in which nothing can be replaced.
    Topic,
}

/// The windows of the plan's tables that lie in `range` as a whole. `numbers`: the generations of aggregate steps.
pub(super) fn replayed_outputs(
    plan: &Plan,
    numbers: &BTreeMap<String, i64>,
    range: Range,
) -> Result<Vec<ReplayedOutput>, ReplayError> {
    let mut replayed = Vec::new();
    for (index, output) in plan.outputs.iter().enumerate() {
        let Some(step) = step_of(plan, output).filter(|_| is_replayed(output)) else {
            continue;
        };
        let StepKind::Aggregate(aggregate) = &plan.steps[step].kind else {
            continue;
        };
        let (window, name) = (aggregate.window, &plan.steps[step].name);
        let starts_ms = starts_in(window, range).ok_or_else(|| ReplayError::NoWindow {
            step: name.clone(),
            size_ms: window.size_ms(),
        })?;
        replayed.push(ReplayedOutput {
            output: index,
            step: name.clone(),
            generation: numbers.get(name).copied().unwrap_or(1),
            starts_ms,
            size_ms: window.size_ms(),
            every_ms: window.every_ms(),
        });
    }
    match replayed.is_empty() {
        true => Err(ReplayError::NoWindows),
        false => Ok(replayed),
    }
}

/// The outputs that are left as they are.
pub(super) fn untouched(plan: &Plan) -> Vec<Untouched> {
    let left = plan.outputs.iter().filter(|output| !is_replayed(output));
    let left = left.map(|output| Untouched {
        output: output.name.clone(),
        why: match output.table() {
            Some(_) => Why::Rows,
            None => Why::Topic,
        },
    });
    left.collect()
}

/// The plan with nothing but what is replayed, as it is replayed: each window once, when it takes no more rows, which is what an amended one
/// has come to by then.
///
/// Its sources have the partitions that are read.
pub(super) fn narrowed(plan: &Plan, replayed: &[ReplayedOutput], reads: &[Read]) -> Plan {
    let mut narrowed = plan.clone();
    for source in &mut narrowed.sources {
        let of_source = reads.iter().filter(|read| read.source == source.name);
        source.partitions = u32::try_from(of_source.count()).unwrap_or(u32::MAX);
    }
    narrowed.outputs = replayed
        .iter()
        .map(|replayed| plan.outputs[replayed.output].clone())
        .collect();
    for step in &mut narrowed.steps {
        if let StepKind::Aggregate(aggregate) = &mut step.kind {
            aggregate.late.policy = LatePolicy::Drop;
        }
    }
    narrowed
}

fn is_replayed(output: &Output) -> bool {
    output.table().is_some() && *output.kind() != TableKind::Rows
}

/// The aggregate step whose windows an output has; none where it has rows of events.
fn step_of(plan: &Plan, output: &Output) -> Option<usize> {
    let Relation::Step(from) = output.from else {
        return None;
    };
    match (&plan.steps[from].kind, plan.steps[from].stage) {
        (StepKind::Aggregate(_), _) => Some(from),
        (_, Stage::Two(step)) => Some(step),
        (_, Stage::One) => None,
    }
}
