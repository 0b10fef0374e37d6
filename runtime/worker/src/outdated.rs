//! What earlier generations of a step have written to the topics of its outputs and a new one makes anew.
use std::collections::BTreeMap;

use bytes::Bytes;
use tidewheel_engine::sabotage::{self, Bug};
use tidewheel_engine::stage2::{Outdated, StepSetup, StepTask};
use tidewheel_log::{Log, LogError, read_to_end};
use tidewheel_planner::plan::StepKind;

/// The keys of the rows that the task has to remove before its generation writes, by output. The task has fenced its predecessor already.
pub(crate) async fn outdated(
    log: &dyn Log,
    setup: &StepSetup,
    generation: i64,
    cut_ms: i64,
) -> Result<BTreeMap<String, Vec<Bytes>>, LogError> {
    let step = &setup.plan.steps[setup.step];
    let StepKind::Aggregate(aggregate) = &step.kind else {
        return Ok(BTreeMap::new());
    };
    let tasks = i32::try_from(aggregate.partitions).unwrap_or(i32::MAX);
    let mut keys = BTreeMap::new();
    if sabotage::is(Bug::OutdatedRows) {
        return Ok(keys);
    }
    for output in StepTask::topics(setup) {
        let output = &setup.plan.outputs[output];
        let Some(topic) = output.topic() else {
            continue;
        };
        let partitions = log
            .topic(&topic.name)
            .await?
            .map_or(0, |info| info.partitions);
        let mut outdated = Outdated::new(generation, cut_ms, setup.partition, tasks);
        for partition in 0..partitions {
            read_to_end(log, &topic.name, partition, |record| outdated.see(&record)).await?;
        }
        keys.insert(output.name.clone(), outdated.into_keys());
    }
    Ok(keys)
}
