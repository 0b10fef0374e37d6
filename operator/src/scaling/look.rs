//! From what workers show to what is decided and told. Pure, but for the time.
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use k8s_openapi::jiff::Timestamp;
use tidewheel_crds::Duration;
use tidewheel_crds::status::{ScalingInputs, ScalingStatus};

use super::autoscaler::Decision;
use super::decision::{Bounds, Situation, decisive};
use super::exposition::{Shown, Task, Windows};
use super::progress::{Flow, Inputs, Unknown};
use super::scrape::Scraped;
use super::told::{Blocked, Seen};
use super::{Known, Scalings};
use crate::conditions::{Aspect, Finding, Reason};
use crate::resource::{Declared, Pipeline};

/// What was found of workers that run.
pub(super) struct Look {
    pub(super) bounds: Bounds,
    /// How many workers there are, where this process has decided nothing yet.
    pub(super) found: Option<u32>,
    /// The last decision, of whoever it was.
    pub(super) measured: Option<ScalingStatus>,
    pub(super) ready: u32,
    pub(super) scraped: Scraped,
}

/// What follows.
pub(super) struct Outcome {
    /// Whether something else is to be told than before, or done.
    pub(super) is_news: bool,
    pub(super) decided: Option<Decided>,
}

/// What was decided.
pub(super) struct Decided {
    pub(super) is_up: bool,
    pub(super) message: String,
}

impl Scalings {
    /// Takes what was found of a Pipeline.
    pub(super) fn see(&self, pipeline: &Pipeline, look: &Look) -> Outcome {
        let now = Instant::now();
        let mut scalings = self.0.lock();
        let known = scalings.entry(uid(pipeline)).or_default();
        known.recall(look.measured.as_ref(), now);
        known.autoscaler.replicas(look.found, &look.bounds, 0);
        known.look(pipeline, now, look)
    }

    /// Takes that a Pipeline is suspended.
    pub(super) fn see_suspended(&self, pipeline: &Pipeline) -> Outcome {
        let mut scalings = self.0.lock();
        let known = scalings.entry(uid(pipeline)).or_default();
        known.progress.pause();
        known.autoscaler.suspend();
        Outcome {
            is_news: known.teller.see(Instant::now(), &Seen::Suspended),
            decided: None,
        }
    }
}

fn uid(pipeline: &Pipeline) -> String {
    pipeline.metadata.uid.clone().unwrap_or_default()
}

impl Known {
    /// Takes what was measured before this process began.
    fn recall(&mut self, measured: Option<&ScalingStatus>, now: Instant) {
        let is_new = !std::mem::replace(&mut self.is_recalled, true);
        let inputs = measured.and_then(|measured| measured.inputs.as_ref());
        if let Some(inputs) = inputs.filter(|_| is_new)
            && let Some(rate) = inputs.rate_per_replica
        {
            self.progress.remember(&inputs.input, rate as f64, now);
        }
    }

    fn look(&mut self, pipeline: &Pipeline, now: Instant, look: &Look) -> Outcome {
        let (bounds, ready, scraped) = (look.bounds, look.ready, &look.scraped);
        let flows = self
            .progress
            .look(now, self.inputs.as_ref(), &scraped.shown);
        let partitions = self.partitions();
        let blocked = blocked(pipeline, self.inputs.as_ref(), scraped.shown.values());
        let windows = windows(scraped.shown.values());
        let situation = Situation {
            flows: flows.as_deref().ok(),
            is_blocked: all_blocked(scraped.shown.values()),
            replicas: self.autoscaler.decided().unwrap_or_default(),
            ready,
            partitions,
        };
        let (recommended, decision) = self.autoscaler.look(now, &bounds, &situation);
        let decided = decision.map(|decision| {
            let decisive = situation.flows.and_then(|flows| decisive(flows, &bounds));
            let message = message(&decision, &bounds, decisive);
            self.teller.told.decision = Some(status(&decision, &situation, decisive, &message));
            Decided {
                is_up: decision.to > decision.from,
                message,
            }
        });
        let lag = match &flows {
            Ok(flows) => Ok(flows.iter().map(|flow| flow.lag).sum()),
            Err(unknown) => Err(why(unknown, ready, scraped)),
        };
        let seen = Seen::Running {
            lag,
            blocked,
            windows,
            recommended,
            bounds,
            partitions,
        };
        let is_news = self.teller.see(now, &seen) || decided.is_some();
        Outcome { is_news, decided }
    }
}

/// Why nobody knows how much waits.
fn why(unknown: &Unknown, ready: u32, scraped: &Scraped) -> String {
    if ready == 0 {
        return "no worker is ready".to_owned();
    }
    if !scraped.failed.is_empty() {
        return "a worker does not answer the operator on port 9090: does a NetworkPolicy keep them apart?".to_owned();
    }
    match unknown {
        Unknown::Partition((input, _)) => {
            format!("no worker shows how far every partition of `{input}` was read")
        }
        Unknown::Nothing => "no worker shows any task".to_owned(),
        Unknown::Early => "it was looked at once only".to_owned(),
    }
}

/// Whether no task goes on that has something to do. While some do, more workers have some of it to do as well.
fn all_blocked<'a>(shown: impl Iterator<Item = &'a Shown>) -> bool {
    let (mut is_one_blocked, mut goes_one_on) = (false, false);
    for task in shown.flat_map(|shown| shown.tasks.values()) {
        is_one_blocked |= task.is_blocked;
        goes_one_on |= !task.is_blocked && task.lag.is_some_and(|lag| lag > 0);
    }
    is_one_blocked && !goes_one_on
}

/// The tasks that cannot go on.
fn blocked<'a>(
    pipeline: &Pipeline,
    inputs_of_plan: Option<&Inputs>,
    shown: impl Iterator<Item = &'a Shown> + Clone,
) -> Option<Blocked> {
    let tasks = || shown.clone().flat_map(|shown| &shown.tasks);
    let inputs = |is_meant: fn(&Task) -> bool| {
        let meant = tasks().filter(|(_, task)| is_meant(task));
        let inputs: BTreeSet<String> = meant.map(|((input, _), _)| format!("`{input}`")).collect();
        inputs.into_iter().collect::<Vec<_>>().join(" and ")
    };
    let to_mend = inputs(|task| task.needs_mending);
    if !to_mend.is_empty() {
        let message = format!(
            "tasks of {to_mend} cannot go on before somebody mends what the logs of their workers name: \
             {}",
            logs_of(pipeline)
        );
        return Some(Blocked {
            reason: Reason::NeedsMending,
            message,
        });
    }
    let superseded = superseded(inputs_of_plan, shown.clone());
    if !superseded.is_empty() {
        let message = format!(
            "nobody processes {superseded}: the workers that should have left it to those of a newer plan, or found its outputs written by one. \
             Where this lasts, two installations share the outputs, or an older build has written them: \
             {}",
            logs_of(pipeline)
        );
        return Some(Blocked {
            reason: Reason::Superseded,
            message,
        });
    }
    let blocked = inputs(|task| task.is_blocked);
    if blocked.is_empty() {
        return None;
    }
    let sinks: BTreeSet<&str> = shown
        .clone()
        .flat_map(|shown| shown.awaited_sinks.iter().map(String::as_str))
        .collect();
    let what = if sinks.is_empty() {
        "the logs of their workers say why".to_owned()
    } else {
        let sinks: Vec<&str> = sinks.into_iter().collect();
        format!("they wait for the Sink {}", sinks.join(" and "))
    };
    Some(Blocked {
        reason: Reason::Blocked,
        message: format!("tasks of {blocked} cannot go on, which is tried again: {what}"),
    })
}

/// The command that shows what its workers say.
fn logs_of(pipeline: &Pipeline) -> String {
    format!(
        "kubectl logs --namespace {} --selector tidewheel.dev/pipeline={}",
        pipeline.namespace(),
        pipeline.name()
    )
}

/// The inputs of the plan that workers have left to those of a newer one, of which there are none.
fn superseded<'a>(
    inputs_of_plan: Option<&Inputs>,
    shown: impl Iterator<Item = &'a Shown> + Clone,
) -> String {
    let of_others: BTreeSet<&String> = shown.clone().flat_map(|shown| &shown.inputs).collect();
    let left: BTreeSet<&String> = shown.flat_map(|shown| &shown.superseded).collect();
    let is_planned =
        |input: &&&String| inputs_of_plan.is_none_or(|inputs| inputs.contains_key(input.as_str()));
    let left = left.difference(&of_others).filter(is_planned);
    let left = left.map(|input| format!("`{input}`"));
    left.collect::<Vec<_>>().join(" and ")
}

/// What changed steps could not compute anew; none where no worker says.
fn windows<'a>(shown: impl Iterator<Item = &'a Shown>) -> Option<Finding> {
    let mut is_shown = false;
    let mut steps = BTreeMap::new();
    for worker in shown {
        is_shown = true;
        steps.extend(&worker.not_recomputed);
    }
    if !is_shown {
        return None;
    }
    let (reason, message) = if steps.is_empty() {
        let message = "whatever changed steps were to compute anew could be computed".to_owned();
        (Reason::Recomputed, message)
    } else {
        let steps = steps
            .into_iter()
            .map(|(step, windows)| left_open(step, windows));
        (Reason::EventsGone, steps.collect::<Vec<_>>().join("; "))
    };
    Some(Finding::new(Aspect::Windows, reason, message))
}

fn left_open(step: &str, windows: &Windows) -> String {
    let begin = match windows.from {
        Some(from) => format!("from {} on and before {}", time(from), time(windows.until)),
        None => format!("before {}", time(windows.until)),
    };
    format!(
        "windows of `{step}` that begin {begin} stay as they were before the step was changed: retention has taken events of theirs, or they are made of sessions that are not computed again"
    )
}

/// Event time, as Unix time, for people.
fn time(seconds: f64) -> String {
    let time = Timestamp::from_millisecond((seconds * 1_000.0) as i64);
    time.map_or_else(|_| format!("{seconds} s"), |time| time.to_string())
}

fn message(decision: &Decision, bounds: &Bounds, decisive: Option<&Flow>) -> String {
    let Decision { from, to, limit } = decision;
    let limit = limit.map(|limit| format!(", limited by {}", limit.as_str()));
    let limit = limit.unwrap_or_default();
    let Some(flow) = decisive else {
        return format!("{from} to {to} workers{limit}");
    };
    let done = flow.per_replica.map_or_else(
        || "as many are done".to_owned(),
        |rate| format!("one worker gets {rate:.0} done"),
    );
    format!(
        "{from} to {to} workers{limit}: of `{}` {} records wait, which are to be done within {}, {:.0} come in a second, and {done}",
        flow.input,
        flow.lag,
        seconds(bounds.catch_up_within.as_secs_f64()),
        flow.incoming,
    )
}

/// The decision, as the status has it.
fn status(
    decision: &Decision,
    situation: &Situation<'_>,
    decisive: Option<&Flow>,
    message: &str,
) -> ScalingStatus {
    let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let small = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    let inputs = decisive.map(|flow| ScalingInputs {
        input: flow.input.clone(),
        lag: whole(flow.lag),
        incoming_rate: flow.incoming.ceil() as i64,
        rate_per_replica: flow.per_replica.map(|rate| rate.ceil() as i64),
        time_to_drain: flow
            .per_replica
            .filter(|_| situation.ready > 0)
            .map(|rate| seconds(flow.lag as f64 / (rate * f64::from(situation.ready)))),
        ready_replicas: small(situation.ready),
        partitions: small(situation.partitions),
    });
    ScalingStatus {
        replicas: small(decision.to),
        decided_at: Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        limited_by: decision.limit.map(|limit| limit.as_str().to_owned()),
        message: message.to_owned(),
        inputs,
    }
}

/// Whole seconds, at least one where there are any: no more than a duration can say.
fn seconds(seconds: f64) -> Duration {
    Duration::from_secs(seconds.ceil().clamp(0.0, 999_999_999.0) as u64)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;

    fn pipeline() -> Pipeline {
        let json = json!({"metadata": {"name": "kpis", "namespace": "shop", "uid": "u"}});
        serde_json::from_value(json).unwrap()
    }

    fn bounds(max: u32) -> Bounds {
        Bounds {
            min: 1,
            max,
            catch_up_within: std::time::Duration::from_secs(30),
        }
    }

    fn scraped(tasks: &[(u32, Task)]) -> Scraped {
        let tasks = tasks
            .iter()
            .map(|(partition, task)| (("clicks".to_owned(), *partition), task.clone()));
        let shown = Shown {
            tasks: tasks.collect(),
            awaited_sinks: vec!["shop/warehouse".to_owned()],
            ..Shown::default()
        };
        Scraped {
            shown: BTreeMap::from([("one".to_owned(), shown)]),
            failed: Vec::new(),
        }
    }

    fn running(found: u32, max: u32, scraped: Scraped) -> Look {
        Look {
            bounds: bounds(max),
            found: Some(found),
            measured: None,
            ready: 1,
            scraped,
        }
    }

    #[test]
    fn a_decision_comes_with_what_led_to_it() {
        let (decision, flow) = (
            Decision {
                from: 1,
                to: 3,
                limit: Some(super::super::decision::Limit::Pace),
            },
            Flow {
                input: "clicks".to_owned(),
                partitions: 6,
                lag: 4_321,
                incoming: 350.4,
                per_replica: Some(119.6),
            },
        );
        let situation = Situation {
            flows: None,
            is_blocked: false,
            replicas: 1,
            ready: 1,
            partitions: 6,
        };
        let message = message(&decision, &bounds(10), Some(&flow));
        assert_eq!(
            message,
            "1 to 3 workers, limited by Pace: of `clicks` 4321 records wait, which are to be done within 30s, 350 come in a second, and one worker gets 120 done"
        );
        let status = status(&decision, &situation, Some(&flow), &message);
        let inputs = status.inputs.unwrap();
        assert_eq!(inputs.time_to_drain.unwrap().to_string(), "37s");
        assert_eq!(inputs.rate_per_replica, Some(120));
        assert_eq!(status.limited_by.as_deref(), Some("Pace"));
    }

    #[test]
    fn what_was_decided_before_holds_in_a_new_process_and_bounds_at_once() {
        let scalings = Scalings::default();
        let kpis = pipeline();
        let nothing = || scraped(&[]);
        assert!(
            scalings
                .see(&kpis, &running(4, 10, nothing()))
                .decided
                .is_none()
        );
        assert_eq!(scalings.replicas("u", None, &bounds(10)), 4);
        let decided = scalings
            .see(&kpis, &running(1, 2, nothing()))
            .decided
            .unwrap();
        assert_eq!(
            (decided.is_up, decided.message.as_str()),
            (false, "4 to 2 workers, limited by Max")
        );
        assert_eq!(scalings.replicas("u", Some(9), &bounds(10)), 2);
        let status = scalings.told("u").decision.unwrap();
        assert_eq!((status.replicas, status.inputs), (2, None));
    }

    #[test]
    fn what_blocks_is_named() {
        let blocked_task = Task {
            is_blocked: true,
            ..Task::default()
        };
        let to_mend = Task {
            needs_mending: true,
            ..blocked_task.clone()
        };
        let of = |tasks: &[(u32, Task)]| {
            let scraped = scraped(tasks);
            blocked(&pipeline(), None, scraped.shown.values())
        };
        assert_eq!(of(&[(0, Task::default())]), None);
        let blocked = of(&[(0, blocked_task.clone()), (1, Task::default())]).unwrap();
        assert_eq!(blocked.reason, Reason::Blocked);
        assert_eq!(
            blocked.message,
            "tasks of `clicks` cannot go on, which is tried again: they wait for the Sink shop/warehouse"
        );
        let blocked = of(&[(0, blocked_task), (1, to_mend)]).unwrap();
        assert_eq!(blocked.reason, Reason::NeedsMending);
    }

    #[test]
    fn what_every_worker_has_left_to_a_newer_plan_is_named() {
        let worker = |inputs: &[&str], superseded: &[&str]| Shown {
            inputs: inputs.iter().map(|&input| input.to_owned()).collect(),
            superseded: superseded.iter().map(|&input| input.to_owned()).collect(),
            ..Shown::default()
        };
        let inputs: Inputs = ["clicks", "hourly"]
            .map(|input| (input.to_owned(), Some(2)))
            .into();
        let of = |workers: &[Shown]| blocked(&pipeline(), Some(&inputs), workers.iter());
        let (old, new) = (worker(&["clicks"], &["hourly"]), worker(&["hourly"], &[]));
        assert_eq!(of(&[old.clone(), new]), None);
        // The plan has another name for it by now.
        assert_eq!(of(&[worker(&["clicks"], &["per_hour"])]), None);
        let blocked = of(&[old.clone(), old]).unwrap();
        assert_eq!(blocked.reason, Reason::Superseded);
        assert!(
            blocked.message.contains("nobody processes `hourly`"),
            "{}",
            blocked.message
        );
    }

    #[test]
    fn windows_that_stay_as_they_were_are_named() {
        let worker = |steps: &[(&str, Windows)]| Shown {
            not_recomputed: steps
                .iter()
                .map(|(step, windows)| ((*step).to_owned(), *windows))
                .collect(),
            ..Shown::default()
        };
        let of = |workers: &[Shown]| windows(workers.iter());
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[worker(&[])]).unwrap().reason, Reason::Recomputed);
        let hourly = Windows {
            from: Some(3_600.0),
            until: 7_200.0,
        };
        let daily = Windows {
            from: None,
            until: 86_400.0,
        };
        let workers = [
            worker(&[("hourly", hourly)]),
            worker(&[("daily", daily), ("hourly", hourly)]),
        ];
        let found = of(&workers).unwrap();
        assert_eq!(found.reason, Reason::EventsGone);
        assert_eq!(
            found.message,
            "windows of `daily` that begin before 1970-01-02T00:00:00Z stay as they were before the step was changed: retention has taken events of theirs, or they are made of sessions that are not computed again; \
             windows of `hourly` that begin from 1970-01-01T01:00:00Z on and before 1970-01-01T02:00:00Z stay as they were before the step was changed: retention has taken events of theirs, or they are made of sessions that are not computed again"
        );
    }

    #[test]
    fn more_workers_help_while_a_task_goes_on_that_has_something_to_do() {
        let task = |is_blocked, lag| Task {
            is_blocked,
            lag: Some(lag),
            ..Task::default()
        };
        for (tasks, expected) in [
            (vec![(0, task(false, 9)), (1, task(false, 0))], false),
            (vec![(0, task(true, 9)), (1, task(true, 9))], true),
            (vec![(0, task(true, 9)), (1, task(false, 0))], true),
            (vec![(0, task(true, 9)), (1, task(false, 9))], false),
        ] {
            assert_eq!(all_blocked(scraped(&tasks).shown.values()), expected);
        }
    }

    #[test]
    fn another_plan_is_measured_anew() {
        let scalings = Scalings::default();
        let inputs = || [("clicks".to_owned(), Some(2))].into();
        scalings.planned("u", "first", inputs());
        let both = |next| {
            let task = Task {
                next_offset: Some(next),
                lag: Some(0),
                ..Task::default()
            };
            scraped(&[(0, task.clone()), (1, task)])
        };
        scalings.see(&pipeline(), &running(1, 10, both(5)));
        scalings.see(&pipeline(), &running(1, 10, both(9)));
        let reasons = || -> Vec<Reason> {
            let told = scalings.told("u").findings;
            told.iter().map(|finding| finding.reason).collect()
        };
        let first = [Reason::Flowing, Reason::FollowsLag, Reason::Recomputed];
        assert_eq!(reasons(), first);
        assert_eq!(scalings.replicas("u", None, &bounds(10)), 1);
        // Of the next one nothing is known yet, and nothing else is told for a moment.
        scalings.planned("u", "second", inputs());
        assert!(
            !scalings
                .see(&pipeline(), &running(1, 10, scraped(&[])))
                .is_news
        );
    }
}
