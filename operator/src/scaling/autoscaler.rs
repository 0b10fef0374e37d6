//! Decisions about the number of workers over time: more at once, fewer only when fewer have been enough for a while. Pure.
use std::time::{Duration, Instant};

use super::decision::{Bounds, Hold, Limit, Recommended, Situation, range, recommend};

/// For how many times `catchUpWithin` fewer workers must have been enough.
const PATIENCE: u32 = 5;
/// But no longer than this.
const LONGEST_PATIENCE: Duration = Duration::from_secs(300);

/// A new number of workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) limit: Option<Limit>,
}

/// That fewer workers have been enough.
#[derive(Debug)]
struct Fewer {
    /// For how long, as far as that is known.
    been: Duration,
    /// When that was seen last; none where nothing was known since.
    seen: Option<Instant>,
    /// The most of those that were enough.
    most: Recommended,
}

/// What is decided for one Pipeline.
#[derive(Debug, Default)]
pub(crate) struct Autoscaler {
    /// How many workers there should be, once that is known.
    replicas: Option<u32>,
    fewer: Option<Fewer>,
    /// When it was decided last.
    decided: Option<Instant>,
}

impl Autoscaler {
    /// How many workers there should be: those that were decided, or those `found` where this process has decided nothing yet, or the least,
    /// but never fewer or more than is asked for.
    pub(crate) fn replicas(&mut self, found: Option<u32>, bounds: &Bounds, partitions: u32) -> u32 {
        let replicas = *self.replicas.get_or_insert(found.unwrap_or(bounds.min));
        let (least, most, _) = range(bounds, partitions);
        replicas.clamp(least, most)
    }

    /// How many workers there should be, as far as that was asked.
    pub(crate) fn decided(&self) -> Option<u32> {
        self.replicas
    }

    /// Whether workers were added so short a time ago that they need not be there yet.
    pub(crate) fn is_settling(&self, now: Instant, patience: Duration) -> bool {
        self.decided.is_some_and(|decided| now - decided < patience)
    }

    /// Nothing is to be done for now: how many would be enough is seen anew afterwards.
    pub(crate) fn suspend(&mut self) {
        self.fewer = None;
    }

    /// Looks at how things stand, and decides.
    pub(crate) fn look(
        &mut self,
        now: Instant,
        bounds: &Bounds,
        situation: &Situation<'_>,
    ) -> (Recommended, Option<Decision>) {
        let recommended = recommend(bounds, situation);
        let so_far = situation.replicas;
        if recommended.replicas >= so_far {
            match &mut self.fewer {
                // What is not known says nothing about whether fewer were enough meanwhile.
                Some(fewer) if recommended.hold == Some(Hold::Unknown) => fewer.seen = None,
                _ => self.fewer = None,
            }
            return (recommended, self.decide(now, so_far, recommended));
        }
        let is_asked_for = so_far > range(bounds, situation.partitions).1;
        if is_asked_for {
            return (recommended, self.decide(now, so_far, recommended));
        }
        let fewer = self.fewer.get_or_insert(Fewer {
            been: Duration::ZERO,
            seen: None,
            most: recommended,
        });
        fewer.see(now, recommended);
        if fewer.been < patience(bounds) {
            return (recommended, None);
        }
        let most = fewer.most;
        (recommended, self.decide(now, so_far, most))
    }

    fn decide(&mut self, now: Instant, so_far: u32, what: Recommended) -> Option<Decision> {
        self.replicas = Some(what.replicas);
        if what.replicas == so_far {
            return None;
        }
        self.fewer = None;
        self.decided = Some(now);
        Some(Decision {
            from: so_far,
            to: what.replicas,
            limit: what.limit,
        })
    }
}

impl Fewer {
    fn see(&mut self, now: Instant, recommended: Recommended) {
        let since = self.seen.replace(now);
        self.been += since.map_or(Duration::ZERO, |since| now - since);
        if recommended.replicas > self.most.replicas {
            self.most = recommended;
        }
    }
}

/// How long fewer workers must have been enough.
pub(crate) fn patience(bounds: &Bounds) -> Duration {
    (bounds.catch_up_within * PATIENCE).min(LONGEST_PATIENCE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scaling::progress::Flow;

    const BOUNDS: Bounds = Bounds {
        min: 1,
        max: 10,
        catch_up_within: Duration::from_secs(20),
    };
    /// How often it is looked, s.
    const STEP: u64 = 5;
    /// What one worker gets done in a second.
    const PER_REPLICA: f64 = 100.0;
    /// How long a worker takes to start, in looks.
    const START: usize = 3;

    /// A pipeline with a load that changes: how many workers there are after each look, and how much waits then.
    fn run(looks: usize, load: impl Fn(usize) -> f64) -> Vec<(u32, f64)> {
        let (began, mut autoscaler) = (Instant::now(), Autoscaler::default());
        let (mut lag, mut trace): (f64, Vec<(u32, f64)>) = (0.0, Vec::new());
        for look in 0..looks {
            let replicas = trace.last().map_or(1, |(replicas, _)| *replicas);
            let before = look.checked_sub(START).and_then(|look| trace.get(look));
            let ready = before.map_or(1, |(replicas, _)| *replicas).min(replicas);
            let (incoming, can) = (load(look), f64::from(ready) * PER_REPLICA);
            lag = (lag + (incoming - can) * STEP as f64).max(0.0);
            let flows = [Flow {
                input: "clicks".to_owned(),
                partitions: 12,
                lag: lag as u64,
                incoming,
                per_replica: Some(PER_REPLICA),
            }];
            let situation = Situation {
                flows: Some(&flows),
                is_blocked: false,
                replicas,
                ready,
                partitions: 12,
            };
            let now = began + Duration::from_secs(STEP * look as u64);
            let (_, decision) = autoscaler.look(now, &BOUNDS, &situation);
            trace.push((decision.map_or(replicas, |decision| decision.to), lag));
        }
        trace
    }

    #[test]
    fn replicas_follow_a_load_that_rises_tenfold_and_falls_again() {
        let trace = run(240, |look| {
            if (20..80).contains(&look) {
                700.0
            } else {
                70.0
            }
        });
        let replicas = |look: usize| trace[look].0;
        assert_eq!(replicas(19), 1);
        // Within a minute there are as many as it takes.
        assert!(replicas(32) >= 7, "{trace:?}");
        assert_eq!(trace[60].1, 0.0, "{trace:?}");
        assert_eq!(replicas(239), 1);
        // A few decisions each way, and none back and forth.
        let changes: Vec<(u32, u32)> = trace
            .windows(2)
            .map(|two| (two[0].0, two[1].0))
            .filter(|(before, now)| before != now)
            .collect();
        assert!(changes.len() <= 8, "{changes:?}");
        let first_down = changes.iter().position(|(before, now)| now < before);
        let last_up = changes.iter().rposition(|(before, now)| now > before);
        assert!(last_up < first_down, "{changes:?}");
    }

    #[test]
    fn a_steady_load_changes_nothing() {
        let trace = run(400, |look| 250.0 + [0.0, 15.0, -15.0][look % 3]);
        let settled = &trace[100..];
        assert!(
            settled
                .iter()
                .all(|(replicas, _)| *replicas == settled[0].0)
        );
        assert_eq!(settled[0].0, 4, "{trace:?}");
    }

    #[test]
    fn a_short_lull_takes_no_worker_away() {
        let trace = run(120, |look| {
            if (60..75).contains(&look) {
                10.0
            } else {
                500.0
            }
        });
        let before = trace[59].0;
        assert!(
            trace[60..]
                .iter()
                .all(|(replicas, _)| *replicas >= before.min(6))
        );
        assert!(
            trace[60..80]
                .iter()
                .all(|(replicas, _)| *replicas == before),
            "{trace:?}"
        );
    }

    /// What is decided of nine workers without lag, into which so many records come in a second, where that is known.
    fn look_at_nine(
        autoscaler: &mut Autoscaler,
        now: Instant,
        incoming: Option<f64>,
    ) -> Option<Decision> {
        let flows = incoming.map(|incoming| {
            [Flow {
                input: "clicks".to_owned(),
                partitions: 12,
                lag: 0,
                incoming,
                per_replica: Some(PER_REPLICA),
            }]
        });
        let situation = Situation {
            flows: flows.as_ref().map(<[Flow; 1]>::as_slice),
            is_blocked: false,
            replicas: 9,
            ready: 9,
            partitions: 12,
        };
        autoscaler.look(now, &BOUNDS, &situation).1
    }

    #[test]
    fn after_a_while_there_are_as_many_fewer_as_were_enough_all_the_time() {
        let (began, mut autoscaler) = (Instant::now(), Autoscaler::default());
        let mut look = |seconds: u64, incoming: f64| {
            let now = began + Duration::from_secs(seconds);
            look_at_nine(&mut autoscaler, now, Some(incoming))
        };
        assert_eq!(look(0, 100.0), None);
        assert_eq!(look(50, 390.0), None);
        assert_eq!(look(99, 100.0), None);
        let decision = Decision {
            from: 9,
            to: 5,
            limit: None,
        };
        assert_eq!(look(100, 100.0), Some(decision));
    }

    #[test]
    fn time_of_which_nothing_is_known_or_in_which_nothing_is_done_does_not_count() {
        let (began, mut autoscaler) = (Instant::now(), Autoscaler::default());
        let look = |autoscaler: &mut Autoscaler, seconds: u64, is_known: bool| {
            let now = began + Duration::from_secs(seconds);
            look_at_nine(autoscaler, now, is_known.then_some(100.0))
        };
        assert_eq!(look(&mut autoscaler, 0, true), None);
        assert_eq!(look(&mut autoscaler, 60, true), None);
        // A while of which nothing is known.
        assert_eq!(look(&mut autoscaler, 65, false), None);
        assert_eq!(look(&mut autoscaler, 500, false), None);
        assert_eq!(look(&mut autoscaler, 505, true), None);
        assert_eq!(look(&mut autoscaler, 540, true), None);
        assert!(look(&mut autoscaler, 545, true).is_some());
        // It is suspended, and resumed.
        assert_eq!(look(&mut autoscaler, 600, true), None);
        assert_eq!(look(&mut autoscaler, 695, true), None);
        autoscaler.suspend();
        assert_eq!(look(&mut autoscaler, 2_000, true), None);
        assert_eq!(look(&mut autoscaler, 2_099, true), None);
        assert!(look(&mut autoscaler, 2_100, true).is_some());
    }

    #[test]
    fn what_is_asked_for_holds_at_once() {
        let (now, mut autoscaler) = (Instant::now(), Autoscaler::default());
        assert_eq!(autoscaler.replicas(Some(3), &BOUNDS, 12), 3);
        let few = Bounds { max: 2, ..BOUNDS };
        assert_eq!(autoscaler.replicas(None, &few, 12), 2);
        let situation = Situation {
            flows: None,
            is_blocked: true,
            replicas: 3,
            ready: 3,
            partitions: 12,
        };
        let decision = Decision {
            from: 3,
            to: 2,
            limit: Some(Limit::Max),
        };
        assert_eq!(autoscaler.look(now, &few, &situation).1, Some(decision));
        assert!(autoscaler.is_settling(now, Duration::from_secs(1)));
        assert_eq!(autoscaler.decided(), Some(2));
    }

    #[test]
    fn patience_grows_with_the_time_to_catch_up_and_has_an_end() {
        let of = |seconds| {
            patience(&Bounds {
                catch_up_within: Duration::from_secs(seconds),
                ..BOUNDS
            })
        };
        assert_eq!(of(10), Duration::from_secs(50));
        assert_eq!(of(3_600), LONGEST_PATIENCE);
    }
}
