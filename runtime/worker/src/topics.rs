//! The topics that an input needs. A worker makes none: it waits for them.
use std::time::Duration;

use tidewheel_log::LogError;
use tidewheel_planner::plan::{Output, StepKind};

use crate::context::{Context, sources_of};
use crate::input::Input;
use crate::status::TaskKey;

const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Waits until all topics of an input are there. What it waits for stands in the status of its partitions.
pub(crate) async fn await_topics(context: &Context, input: Input) -> Result<(), LogError> {
    let tasks = tasks(context, input).await?;
    let awaited = look_again(context, input, &tasks).await;
    tasks.iter().for_each(|task| context.board.remove(task));
    awaited
}

async fn look_again(context: &Context, input: Input, tasks: &[TaskKey]) -> Result<(), LogError> {
    let mut pause = FIRST_PAUSE;
    while let Some(topic) = missing(context, input).await? {
        let reason =
            format!("waiting for topic {topic}, which `tidewheel provision` or the operator makes");
        tracing::info!(input = input.name(context), "{reason}");
        for task in tasks {
            context.board.update(task, |status| {
                status.stage = match input {
                    Input::Source(_) => 1,
                    Input::Step(_) => 2,
                };
                status.blocked = Some(reason.clone());
                status.blocked_until_mended = false;
            });
        }
        context.timer.sleep(pause).await;
        pause = (pause * 2).min(context.limits.longest_pause);
    }
    Ok(())
}

/// The first topic of an input that is not there.
async fn missing(context: &Context, input: Input) -> Result<Option<String>, LogError> {
    for topic in topics(context, input) {
        if context.log.topic(&topic).await?.is_none() {
            return Ok(Some(topic));
        }
    }
    Ok(None)
}

/// What the tasks of an input read and write.
fn topics(context: &Context, input: Input) -> Vec<String> {
    let (plan, names) = (&context.plan, &context.names);
    let partials = |step: usize| context.partials(&plan.steps[step].name);
    let mut topics = vec![names.state(&input.name(context)), names.dead_letters()];
    // The outputs of a pipeline move together.
    let outputs = plan.outputs.iter().filter_map(Output::topic);
    topics.extend(outputs.map(|topic| topic.name.clone()));
    match input {
        Input::Step(step) => {
            topics.push(partials(step));
            topics.extend(plan.fed_from(step).map(partials));
        }
        Input::Source(source) => {
            topics.push(names.watermarks());
            let feeds = |step: &usize| {
                matches!(plan.steps[*step].kind, StepKind::Aggregate(_))
                    && plan.fed_by(*step).is_none()
                    && sources_of(plan, *step).contains(&source)
            };
            topics.extend((0..plan.steps.len()).filter(feeds).map(partials));
        }
    }
    topics
}

/// The tasks that the input has in all workers together.
async fn tasks(context: &Context, input: Input) -> Result<Vec<TaskKey>, LogError> {
    let partitions = match input {
        Input::Source(source) => context.source_partitions().await?[source],
        Input::Step(step) => match &context.plan.steps[step].kind {
            StepKind::Aggregate(aggregate) => aggregate.partitions.cast_signed(),
            StepKind::Rows(_) | StepKind::Deduplicate(_) => 0,
        },
    };
    let name = input.name(context);
    Ok((0..partitions)
        .map(|partition| (name.clone(), partition))
        .collect())
}
