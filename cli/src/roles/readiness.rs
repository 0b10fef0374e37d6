//! Whether a role can work, and what holds it up, for probes.
use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use tidewheel_ingest::{Check, LogProbe, Readiness};
use tidewheel_log::Log;
use tidewheel_planner::plan::Plan;
use tidewheel_worker::{Control, Membership, Status};

use crate::roles::sinks::{Answer, Databases};

/// Whether the log answers, and has the topic of the source.
pub(super) async fn log(log: &LogProbe, topic: &str) -> Check {
    let (ready, detail) = match log.topics(vec![topic.to_owned()]).await {
        Err(reason) => (false, reason),
        Ok(found) if found.iter().all(Option::is_some) => (true, "it answers".to_owned()),
        Ok(_) => (
            false,
            format!("it answers, but has not the source's topic {topic}"),
        ),
    };
    Check {
        name: "log",
        ready,
        required: true,
        detail,
    }
}

/// Whether a worker can work. Clones share everything.
#[derive(Clone)]
pub(super) struct WorkerReadiness {
    log: LogProbe,
    /// A topic that has to be there.
    topic: String,
    databases: Databases,
    control: Arc<Mutex<Option<Control>>>,
}

impl WorkerReadiness {
    pub(super) fn new(log: Arc<dyn Log>, plan: &Plan, databases: Databases) -> Self {
        let source = plan.sources.first();
        Self {
            log: LogProbe::new(log),
            topic: source
                .map(|source| source.topic.clone())
                .unwrap_or_default(),
            databases,
            control: Arc::default(),
        }
    }

    /// The worker has begun.
    pub(super) fn follow(&self, control: Control) {
        *self.control.lock() = Some(control);
    }
}

#[async_trait]
impl Readiness for WorkerReadiness {
    async fn check(&self) -> Vec<Check> {
        let (log, answers) = tokio::join!(log(&self.log, &self.topic), self.databases.answers());
        let (memberships, status) = match self.control.lock().as_ref() {
            Some(control) => (control.memberships(), control.status()),
            None => Default::default(),
        };
        vec![
            log,
            assignment(&memberships),
            sinks(&answers, &status),
            tasks(&status),
        ]
    }
}

fn assignment(memberships: &BTreeMap<String, Membership>) -> Check {
    let joining = |membership: &&Membership| **membership == Membership::Joining;
    let waiting = memberships.values().filter(joining).count();
    let superseded = memberships
        .values()
        .any(|membership| *membership == Membership::Superseded);
    let (ready, detail) = match (memberships.len(), waiting) {
        (0, _) => (false, "the worker has not begun".to_owned()),
        (_, 0) if superseded => (true, "a newer plan has taken over".to_owned()),
        (inputs, 0) => (true, format!("{inputs} of {inputs} inputs are assigned")),
        (inputs, waiting) => (
            false,
            format!("{} of {inputs} inputs are assigned", inputs - waiting),
        ),
    };
    Check {
        name: "assignment",
        ready,
        required: true,
        detail,
    }
}

/// Sinks come back by themselves, and no other worker reaches them better: a worker that waits for one stays ready.
fn sinks(answers: &BTreeMap<String, Answer>, status: &Status) -> Check {
    let silent = answers.values().filter(|answer| answer.is_err()).count();
    let mut texts = vec![format!(
        "{} of {} answer",
        answers.len() - silent,
        answers.len()
    )];
    let failing = answers.iter();
    let failing = failing.filter_map(|(sink, answer)| Some((sink, answer.as_ref().err()?)));
    texts.extend(failing.map(|(sink, reason)| format!("{sink}: {reason}")));
    let mut waiting: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
    for task in status.values() {
        if let (Some(sink), Some(reason)) = (&task.blocked_by_sink, &task.blocked) {
            waiting.entry(sink).or_insert((0, reason)).0 += 1;
        }
    }
    let is_held_up = !waiting.is_empty();
    let waits = waiting.into_iter().map(|(sink, (count, reason))| {
        format!("{} for {sink}: {reason}", counted(count, "waits", "wait"))
    });
    texts.extend(waits);
    Check {
        name: "sinks",
        ready: silent == 0 && !is_held_up,
        required: false,
        detail: texts.join("; "),
    }
}

/// What holds tasks up beside sinks. Another worker would be held up as well.
fn tasks(status: &Status) -> Check {
    let mut held_up: BTreeMap<(&str, bool), usize> = BTreeMap::new();
    for task in status
        .values()
        .filter(|task| task.blocked_by_sink.is_none())
    {
        if let Some(reason) = &task.blocked {
            *held_up
                .entry((reason, task.blocked_until_mended))
                .or_default() += 1;
        }
    }
    let ready = held_up.is_empty();
    let reasons = held_up.into_iter().map(|((reason, until_mended), count)| {
        let until = if until_mended {
            " until somebody mends it"
        } else {
            " for now"
        };
        let tasks = counted(count, "cannot go on", "cannot go on");
        format!("{tasks}{until}: {reason}")
    });
    let reasons: Vec<String> = reasons.collect();
    Check {
        name: "tasks",
        ready,
        required: false,
        detail: if ready {
            format!("{} here, none is held up", status.len())
        } else {
            reasons.join("; ")
        },
    }
}

/// So many tasks, and what they do: one does, several do.
fn counted(tasks: usize, does: &str, dos: &str) -> String {
    match tasks {
        1 => format!("1 task {does}"),
        tasks => format!("{tasks} tasks {dos}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewheel_worker::TaskStatus;

    const DISK: &str = "output `clicks`: could not extend file";
    const TABLE: &str = "output `hours`: table `hours` was removed";

    fn status() -> Status {
        let waiting = TaskStatus {
            blocked: Some(DISK.to_owned()),
            blocked_by_sink: Some("web/warehouse".to_owned()),
            ..TaskStatus::default()
        };
        let broken = TaskStatus {
            blocked: Some(TABLE.to_owned()),
            blocked_until_mended: true,
            ..TaskStatus::default()
        };
        let key = |input: &str, partition| (input.to_owned(), partition);
        Status::from([
            (key("clicks", 0), waiting.clone()),
            (key("clicks", 1), waiting),
            (key("hourly", 0), broken),
            (key("hourly", 1), TaskStatus::default()),
        ])
    }

    #[test]
    fn a_sink_that_fails_is_named_with_its_reason_and_those_who_wait() {
        let answers = BTreeMap::from([
            (
                "web/lake".to_owned(),
                Err("no answer within 2 s".to_owned()),
            ),
            ("web/warehouse".to_owned(), Ok(())),
        ]);
        let check = sinks(&answers, &status());
        assert!(!check.ready && !check.required);
        assert_eq!(
            check.detail,
            format!(
                "1 of 2 answer; web/lake: no answer within 2 s; 2 tasks wait for web/warehouse: {DISK}"
            )
        );
        let check = sinks(
            &[("web/warehouse".to_owned(), Ok(()))].into(),
            &Status::new(),
        );
        assert_eq!(
            (check.ready, check.detail.as_str()),
            (true, "1 of 1 answer")
        );
    }

    #[test]
    fn tasks_that_wait_for_a_person_are_told_apart_from_those_that_wait_for_a_sink() {
        let check = tasks(&status());
        assert!(!check.ready && !check.required);
        assert_eq!(
            check.detail,
            format!("1 task cannot go on until somebody mends it: {TABLE}")
        );
        let mut well = status();
        well.retain(|_, task| task.blocked.is_none());
        let check = tasks(&well);
        assert!(check.ready);
        assert_eq!(check.detail, "1 here, none is held up");
    }
}
