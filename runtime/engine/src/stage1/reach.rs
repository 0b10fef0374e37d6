//! What belongs to a source: the steps and outputs that its records reach, and the sources that it waits with.
use std::collections::{BTreeMap, BTreeSet};

use tidewheel_planner::plan::{Plan, Relation, Stage, StepKind, TableKind};

use super::SourceSetup;

/// The stage-1 steps that are reached from a source, in order.
pub(super) fn reached(plan: &Plan, source: usize) -> Vec<usize> {
    let mut steps: Vec<usize> = Vec::new();
    for (index, step) in plan.steps.iter().enumerate() {
        let from_here = step.kind.reads().iter().any(|&relation| match relation {
            Relation::Source(other) => other == source,
            Relation::Step(other) => steps.contains(&other),
        });
        if step.stage == Stage::One && from_here {
            steps.push(index);
        }
    }
    steps
}

/// The sources that feed an aggregate step which this one feeds too, and their partitions: they wait for each other.
pub(super) fn companions(setup: &SourceSetup) -> BTreeMap<String, i32> {
    let plan = &setup.plan;
    let fed = |source: usize| -> BTreeSet<usize> {
        let is_aggregate = |&step: &usize| matches!(plan.steps[step].kind, StepKind::Aggregate(_));
        reached(plan, source)
            .into_iter()
            .filter(is_aggregate)
            .collect()
    };
    let ours = fed(setup.source);
    let partitions = setup.source_partitions.iter().enumerate();
    partitions
        .filter(|&(source, _)| !ours.is_disjoint(&fed(source)))
        .map(|(source, &partitions)| (plan.sources[source].name.clone(), partitions))
        .collect()
}

/// The row outputs that are reached from a source.
pub(super) fn row_outputs(plan: &Plan, source: usize, steps: &[usize]) -> Vec<usize> {
    let reached = |relation: Relation| match relation {
        Relation::Source(other) => other == source,
        Relation::Step(step) => steps.contains(&step),
    };
    (0..plan.outputs.len())
        .filter(|&output| {
            *plan.outputs[output].kind() == TableKind::Rows && reached(plan.outputs[output].from)
        })
        .collect()
}
