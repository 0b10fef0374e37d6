//! What users are told of how data flows and how workers are scaled. Pure.
//!
//! Told is what lasts: a rebalance for which nobody shows a partition, or a database that is away for a moment, is no news.
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tidewheel_crds::status::ScalingStatus;

use super::decision::{Bounds, Hold, Limit, Recommended, range};
use crate::conditions::{Aspect, Finding, Reason};

/// After what time it is told that nobody knows how much waits.
const UNKNOWN_AFTER: Duration = Duration::from_secs(30);
/// After what time it is told that tasks are blocked.
const BLOCKED_AFTER: Duration = Duration::from_secs(15);
/// How long it is told that more workers would be right and cannot be.
const LIMITED_FOR: Duration = Duration::from_secs(60);
/// How often another lag is told at most.
const LAG_EVERY: Duration = Duration::from_secs(10);
/// Of so many looks the least lag is told: what waits each time is not what is always under way.
const LOOKS: usize = 3;

/// What can be told.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Told {
    /// About how many records wait.
    pub(crate) lag: Option<u64>,
    pub(crate) findings: Vec<Finding>,
    /// The last decision of this process.
    pub(crate) decision: Option<ScalingStatus>,
}

/// Tasks that cannot go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Blocked {
    pub(crate) reason: Reason,
    pub(crate) message: String,
}

/// What was seen at a time.
#[derive(Debug, Clone)]
pub(crate) enum Seen {
    Suspended,
    Running {
        /// How many records wait, or why nobody knows.
        lag: Result<u64, String>,
        blocked: Option<Blocked>,
        /// What was found of the windows that changed steps compute anew; none where no worker shows it.
        windows: Option<Finding>,
        recommended: Recommended,
        bounds: Bounds,
        partitions: u32,
    },
}

/// What is told, and since when what is so.
#[derive(Debug, Default)]
pub(crate) struct Teller {
    pub(crate) told: Told,
    unknown_since: Option<Instant>,
    blocked_since: Option<Instant>,
    limited: Option<(Limit, Instant)>,
    lags: VecDeque<u64>,
    lag_told: Option<Instant>,
}

impl Teller {
    /// Takes what was seen; whether something else is to be told than before.
    pub(crate) fn see(&mut self, now: Instant, seen: &Seen) -> bool {
        let before = self.told.clone();
        match seen {
            Seen::Suspended => {
                *self = Self::default();
                self.told.decision = before.decision.clone();
                let message = "nothing is read because `spec.suspend` is set";
                self.told.findings = before.findings.clone();
                for aspect in [Aspect::Flow, Aspect::Scaling] {
                    self.put(
                        aspect,
                        Some(Finding::new(aspect, Reason::Suspended, message)),
                    );
                }
            }
            Seen::Running {
                lag,
                blocked,
                windows,
                recommended,
                bounds,
                partitions,
            } => {
                self.tell_lag(now, lag.as_ref().ok().copied());
                let why = lag.as_ref().err().map(String::as_str);
                let flow = self.flow(now, why, blocked.as_ref());
                let scaling = self.scaling(now, why, recommended, bounds, *partitions);
                self.put(Aspect::Flow, flow);
                self.put(Aspect::Scaling, scaling);
                self.put(Aspect::Windows, windows.clone());
            }
        }
        self.told != before
    }

    /// A finding in the place of the one about the same; what was told last where there is none.
    fn put(&mut self, aspect: Aspect, finding: Option<Finding>) {
        if let Some(finding) = finding {
            self.told.findings.retain(|told| told.aspect != aspect);
            self.told.findings.push(finding);
            self.told.findings.sort_by_key(|told| told.aspect);
        }
    }

    fn tell_lag(&mut self, now: Instant, lag: Option<u64>) {
        let Some(lag) = lag else {
            if is_for(self.unknown_since, now, UNKNOWN_AFTER) {
                self.told.lag = None;
                self.lags.clear();
            }
            return;
        };
        self.lags.push_back(lag);
        if self.lags.len() > LOOKS {
            self.lags.pop_front();
        }
        let least = coarse(self.lags.iter().copied().min().unwrap_or_default());
        let is_due = self.lag_told.is_none_or(|told| now - told >= LAG_EVERY);
        if self.told.lag != Some(least) && is_due {
            self.told.lag = Some(least);
            self.lag_told = Some(now);
        }
    }

    fn flow(
        &mut self,
        now: Instant,
        unknown: Option<&str>,
        blocked: Option<&Blocked>,
    ) -> Option<Finding> {
        since(&mut self.unknown_since, now, unknown.is_some());
        since(&mut self.blocked_since, now, blocked.is_some());
        let finding = |reason, message: &str| Some(Finding::new(Aspect::Flow, reason, message));
        if let Some(blocked) = blocked {
            return is_for(self.blocked_since, now, BLOCKED_AFTER)
                .then(|| Finding::new(Aspect::Flow, blocked.reason, &*blocked.message));
        }
        match unknown {
            Some(why) if is_for(self.unknown_since, now, UNKNOWN_AFTER) => {
                finding(Reason::LagUnknown, why)
            }
            Some(_) => None,
            None => finding(Reason::Flowing, "what comes in is processed"),
        }
    }

    fn scaling(
        &mut self,
        now: Instant,
        unknown: Option<&str>,
        recommended: &Recommended,
        bounds: &Bounds,
        partitions: u32,
    ) -> Option<Finding> {
        let finding =
            |reason, message: String| Some(Finding::new(Aspect::Scaling, reason, message));
        let (least, most, top) = range(bounds, partitions);
        if recommended.replicas == most
            && let Some(limit) = recommended.limit.filter(|limit| *limit == top)
        {
            self.limited = Some((limit, now));
        }
        if least == most {
            let why = match top {
                Limit::Partitions => "more would have nothing to do",
                _ => "`spec.scaling` allows no other number",
            };
            return finding(Reason::ReplicasFixed, format!("{least} workers: {why}"));
        }
        if recommended.hold == Some(Hold::Blocked) {
            let message =
                "tasks cannot go on, so more workers would not help: see the condition DataFlowing";
            return is_for(self.blocked_since, now, BLOCKED_AFTER)
                .then(|| Finding::new(Aspect::Scaling, Reason::HeldBack, message));
        }
        if let Some(why) = unknown {
            return is_for(self.unknown_since, now, UNKNOWN_AFTER).then(|| {
                let message = format!("the number of workers stays as it is: {why}");
                Finding::new(Aspect::Scaling, Reason::LagUnknown, message)
            });
        }
        let limited = self.limited.filter(|(_, at)| now - *at < LIMITED_FOR);
        match limited.map(|(limit, _)| limit) {
            Some(Limit::Partitions) => finding(
                Reason::AtPartitions,
                format!(
                    "more than {most} workers would have nothing to do: give the topics more partitions, or the workers more `resources`"
                ),
            ),
            Some(_) => finding(
                Reason::AtMaximum,
                format!(
                    "{most} workers do not catch up in time, and `spec.scaling.max` allows no more"
                ),
            ),
            None => finding(
                Reason::FollowsLag,
                format!("{least} to {most} workers, as many as catch up in time"),
            ),
        }
    }
}

/// Remembers since when something is so.
fn since(remembered: &mut Option<Instant>, now: Instant, is_so: bool) {
    *remembered = is_so.then(|| remembered.unwrap_or(now));
}

fn is_for(since: Option<Instant>, now: Instant, long: Duration) -> bool {
    since.is_some_and(|since| now - since >= long)
}

/// The largest of 0, 1, 2, 5, 10, 20, 50 and so on that is no larger.
fn coarse(lag: u64) -> u64 {
    let Some(digits) = lag.checked_ilog10() else {
        return 0;
    };
    let power = 10_u64.pow(digits);
    match lag / power {
        5.. => 5 * power,
        2.. => 2 * power,
        _ => power,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        min: 1,
        max: 4,
        catch_up_within: Duration::from_secs(60),
    };

    fn running(lag: Result<u64, String>) -> Seen {
        Seen::Running {
            lag,
            blocked: None,
            windows: None,
            recommended: Recommended {
                replicas: 1,
                limit: None,
                hold: None,
            },
            bounds: BOUNDS,
            partitions: 6,
        }
    }

    /// What is told after each look, five seconds apart.
    fn told(seen: impl IntoIterator<Item = Seen>) -> Vec<Told> {
        let (began, mut teller) = (Instant::now(), Teller::default());
        let seen = seen.into_iter().zip(0_u32..);
        seen.map(|(seen, index)| {
            let now = began + Duration::from_secs(5) * index;
            let before = teller.told.clone();
            assert_eq!(teller.see(now, &seen), teller.told != before);
            teller.told.clone()
        })
        .collect()
    }

    fn reason(told: &Told, aspect: Aspect) -> Option<Reason> {
        let found = told.findings.iter().find(|found| found.aspect == aspect);
        found.map(|found| found.reason)
    }

    fn reasons(told: &[Told], aspect: Aspect) -> Vec<Option<Reason>> {
        let mut reasons: Vec<_> = told.iter().map(|told| reason(told, aspect)).collect();
        reasons.dedup();
        reasons
    }

    #[test]
    fn lag_is_told_in_coarse_steps() {
        for (lag, step) in [
            (0, 0),
            (1, 1),
            (4, 2),
            (9, 5),
            (10, 10),
            (4_999, 2_000),
            (5_000, 5_000),
            (u64::MAX, 10_000_000_000_000_000_000),
        ] {
            assert_eq!(coarse(lag), step, "{lag}");
        }
    }

    #[test]
    fn what_waits_for_a_moment_is_no_news_and_no_more_is_told_than_every_ten_seconds() {
        let lags = |lags: &[u64]| -> Vec<Option<u64>> {
            let seen = lags.iter().map(|lag| running(Ok(*lag)));
            told(seen).iter().map(|told| told.lag).collect()
        };
        let moments = lags(&[0, 900, 0, 700, 0, 0, 5_000, 0]);
        assert!(moments.iter().all(|lag| *lag == Some(0)), "{moments:?}");
        let growing = lags(&[0, 100, 200, 300, 400, 500, 600, 700]);
        assert_eq!(growing, [0, 0, 0, 100, 100, 200, 200, 500].map(Some));
    }

    #[test]
    fn what_is_unknown_is_told_when_it_lasts() {
        let unknown = || running(Err("nobody shows partition 3".to_owned()));
        let short = [
            vec![running(Ok(0))],
            vec![unknown(); 5],
            vec![running(Ok(0))],
        ]
        .concat();
        let short = told(short);
        assert_eq!(reasons(&short, Aspect::Flow), [Some(Reason::Flowing)]);
        let long = told([vec![running(Ok(0))], vec![unknown(); 10]].concat());
        let unknown = [Some(Reason::Flowing), Some(Reason::LagUnknown)];
        assert_eq!(reasons(&long, Aspect::Flow), unknown);
        let unknown = [Some(Reason::FollowsLag), Some(Reason::LagUnknown)];
        assert_eq!(reasons(&long, Aspect::Scaling), unknown);
        assert_eq!(long.last().unwrap().lag, None);
    }

    #[test]
    fn blocked_tasks_are_told_when_they_last() {
        let blocked = |reason| Seen::Running {
            lag: Ok(9),
            blocked: Some(Blocked {
                reason,
                message: "tasks of `clicks` cannot go on".to_owned(),
            }),
            windows: None,
            recommended: Recommended {
                replicas: 1,
                limit: None,
                hold: Some(Hold::Blocked),
            },
            bounds: BOUNDS,
            partitions: 6,
        };
        for reason in [Reason::Blocked, Reason::Superseded, Reason::NeedsMending] {
            let short = [vec![running(Ok(0))], vec![blocked(reason); 3]].concat();
            let short = told([short, vec![running(Ok(0))]].concat());
            assert_eq!(reasons(&short, Aspect::Flow), [Some(Reason::Flowing)]);
            let long = [vec![running(Ok(0))], vec![blocked(reason); 4]].concat();
            let long = told([long, vec![running(Ok(0))]].concat());
            let flowing = Some(Reason::Flowing);
            assert_eq!(
                reasons(&long, Aspect::Flow),
                [flowing, Some(reason), flowing]
            );
            assert!(reasons(&long, Aspect::Scaling).contains(&Some(Reason::HeldBack)));
        }
    }

    #[test]
    fn what_limits_the_workers_is_told_for_a_while() {
        let limited = |partitions, limit| Seen::Running {
            lag: Ok(1_000_000),
            blocked: None,
            windows: None,
            recommended: Recommended {
                replicas: BOUNDS.max.min(partitions),
                limit: Some(limit),
                hold: None,
            },
            bounds: BOUNDS,
            partitions,
        };
        for (partitions, limit, reason) in [
            (6, Limit::Max, Reason::AtMaximum),
            (3, Limit::Partitions, Reason::AtPartitions),
        ] {
            let seen = [vec![limited(partitions, limit)], vec![running(Ok(0)); 20]].concat();
            let told = told(seen);
            let expected = [Some(reason), Some(Reason::FollowsLag)];
            assert_eq!(reasons(&told, Aspect::Scaling), expected);
        }
        let one = told([limited(1, Limit::Partitions)]);
        assert_eq!(
            reason(&one[0], Aspect::Scaling),
            Some(Reason::ReplicasFixed)
        );
    }

    #[test]
    fn what_could_not_be_computed_anew_is_told_until_it_is_otherwise() {
        let seen = |reason| {
            let mut seen = running(Ok(0));
            if let Seen::Running { windows, .. } = &mut seen {
                *windows = Some(Finding::new(Aspect::Windows, reason, "windows of `hourly`"));
            }
            seen
        };
        let nobody_says = running(Ok(0));
        let told = told([
            seen(Reason::EventsGone),
            nobody_says,
            Seen::Suspended,
            seen(Reason::Recomputed),
        ]);
        let found: Vec<_> = told
            .iter()
            .map(|told| reason(told, Aspect::Windows))
            .collect();
        let gone = Some(Reason::EventsGone);
        assert_eq!(found, [gone, gone, gone, Some(Reason::Recomputed)]);
    }

    #[test]
    fn what_is_suspended_has_no_lag() {
        let told = told([running(Ok(700)), Seen::Suspended, running(Ok(0))]);
        assert_eq!(told[1].lag, None);
        let suspended = Some(Reason::Suspended);
        assert_eq!(reason(&told[1], Aspect::Flow), suspended);
        assert_eq!(reason(&told[1], Aspect::Scaling), suspended);
        assert_eq!(reason(&told[2], Aspect::Flow), Some(Reason::Flowing));
    }
}
