//! How many workers there should be: a function of what waits, what comes in and what a worker gets done. Pure.
//!
//! An input asks for `(incoming + lag / catchUpWithin) / rate per replica` workers, which is what keeps up with what comes in and drains what
//! waits in time. The input that asks for most decides. Between "one more is needed" and "one fewer would do" there is a gap, so that small
//! changes change nothing.
use std::time::Duration;

use super::progress::Flow;

/// A little more than the workers can is no reason for another.
const TOLERANCE: f64 = 1.1;
/// What fewer workers may be asked for, of what they can: the rest is for the next peak.
const UTILIZATION: f64 = 0.8;
/// Where this many records or fewer wait, nothing does.
const FEW: u64 = 50;
/// An input keeps up while no more waits than comes in within this time.
const UNDER_WAY: Duration = Duration::from_secs(2);

/// What `spec.scaling` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) min: u32,
    pub(crate) max: u32,
    pub(crate) catch_up_within: Duration,
}

/// What kept a number of workers from being another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    Min,
    Max,
    /// More would have nothing to do.
    Partitions,
    /// Not all at once.
    Pace,
}

impl Limit {
    /// The stable word.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Min => "Min",
            Self::Max => "Max",
            Self::Partitions => "Partitions",
            Self::Pace => "Pace",
        }
    }
}

/// Why the number of workers stays whatever waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// It is not known how much waits.
    Unknown,
    /// Tasks are blocked: more workers would wait with them.
    Blocked,
    /// Those that were asked for are not there yet.
    Starting,
    /// What waits is known, and what a worker can is not.
    Measuring,
}

/// How things stand.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Situation<'a> {
    /// The inputs; none where it is not known how they flow.
    pub(crate) flows: Option<&'a [Flow]>,
    /// Whether a task cannot go on.
    pub(crate) is_blocked: bool,
    /// How many workers there should be so far.
    pub(crate) replicas: u32,
    /// How many are ready.
    pub(crate) ready: u32,
    /// The partitions of the input that has most of them, 0 where that is not known.
    pub(crate) partitions: u32,
}

/// How many workers there should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Recommended {
    pub(crate) replicas: u32,
    pub(crate) limit: Option<Limit>,
    pub(crate) hold: Option<Hold>,
}

/// The least and the most workers there may be, and what the latter follows from.
#[must_use]
pub(crate) fn range(bounds: &Bounds, partitions: u32) -> (u32, u32, Limit) {
    let (most, limit) = if partitions > 0 && partitions < bounds.max {
        (partitions, Limit::Partitions)
    } else {
        (bounds.max, Limit::Max)
    };
    (bounds.min.min(most), most, limit)
}

/// How many workers there should be. Never fewer or more than the [`range`].
#[must_use]
pub(crate) fn recommend(bounds: &Bounds, situation: &Situation<'_>) -> Recommended {
    let (least, most, top) = range(bounds, situation.partitions);
    let so_far = situation.replicas.clamp(least, most);
    let stay = |hold, limit| Recommended {
        replicas: so_far,
        limit,
        hold,
    };
    let bounded = match situation.replicas {
        replicas if replicas < least => Some(Limit::Min),
        replicas if replicas > most => Some(top),
        _ => None,
    };
    if bounded.is_some() {
        return stay(None, bounded);
    }
    if situation.is_blocked {
        return stay(Some(Hold::Blocked), None);
    }
    let Some(flows) = situation.flows else {
        return stay(Some(Hold::Unknown), None);
    };
    let need = need(flows, bounds.catch_up_within, so_far);
    if need.workers > f64::from(so_far) * TOLERANCE {
        if so_far == most {
            return stay(None, Some(top));
        }
        if situation.ready < so_far {
            return stay(Some(Hold::Starting), None);
        }
        return up(need.workers, so_far, most, top);
    }
    if need.is_unmeasured {
        return stay(Some(Hold::Measuring), None);
    }
    if need.enough >= so_far {
        return stay(None, None);
    }
    Recommended {
        replicas: need.enough.max(least),
        limit: (need.enough.max(1) < least).then_some(Limit::Min),
        hold: None,
    }
}

/// More workers: at most twice as many at a time, or two more, since what was measured of a few need not hold for many.
fn up(needed: f64, so_far: u32, most: u32, top: Limit) -> Recommended {
    let needed = whole(needed);
    let pace = (so_far * 2).max(so_far + 2);
    let replicas = needed.min(pace).min(most);
    let limit = match replicas {
        replicas if replicas == needed => None,
        replicas if replicas == most => Some(top),
        _ => Some(Limit::Pace),
    };
    Recommended {
        replicas,
        limit,
        hold: None,
    }
}

fn whole(workers: f64) -> u32 {
    // More than fits is as many as fit, and less than none is none.
    workers.ceil() as u32
}

/// How many workers it takes.
struct Need {
    workers: f64,
    /// How many have something to spare.
    enough: u32,
    /// Whether there is something to do of which nobody knows how long it takes.
    is_unmeasured: bool,
}

fn need(flows: &[Flow], within: Duration, so_far: u32) -> Need {
    let workers = |flow: &Flow| Some(records(flow, within)? / flow.per_replica?);
    let most = flows.iter().filter_map(workers).reduce(f64::max);
    let mut others = flows.iter().filter(|flow| flow.per_replica.is_none());
    let is_unmeasured = others.any(lags);
    let is_idle = flows
        .iter()
        .all(|flow| flow.lag <= FEW && flow.incoming < 1.0);
    let (workers, enough) = match most {
        _ if is_idle => (0.0, 0),
        Some(most) => (most, whole(most / UTILIZATION)),
        // Nobody knows what a worker can, since all of them keep up: whether one fewer does is to be seen.
        None => (0.0, so_far.saturating_sub(1)),
    };
    Need {
        workers,
        enough,
        is_unmeasured,
    }
}

/// The records a second that keep up with what comes in and drain what waits; none of an input whose rate is not known.
fn records(flow: &Flow, within: Duration) -> Option<f64> {
    let waiting = flow.lag.saturating_sub(FEW) as f64 / within.as_secs_f64();
    flow.per_replica.map(|_| flow.incoming + waiting)
}

/// Whether more waits than what is always under way.
fn lags(flow: &Flow) -> bool {
    flow.lag > FEW && flow.lag as f64 > flow.incoming * UNDER_WAY.as_secs_f64()
}

/// The input that asks for most workers.
#[must_use]
pub(crate) fn decisive<'a>(flows: &'a [Flow], bounds: &Bounds) -> Option<&'a Flow> {
    let asked = |flow: &Flow| {
        let asked = records(flow, bounds.catch_up_within).zip(flow.per_replica);
        asked.map_or(0.0, |(records, per_replica)| records / per_replica)
    };
    let by_workers = |a: &&Flow, b: &&Flow| {
        let lag = a.lag.cmp(&b.lag);
        asked(a).total_cmp(&asked(b)).then(lag)
    };
    flows.iter().max_by(by_workers)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng as _, SeedableRng as _};

    use super::*;

    const BOUNDS: Bounds = Bounds {
        min: 1,
        max: 10,
        catch_up_within: Duration::from_secs(60),
    };

    fn flow(lag: u64, incoming: f64, per_replica: Option<f64>) -> Flow {
        Flow {
            input: "clicks".to_owned(),
            partitions: 6,
            lag,
            incoming,
            per_replica,
        }
    }

    fn at(replicas: u32, flows: &[Flow]) -> Situation<'_> {
        Situation {
            flows: Some(flows),
            is_blocked: false,
            replicas,
            ready: replicas,
            partitions: 6,
        }
    }

    fn of(replicas: u32, flows: &[Flow]) -> (u32, Option<Limit>, Option<Hold>) {
        let found = recommend(&BOUNDS, &at(replicas, flows));
        (found.replicas, found.limit, found.hold)
    }

    #[test]
    fn workers_keep_up_with_what_comes_in_and_drain_what_waits_in_time() {
        // 250 a second of which one worker can 100, and nothing waits.
        assert_eq!(of(2, &[flow(0, 250.0, Some(100.0))]), (3, None, None));
        // 100 a second, and 6,050 that wait: 200 a second for a minute.
        assert_eq!(of(1, &[flow(6_050, 100.0, Some(100.0))]), (2, None, None));
        // The input that asks for most decides.
        let two = [flow(0, 10.0, Some(100.0)), flow(0, 90.0, Some(30.0))];
        assert_eq!(of(1, &two), (3, None, None));
        assert_eq!(decisive(&two, &BOUNDS), Some(&two[1]));
    }

    #[test]
    fn small_changes_change_nothing() {
        for incoming in [170.0, 200.0, 219.0] {
            assert_eq!(of(2, &[flow(0, incoming, Some(100.0))]), (2, None, None));
        }
        assert_eq!(of(2, &[flow(0, 221.0, Some(100.0))]).0, 3);
        assert_eq!(of(3, &[flow(0, 161.0, Some(100.0))]).0, 3);
        assert_eq!(of(3, &[flow(0, 159.0, Some(100.0))]).0, 2);
    }

    #[test]
    fn what_limits_is_said() {
        let much = [flow(1_000_000, 0.0, Some(10.0))];
        assert_eq!(of(1, &much), (3, Some(Limit::Pace), None));
        assert_eq!(of(4, &much), (6, Some(Limit::Partitions), None));
        assert_eq!(of(6, &much), (6, Some(Limit::Partitions), None));
        let few = Bounds { max: 2, ..BOUNDS };
        let found = recommend(&few, &at(1, &much));
        assert_eq!((found.replicas, found.limit), (2, Some(Limit::Max)));
        let many = Bounds { min: 3, ..BOUNDS };
        let found = recommend(&many, &at(5, &[flow(0, 0.0, None)]));
        assert_eq!((found.replicas, found.limit), (3, Some(Limit::Min)));
        let found = recommend(&many, &at(1, &[]));
        assert_eq!((found.replicas, found.limit), (3, Some(Limit::Min)));
    }

    #[test]
    fn what_is_not_known_holds() {
        let unknown = Situation {
            flows: None,
            ..at(4, &[])
        };
        assert_eq!(
            recommend(&BOUNDS, &unknown),
            Recommended {
                replicas: 4,
                limit: None,
                hold: Some(Hold::Unknown)
            }
        );
        assert_eq!(
            of(4, &[flow(10_000, 10.0, None)]),
            (4, None, Some(Hold::Measuring))
        );
        // Another that is known to need few workers makes it no fewer, and one that needs many makes it more.
        let lags = flow(10_000, 10.0, None);
        let few = [lags.clone(), flow(0, 10.0, Some(100.0))];
        assert_eq!(of(4, &few), (4, None, Some(Hold::Measuring)));
        assert_eq!(of(4, &[lags, flow(0, 500.0, Some(100.0))]).0, 5);
    }

    #[test]
    fn blocked_tasks_and_workers_that_still_start_ask_for_no_more() {
        let much = [flow(1_000_000, 100.0, Some(10.0))];
        let blocked = Situation {
            is_blocked: true,
            ..at(2, &much)
        };
        let starting = Situation {
            ready: 1,
            ..at(2, &much)
        };
        for (situation, hold) in [(blocked, Hold::Blocked), (starting, Hold::Starting)] {
            let found = recommend(&BOUNDS, &situation);
            assert_eq!((found.replicas, found.hold), (2, Some(hold)));
        }
        // Fewer are right all the same, when those that are there are enough.
        let enough = [flow(0, 10.0, Some(100.0))];
        let starting = Situation {
            ready: 1,
            ..at(4, &enough)
        };
        assert_eq!(recommend(&BOUNDS, &starting).replicas, 1);
    }

    #[test]
    fn where_nobody_knows_what_a_worker_can_and_all_keep_up_one_fewer_is_tried() {
        assert_eq!(of(4, &[flow(0, 100.0, None)]), (3, None, None));
        assert_eq!(of(1, &[flow(0, 100.0, None)]), (1, None, None));
        assert_eq!(of(4, &[flow(0, 0.0, None)]), (1, None, None));
    }

    fn random(random: &mut StdRng) -> (Bounds, Vec<Flow>, Situation<'static>) {
        let min = random.random_range(1..8);
        let bounds = Bounds {
            min,
            max: random.random_range(min..20),
            catch_up_within: Duration::from_secs(random.random_range(10..600)),
        };
        let flows = (0..random.random_range(0..4)).map(|_| {
            let lag = 10_u64.pow(random.random_range(0..8)) * random.random_range(0..10);
            let per_replica = random.random_bool(0.7);
            flow(
                lag,
                random.random_range(0.0..10_000.0),
                per_replica.then(|| random.random_range(0.01..5_000.0)),
            )
        });
        let flows = flows.collect();
        let situation = Situation {
            flows: None,
            is_blocked: random.random_bool(0.1),
            replicas: random.random_range(0..25),
            ready: random.random_range(0..25),
            partitions: random.random_range(0..25),
        };
        (bounds, flows, situation)
    }

    #[test]
    fn whatever_is_measured_the_number_is_in_its_range_and_holds_where_it_must() {
        for seed in 0..20_000 {
            let mut source = StdRng::seed_from_u64(seed);
            let (bounds, flows, situation) = random(&mut source);
            let situation = Situation {
                flows: source.random_bool(0.9).then_some(&flows[..]),
                ..situation
            };
            let found = recommend(&bounds, &situation);
            let (least, most, _) = range(&bounds, situation.partitions);
            assert!((least..=most).contains(&found.replicas), "{seed}");
            assert!(found.replicas >= 1, "{seed}");
            if situation.partitions > 0 {
                assert!(found.replicas <= situation.partitions, "{seed}");
            }
            let so_far = situation.replicas.clamp(least, most);
            if found.hold.is_some() || situation.is_blocked || situation.flows.is_none() {
                assert_eq!(found.replicas, so_far, "{seed}");
            }
        }
    }

    #[test]
    fn more_that_waits_or_comes_in_never_asks_for_fewer() {
        for seed in 0..20_000 {
            let mut source = StdRng::seed_from_u64(seed);
            let (bounds, flows, situation) = random(&mut source);
            let measured = flows.into_iter().map(|flow| Flow {
                per_replica: flow.per_replica.or(Some(10.0)),
                ..flow
            });
            let flows: Vec<Flow> = measured.collect();
            let mut more = flows.clone();
            for flow in &mut more {
                flow.lag += source.random_range(0..1_000_000);
                flow.incoming += source.random_range(0.0..1_000.0);
            }
            let of = |flows: &[Flow]| {
                let situation = Situation {
                    flows: Some(flows),
                    ready: situation.replicas,
                    ..situation
                };
                recommend(&bounds, &situation).replicas
            };
            assert!(of(&more) >= of(&flows), "{seed}");
        }
    }
}
