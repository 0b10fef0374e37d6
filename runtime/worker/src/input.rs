//! One input of a pipeline: a member of its consumer group, and a task for each partition that the group gives it.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tidewheel_engine::EngineError;
use tidewheel_log::{Assignment, LogError, Member};
use tidewheel_sinks::SinkError;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::error::AttemptError;
use crate::source_attempt::SourceAttempt;
use crate::status::{Membership, TaskKey};
use crate::step_attempt::StepAttempt;
use crate::topics::await_topics;

/// How often a group is told how far its partitions were read, for the tools that watch lag.
const REPORT_EVERY_MS: i64 = 5_000;

/// What the tasks of an input are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// Index of a source in the plan.
    Source(usize),
    /// Index of an aggregate step in the plan.
    Step(usize),
}

impl Input {
    pub(crate) fn name(self, context: &Context) -> String {
        match self {
            Self::Source(source) => context.plan.sources[source].name.clone(),
            Self::Step(step) => context.plan.steps[step].name.clone(),
        }
    }

    fn group_and_topic(self, context: &Context) -> (String, String) {
        let name = self.name(context);
        match self {
            Self::Source(source) => (
                context.names.source_group(&name),
                context.plan.sources[source].topic.clone(),
            ),
            Self::Step(_) => {
                let number = context.generation(&name);
                let group = context.names.partials_group(&name, number);
                (group, context.partials(&name))
            }
        }
    }
}

/// How a task ended.
enum Ended {
    /// It was told to.
    Stopped,
    /// A newer plan has it.
    Outdated,
}

/// One run of a task: a partition may come back while its last run is still ending.
type Run = (i32, u64);
type Running = BTreeMap<i32, (u64, CancellationToken)>;
type Tasks = FuturesUnordered<BoxFuture<'static, (Run, Ended)>>;

/// Works on an input until told to stop, or until a newer plan has taken it.
pub(crate) async fn run(context: Arc<Context>, input: Input, stop: CancellationToken) {
    let mut pause = Duration::from_millis(100);
    let name = input.name(&context);
    while !stop.is_cancelled() {
        context.board.joined(&name, Membership::Joining);
        match work(&context, input, &stop).await {
            Ok(()) => return,
            Err(error) => {
                context.board.joined(&name, Membership::Joining);
                // Its tasks have ended with it.
                context.board.hold_up(&name, &error.to_string());
                tracing::warn!(input = name, %error, "cannot go on in the consumer group; joining again")
            }
        }
        tokio::select! {
            biased;
            () = context.timer.sleep(pause) => {}
            () = stop.cancelled() => {}
        }
        pause = (pause * 2).min(context.limits.longest_pause);
    }
}

async fn work(
    context: &Arc<Context>,
    input: Input,
    stop: &CancellationToken,
) -> Result<(), LogError> {
    let (group, topic) = input.group_and_topic(context);
    let name = input.name(context);
    let joining = async {
        await_topics(context, input).await?;
        context.log.join(&group, &topic).await
    };
    let mut member = tokio::select! {
        biased;
        () = stop.cancelled() => return Ok(()),
        joined = joining => joined?,
    };
    let mut running = Running::new();
    let mut runs = 0;
    let mut tasks = Tasks::new();
    let mut report_at_ms = context.timer.now_ms() + REPORT_EVERY_MS;
    loop {
        let until_report_ms = u64::try_from(report_at_ms - context.timer.now_ms()).unwrap_or(0);
        tokio::select! {
            biased;
            () = stop.cancelled() => {
                stop_all(&running, &mut tasks).await;
                return leave(member).await;
            }
            assignment = member.next() => match assignment? {
                Assignment::Assigned(partitions) => {
                    context.board.joined(&name, Membership::Member);
                    for partition in partitions {
                        let task_stop = CancellationToken::new();
                        runs += 1;
                        running.insert(partition, (runs, task_stop.clone()));
                        tasks.push(begin_task(context.clone(), input, (partition, runs), task_stop));
                    }
                }
                Assignment::Revoked(partitions) => {
                    let taken: Running = partitions.iter().filter_map(|partition| running.remove_entry(partition)).collect();
                    taken.values().for_each(|(_, task)| task.cancel());
                    finish(&taken, &mut tasks).await;
                }
                // Somebody else has them already: whatever these tasks still try is fenced.
                Assignment::Lost(partitions) => {
                    tracing::warn!(input = name, ?partitions, "the consumer group was lost: its partitions are let go until it answers");
                    context.board.joined(&name, Membership::Joining);
                    partitions.iter().filter_map(|partition| running.remove(partition)).for_each(|(_, task)| task.cancel());
                }
            },
            Some(((partition, run), ended)) = tasks.next(), if !tasks.is_empty() => {
                if running.get(&partition).is_some_and(|(current, _)| *current == run) {
                    running.remove(&partition);
                }
                if matches!(ended, Ended::Outdated) {
                    tracing::info!(input = name, "a newer plan has taken over");
                    context.board.joined(&name, Membership::Superseded);
                    stop_all(&running, &mut tasks).await;
                    return leave(member).await;
                }
            }
            () = context.timer.sleep(Duration::from_millis(until_report_ms)) => {
                report(context, &name, &running, member.as_mut()).await;
                report_at_ms = context.timer.now_ms() + REPORT_EVERY_MS;
            }
        }
    }
}

/// Tells the group how far its partitions were read. Nobody goes on from there, so a report that fails is not missed.
async fn report(context: &Context, input: &str, running: &Running, member: &mut dyn Member) {
    for &partition in running.keys() {
        let key = (input.to_owned(), partition);
        let Some(next_offset) = context.board.next_offset(&key) else {
            continue;
        };
        if let Err(error) = member.report(partition, next_offset).await {
            tracing::debug!(task = ?key, %error, "the group was not told how far the task is");
            return;
        }
    }
}

async fn leave(member: Box<dyn Member>) -> Result<(), LogError> {
    member.leave().await
}

async fn stop_all(running: &Running, tasks: &mut Tasks) {
    running.values().for_each(|(_, task)| task.cancel());
    while tasks.next().await.is_some() {}
}

/// Waits until the tasks of these partitions have ended.
async fn finish(taken: &Running, tasks: &mut Tasks) {
    let mut left = taken.len();
    while left > 0 {
        match tasks.next().await {
            Some(((partition, run), _))
                if taken
                    .get(&partition)
                    .is_some_and(|(taken, _)| *taken == run) =>
            {
                left -= 1
            }
            Some(_) => {}
            None => return,
        }
    }
}

/// Begins the task of a partition. It computes apart from the group, to whose other members it would look dead meanwhile, and from the
/// other tasks.
fn begin_task(
    context: Arc<Context>,
    input: Input,
    run: Run,
    stop: CancellationToken,
) -> BoxFuture<'static, (Run, Ended)> {
    let timer = context.timer.clone();
    let (task, ended) = run_task(context, input, run.0, stop).remote_handle();
    let running = timer.spawn(Box::pin(task));
    Box::pin(async move {
        running.await;
        (run, ended.await)
    })
}

/// Attempts a task again and again until it is told to stop or a newer plan has it.
async fn run_task(
    context: Arc<Context>,
    input: Input,
    partition: i32,
    stop: CancellationToken,
) -> Ended {
    let key: TaskKey = (input.name(&context), partition);
    let first_pause = Duration::from_millis(50);
    let mut pause = first_pause;
    let ended = loop {
        let attempt_began_ms = context.timer.now_ms();
        context
            .board
            .update(&key, |status| status.work.attempts += 1);
        match attempt(&context, input, &key, &stop).await {
            Ok(()) | Err(AttemptError::Stopped) => break Ended::Stopped,
            Err(
                AttemptError::Engine(EngineError::Outdated { .. }) | AttemptError::Superseded(_),
            ) => break Ended::Outdated,
            Err(error) => {
                tracing::warn!(task = ?key, %error, "the task begins again from its state");
                context.board.update(&key, |status| {
                    status.at_end = false;
                    status.blocked = Some(error.to_string());
                    status.blocked_until_mended = error.needs_mending();
                    if !matches!(error, AttemptError::Sink(SinkError::Unavailable { .. })) {
                        status.blocked_by_sink = None;
                    }
                });
            }
        }
        if context.timer.now_ms() - attempt_began_ms > 10_000 {
            pause = first_pause;
        }
        tokio::select! {
            biased;
            () = context.timer.sleep(pause) => {}
            () = stop.cancelled() => break Ended::Stopped,
        }
        pause = (pause * 2).min(context.limits.longest_pause);
    };
    context.board.remove(&key);
    ended
}

async fn attempt(
    context: &Context,
    input: Input,
    key: &TaskKey,
    stop: &CancellationToken,
) -> Result<(), AttemptError> {
    match input {
        Input::Source(source) => {
            let begin = SourceAttempt::begin(context, source, key, stop);
            let mut begun = unless_stopped(begin, stop).await?;
            in_time(context, key, begun.run(), stop).await
        }
        Input::Step(step) => {
            let begin = StepAttempt::begin(context, step, key, stop);
            let mut begun = unless_stopped(begin, stop).await?;
            in_time(context, key, begun.run(), stop).await
        }
    }
}

/// Lets a task that was told to stop finish what it has in hand, but not for ever: a sink or a log that does not answer would keep
/// the process, and whoever is to have the partition next, waiting. A commit that is given up has happened or not; the next owner finds out.
async fn in_time(
    context: &Context,
    key: &TaskKey,
    run: impl Future<Output = Result<(), AttemptError>>,
    stop: &CancellationToken,
) -> Result<(), AttemptError> {
    let patience = context.limits.finish_within;
    let too_long = async {
        stop.cancelled().await;
        context.timer.sleep(patience).await;
    };
    tokio::select! {
        biased;
        ended = run => ended,
        () = too_long => {
            tracing::warn!(task = ?key, "what was in hand when the task was told to stop is given up after {} s; nothing is lost by that", patience.as_secs());
            Err(AttemptError::Stopped)
        }
    }
}

/// Taking a task over may wait for a log that does not answer; whoever stops does not wait for that.
async fn unless_stopped<T>(
    begin: impl Future<Output = Result<T, AttemptError>>,
    stop: &CancellationToken,
) -> Result<T, AttemptError> {
    tokio::select! {
        biased;
        begun = begin => begun,
        () = stop.cancelled() => Err(AttemptError::Stopped),
    }
}
