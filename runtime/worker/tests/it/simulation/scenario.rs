//! A pipeline in several versions, as a seed draws it.
mod changed;
mod yaml;

use tidewheel_planner::plan::LatePolicy;

use super::formula::{Aggregation, Condition, Formula};
use super::world::World;

pub(crate) const OUT_OF_ORDER_MS: i64 = 3_000;
pub(crate) const FUTURE_MS: i64 = 5_000;
pub(crate) const WITHIN_MS: i64 = 12_000;
/// Above which `x` tables refuse rows of some kinds; their second rows from one more on.
pub(crate) const REFUSED_FROM: f64 = 8.0;

const POLICIES: [LatePolicy; 4] = [
    LatePolicy::Amend,
    LatePolicy::Amend,
    LatePolicy::DeadLetter,
    LatePolicy::Drop,
];
const ALLOWED_MS: [i64; 3] = [0, 5_000, 15_000];
const GAPS_MS: [i64; 3] = [1_000, 2_000, 5_000];

/// The names that sources may have; ids of events begin with their first letter.
pub(crate) const SOURCES: [&str; 2] = ["events", "more"];

/// The pipeline, as far as it stays the same.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scenario {
    /// By source, how many partitions it has in the beginning.
    pub(crate) partitions: Vec<i32>,
    /// Whether partitions are added in mid-run.
    pub(crate) grows: bool,
    /// Whether retention takes what was not read.
    pub(crate) forgets: bool,
    /// Whether what was there before the first worker started is left out.
    pub(crate) latest: bool,
    pub(crate) idle_after_s: i64,
    pub(crate) deduplicates: bool,
    /// Events of kind `b` yield a second row.
    pub(crate) doubles: bool,
    /// Each tag of an event yields a row of its own.
    pub(crate) unnests: bool,
    pub(crate) having: bool,
    /// Results of some groups are divisions by zero, in the aggregate step and after it.
    pub(crate) divides: bool,
    /// A second aggregate step over the same rows, without groups.
    pub(crate) totals: Option<Shape>,
    /// Aggregate steps over the windows of the grouped one.
    pub(crate) chain: Option<Chain>,
    /// A column of rows, of which versions have one each, and what windows make of it.
    pub(crate) formulas: [Formula; 2],
    pub(crate) aggregation: Aggregation,
    /// Rows of which this is true are left out.
    pub(crate) left_out: Option<Condition>,
    /// Whether plans say how old they are.
    pub(crate) ages: bool,
    /// The first runs from the beginning, each other from somewhere in between.
    pub(crate) versions: Vec<Version>,
}

/// Windows over windows: the step `per` over those of `win`, and maybe the step `span` over those of `per`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Chain {
    /// Those of `per`, by version.
    pub(crate) per: Vec<Shape>,
    /// Those of `span`.
    pub(crate) span: Option<Shape>,
    /// The rows are those of the step that follows on `win`.
    pub(crate) of_after: bool,
}

/// What changes from version to version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version {
    /// In the row-wise step.
    pub(crate) factor: i64,
    /// In the row-wise step: the kind that it leaves out.
    pub(crate) skipped: &'static str,
    /// In the row-wise step: which formula it has.
    pub(crate) formula: usize,
    /// In the aggregate step.
    pub(crate) add: i64,
    pub(crate) windows: Shape,
    /// How long sources wait for what is out of order.
    pub(crate) out_of_order_ms: i64,
}

/// The windows of an aggregate step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Of sessions the gap.
    pub(crate) size_ms: i64,
    pub(crate) is_session: bool,
    /// How far the starts of two windows are apart: the size where windows do not overlap.
    pub(crate) every_ms: i64,
    pub(crate) policy: LatePolicy,
    pub(crate) allowed_ms: i64,
}

impl Shape {
    fn draw(world: &World, sizes_ms: &[i64]) -> Self {
        let size_ms = *world.pick(sizes_ms);
        Self {
            size_ms,
            is_session: false,
            every_ms: Self::every_ms(world, size_ms),
            policy: *world.pick(&POLICIES),
            allowed_ms: *world.pick(&ALLOWED_MS),
        }
    }

    /// Sessions in place of these windows.
    fn in_sessions(self, gap_ms: i64) -> Self {
        Self {
            size_ms: gap_ms,
            is_session: true,
            every_ms: 1,
            policy: match self.policy {
                LatePolicy::Amend => LatePolicy::DeadLetter,
                once => once,
            },
            allowed_ms: self.allowed_ms,
        }
    }

    /// Has windows written once.
    fn amends_nothing(&mut self) {
        if self.policy == LatePolicy::Amend {
            self.policy = LatePolicy::DeadLetter;
        }
    }

    /// Of windows of a size, how far their starts are apart.
    fn every_ms(world: &World, size_ms: i64) -> i64 {
        match world.chance(0.4) {
            true => world.between(1, size_ms / 1_000) * 1_000,
            false => size_ms,
        }
    }
}

impl Scenario {
    pub(crate) fn draw(world: &World) -> Self {
        let first = Version {
            factor: 1,
            skipped: "skip",
            formula: 0,
            add: 0,
            windows: Shape::draw(world, &[10_000]),
            out_of_order_ms: OUT_OF_ORDER_MS,
        };
        let mut versions = vec![first];
        if world.chance(0.4) {
            for _ in 0..world.between(1, 2) {
                let mut next = versions[versions.len() - 1];
                match world.below(6) {
                    5 => next.formula = 1 - next.formula,
                    0 => next.add += 1,
                    1 => next.factor += 1,
                    2 => {
                        let size_ms = *world.pick(&[4_000, 5_000, 7_000, 15_000, 20_000]);
                        next.windows.size_ms = size_ms;
                        next.windows.every_ms = Shape::every_ms(world, size_ms);
                    }
                    3 => next.windows = Shape::draw(world, &[next.windows.size_ms]),
                    _ => next.skipped = if next.skipped == "skip" { "c" } else { "skip" },
                }
                versions.push(next);
            }
        }
        let mut partitions = vec![*world.pick(&[1, 2, 3, 4])];
        if world.chance(0.3) {
            partitions.push(*world.pick(&[1, 2]));
        }
        // What a deduplication knew it does not know again where retention has taken it: how far a worker has come decides then.
        let deduplicates = world.chance(0.7);
        Self {
            partitions,
            forgets: versions.len() == 1 && !deduplicates && world.chance(0.5),
            // What windows before a cut lack of a partition that is added after it they never get.
            grows: versions.len() == 1 && world.chance(0.3),
            latest: world.chance(0.3),
            idle_after_s: world.between(1, 6),
            deduplicates,
            doubles: world.chance(0.3),
            unnests: world.chance(0.3),
            having: world.chance(0.6),
            divides: world.chance(0.4),
            totals: world
                .chance(0.3)
                .then(|| Shape::draw(world, &[6_000, 10_000, 25_000])),
            chain: None,
            formulas: [Formula::draw(world, 2), Formula::draw(world, 2)],
            aggregation: *world.pick(&Aggregation::ALL),
            left_out: world.chance(0.3).then(|| Condition::draw(world, 2)),
            ages: world.chance(0.5),
            versions,
        }
    }

    /// The same with sessions in place of other windows, at least of the grouped ones.
    pub(crate) fn in_sessions(mut self, world: &World) -> Self {
        let mut gap_ms = *world.pick(&GAPS_MS);
        let mut before = self.versions[0].windows;
        for version in &mut self.versions {
            if std::mem::replace(&mut before, version.windows) != version.windows {
                gap_ms = *world.pick(&GAPS_MS);
            }
            version.windows = version.windows.in_sessions(gap_ms);
        }
        let joins_totals = world.chance(0.5);
        let totals = self.totals.filter(|_| joins_totals);
        self.totals = totals.map(|shape| shape.in_sessions(1_000)).or(self.totals);
        // What was final before a partition is added takes nothing of it.
        self.grows = false;
        self
    }

    /// The same with windows over the grouped windows.
    pub(crate) fn in_chain(mut self, world: &World) -> Self {
        let first = self.versions[0].windows;
        for version in &mut self.versions {
            // Where windows of two kinds do not begin together, some of those over them have no row.
            version.windows = Shape {
                size_ms: first.size_ms,
                every_ms: first.every_ms,
                is_session: first.is_session,
                ..version.windows
            };
            version.windows.amends_nothing();
        }
        if first.is_session {
            // Sessions that had begun before a change are not written again.
            self.versions.truncate(1);
        }
        let mut per = Shape::draw(world, &[10_000, 20_000, 25_000, 60_000]);
        if self.versions.len() == 1 && world.chance(0.2) {
            per = per.in_sessions(30_000);
        }
        let mut of_versions = Vec::new();
        for _ in &self.versions {
            of_versions.push(per);
            if !per.is_session && world.chance(0.3) {
                per = Shape::draw(world, &[10_000, 20_000, 30_000]);
            }
        }
        let span = world.chance(0.4).then(|| {
            let widest = of_versions.iter_mut();
            let widest = widest.map(|per| {
                per.amends_nothing();
                // A third step over windows that begin every second takes all of them.
                per.every_ms = if per.is_session { 1 } else { per.size_ms };
                per.size_ms
            });
            Shape::draw(world, &[2 * widest.max().unwrap_or(0)])
        });
        self.chain = Some(Chain {
            per: of_versions,
            span,
            of_after: world.chance(0.4),
        });
        // What was final before a partition is added takes nothing of it.
        self.grows = false;
        self
    }

    /// Pipelines with one thing less each.
    pub(crate) fn simpler(&self) -> Vec<Self> {
        let without: [fn(&mut Self); 17] = [
            |scenario| scenario.chain = None,
            |scenario| {
                scenario
                    .chain
                    .iter_mut()
                    .for_each(|chain| chain.span = None)
            },
            |scenario| scenario.formulas = [Formula::N, Formula::D],
            |scenario| scenario.left_out = None,
            |scenario| scenario.partitions.truncate(1),
            |scenario| {
                let fewer = scenario.partitions.iter().map(|count| (count - 1).max(1));
                scenario.partitions = fewer.collect();
            },
            |scenario| {
                scenario
                    .versions
                    .truncate(scenario.versions.len().max(2) - 1);
            },
            |scenario| scenario.totals = None,
            |scenario| scenario.latest = false,
            |scenario| scenario.deduplicates = false,
            |scenario| scenario.doubles = false,
            |scenario| scenario.unnests = false,
            |scenario| scenario.having = false,
            |scenario| scenario.divides = false,
            |scenario| scenario.ages = false,
            |scenario| {
                let versions = scenario.versions.iter_mut();
                versions.for_each(|version| version.windows.allowed_ms = 0);
            },
            |scenario| {
                let versions = scenario.versions.iter_mut();
                versions.for_each(|version| version.out_of_order_ms = OUT_OF_ORDER_MS);
            },
        ];
        let simpler = without.map(|leave_out| {
            let mut simpler = self.clone();
            leave_out(&mut simpler);
            simpler
        });
        simpler
            .into_iter()
            .filter(|simpler| simpler != self)
            .collect()
    }

    /// The names of the sources.
    pub(crate) fn sources(&self) -> &'static [&'static str] {
        &SOURCES[..self.partitions.len()]
    }
}
