//! What a seed makes happen: a pipeline in several versions, and events.
use std::fmt;

use serde_json::json;
use tidewheel_planner::plan::LatePolicy;

use super::formula::{Aggregation, Condition, Formula};
use super::world::World;
use crate::fixture::{TABLES, event_source};

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

const BUS: &str = "apiVersion: tidewheel.dev/v1alpha1
kind: Sink
metadata: {name: bus, namespace: shop}
spec: {kafka: {}}
---
";

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

    fn yaml(&self) -> String {
        let (size_s, every_s) = (self.size_ms / 1_000, self.every_ms / 1_000);
        let window = if self.is_session {
            format!("session: {{gap: {size_s}s}}")
        } else if every_s == size_s {
            format!("tumbling: {size_s}s")
        } else {
            format!("hopping: {{size: {size_s}s, every: {every_s}s}}")
        };
        format!(
            "window: {{{window}}}, late: {{allowed: {}s, policy: {:?}}}",
            self.allowed_ms / 1_000,
            self.policy
        )
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
        let without: [fn(&mut Self); 16] = [
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

    /// The name of the relation that the aggregate steps and the row output read.
    fn once(&self) -> &'static str {
        match (self.deduplicates, self.unnests) {
            (true, _) => "once",
            (false, true) => "exploded",
            (false, false) => "parsed",
        }
    }

    /// The pipeline in one of its versions.
    pub(crate) fn yaml(&self, version: usize) -> String {
        let age = if self.ages {
            format!(", generation: {}", version + 1)
        } else {
            String::new()
        };
        let start = if self.latest { "Latest" } else { "Earliest" };
        let list = |name: &&str| format!("{{name: {name}, start: {start}}}");
        let sources: Vec<String> = self.sources().iter().map(list).collect();
        let mut totals = "";
        if self.totals.is_some() {
            totals = "    - {name: tots, from: tot, postgres: {sink: tables}}\n";
        }
        let mut over = String::new();
        if let Some(chain) = &self.chain {
            over.push_str("    - {name: pers, from: per, postgres: {sink: tables}}\n");
            if chain.span.is_some() {
                over.push_str("    - {name: spans, from: span, postgres: {sink: tables}}\n");
            }
        }
        let pipeline = format!(
            "apiVersion: tidewheel.dev/v1alpha1
kind: Pipeline
metadata: {{name: kpis, namespace: shop{age}}}
spec:
  sources: [{}]
  steps:
{}{}  outputs:
    - {{name: rows, from: {}, postgres: {{sink: tables}}}}
    - {{name: wins, from: win, postgres: {{sink: tables}}}}
    - {{name: afters, from: after, postgres: {{sink: tables}}}}
{totals}    - {{name: sent, from: {}, kafka: {{sink: bus, topic: sent, partitions: 2, key: [id]}}}}
    - {{name: told, from: win, kafka: {{sink: bus, topic: told, partitions: 3}}}}
{over}",
            sources.join(", "),
            self.row_steps(self.versions[version]),
            self.window_steps(self.versions[version]) + &self.chain_steps(version),
            self.once(),
            self.once(),
        );
        let event_time = format!(
            "maxOutOfOrder: {}s, maxFuture: {}s, idleAfter: {}s",
            OUT_OF_ORDER_MS / 1_000,
            FUTURE_MS / 1_000,
            self.idle_after_s
        );
        let mut text = format!("{TABLES}{BUS}");
        for (name, &partitions) in self.sources().iter().zip(&self.partitions) {
            text.push_str(&event_source(name, partitions, &event_time));
        }
        text + &pipeline
    }

    fn row_steps(&self, version: Version) -> String {
        let Version {
            factor,
            skipped,
            formula,
            ..
        } = version;
        let formula = &self.formulas[formula];
        let left_out = self.left_out.as_ref();
        let left_out = left_out.map_or_else(String::new, |is| format!(" AND {is} IS NOT TRUE"));
        let select = |n: &str, source: &str, condition: &str, refused_from: f64| {
            let refused = mark(&format!("kind IN ('a', 'b') AND x > {refused_from:.1}"));
            format!(
                "SELECT id, ts, kind, {n} AS n, x, CAST(raw AS BIGINT) AS v, 10 / d AS q, tags, {formula} AS e, {refused} FROM {source} WHERE {condition}{left_out}"
            )
        };
        let mut parts = Vec::new();
        for source in self.sources() {
            let kept = format!("coalesce(kind, '') <> '{skipped}'");
            parts.push(select(
                &format!("n * {factor}"),
                source,
                &kept,
                REFUSED_FROM,
            ));
            if self.doubles {
                parts.push(select("n + 100", source, "kind = 'b'", REFUSED_FROM + 1.0));
            }
        }
        let mut steps = format!(
            "    - {{name: parsed, sql: \"{}\"}}\n",
            parts.join(" UNION ALL ")
        );
        let mut last = "parsed";
        if self.unnests {
            steps.push_str("    - {name: exploded, sql: \"SELECT id, ts, kind, n, x, v, q, unnest(string_to_array(tags, ',')) AS tags, e, mark FROM parsed\"}\n");
            last = "exploded";
        }
        if self.deduplicates {
            steps.push_str(&format!(
                "    - {{name: once, deduplicate: {{from: {last}, by: [id], within: {}s}}}}\n",
                WITHIN_MS / 1_000
            ));
        }
        steps
    }

    fn window_steps(&self, version: Version) -> String {
        let once = self.once();
        let having = if self.having {
            " HAVING sum(n) > 5"
        } else {
            ""
        };
        let (share, rate) = if self.divides {
            ("20 / (sum(n) - 7)", "60 / (c - 3)")
        } else {
            ("sum(n)", "c")
        };
        let mut steps = format!(
            "    - name: win
      aggregate:
        {}
        sql: |
          SELECT kind, count(*) AS c, sum(n) + {} AS s, min(v) AS lo, max(q) AS hi, avg(x) AS a,
                 first_value(id ORDER BY ts) AS f, last_value(id ORDER BY ts) AS l, {}(e) AS g, {share} AS share, {}
          FROM {once} GROUP BY kind{having}
    - {{name: after, sql: 'SELECT kind, window_start, window_end, c * 2 AS c2, s - 1 AS s1, {rate} AS rate FROM win WHERE c <> 2'}}
",
            version.windows.yaml().replace("}, late", "}\n        late"),
            version.add,
            self.aggregation,
            mark("count(*) % 3 = 2"),
        );
        if let Some(totals) = &self.totals {
            steps.push_str(&format!(
                "    - {{name: tot, aggregate: {{{}, sql: 'SELECT count(*) AS c, sum(n) AS s FROM {once}'}}}}\n",
                totals.yaml()
            ));
        }
        steps
    }
}

impl Scenario {
    /// The steps over the windows of `win`.
    fn chain_steps(&self, version: usize) -> String {
        let Some(chain) = &self.chain else {
            return String::new();
        };
        let (from, c, s, failing) = match chain.of_after {
            true => ("after", "c2", "s1", 10),
            false => ("win", "c", "s", 5),
        };
        let quotient = match self.divides {
            true => format!("sum(10 / ({c} - {failing}))"),
            false => format!("sum({c})"),
        };
        let mut steps = format!(
            "    - name: per
      aggregate:
        {}
        sql: |
          SELECT kind, count(*) AS n, max({c}) AS m, sum({s}) AS s, first_value({c}) AS f, last_value({s}) AS l, {quotient} AS q
          FROM {from} WHERE {c} <> 4 GROUP BY kind
",
            chain.per[version].yaml().replace("}, late", "}\n        late"),
        );
        if let Some(span) = &chain.span {
            steps.push_str(&format!(
                "    - {{name: span, aggregate: {{{}, sql: 'SELECT count(*) AS n, sum(n) AS s, max(m) AS m FROM per'}}}}\n",
                span.yaml()
            ));
        }
        steps
    }
}

/// A column that no table takes where `refused` holds. Which rows are refused is the same in every version: whose row it was that was refused
/// cannot be told.
fn mark(refused: &str) -> String {
    format!("CASE WHEN {refused} THEN chr(0) ELSE 'fine' END AS mark")
}

/// An event as its sender meant it; the judge never looks at bytes.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) ts_ms: i64,
    pub(crate) kind: Option<&'static str>,
    pub(crate) n: Option<i64>,
    /// A multiple of an eighth, so that sums are exact in any order.
    pub(crate) x: Option<f64>,
    pub(crate) raw: Option<&'static str>,
    pub(crate) d: Option<i64>,
    pub(crate) tags: Option<&'static str>,
    pub(crate) flaw: Option<Flaw>,
    /// That it sends a dead letter again.
    pub(crate) again: Option<Again>,
}

/// An event that sends a dead letter again.
#[derive(Debug, Clone)]
pub(crate) struct Again {
    pub(crate) to: To,
    /// When the events were appended that it repeats.
    pub(crate) repeats_ms: Vec<i64>,
}

/// Whom an event is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum To {
    Everybody,
    /// An output of rows, or an aggregate step.
    One(&'static str),
    /// Another pipeline.
    Nobody,
}

/// What makes an event undecodable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    NoValue,
    Truncated,
    NoTime,
    TextForNumber,
}

impl Flaw {
    /// The word that its dead letter has to carry.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::NoValue => "Empty",
            Self::Truncated => "Malformed",
            Self::NoTime => "Missing",
            Self::TextForNumber => "WrongType",
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.flaw {
            Some(flaw) => write!(f, "{} that cannot be read ({})", self.id, flaw.reason()),
            None => write!(
                f,
                "{} kind {:?} n {:?} x {:?} raw {:?} d {:?} tags {:?}",
                self.id, self.kind, self.n, self.x, self.raw, self.d, self.tags
            ),
        }
    }
}

impl Event {
    /// An event for a partition of a source, and how far its time is behind when it is sent, ms.
    pub(crate) fn draw(
        world: &World,
        (source, partition): (usize, i32),
        number: usize,
    ) -> (Self, i64) {
        let behind_ms = match world.below(20) {
            0 => world.between(OUT_OF_ORDER_MS, 60_000),
            1 | 2 => world.between(0, 20_000),
            3 => -world.between(0, FUTURE_MS),
            4 => -world.between(FUTURE_MS - 1, FUTURE_MS + 20_000),
            _ => world.between(0, OUT_OF_ORDER_MS),
        };
        let flaw = world.chance(0.06).then(|| {
            *world.pick(&[
                Flaw::NoValue,
                Flaw::Truncated,
                Flaw::NoTime,
                Flaw::TextForNumber,
            ])
        });
        let event = Self {
            id: format!("{}{partition}-{number}", &SOURCES[source][..1]),
            ts_ms: 0,
            kind: *world.pick(&[
                Some("a"),
                Some("a"),
                Some("b"),
                Some("c"),
                Some("skip"),
                None,
            ]),
            n: world.chance(0.9).then(|| world.between(-5, 20)),
            x: world
                .chance(0.8)
                .then(|| world.between(-80, 80) as f64 / 8.0),
            raw: *world.pick(&[
                None,
                Some("1"),
                Some("-7"),
                Some("40"),
                Some("12"),
                Some("3"),
                Some("8"),
                Some("x"),
            ]),
            d: if world.chance(0.05) {
                Some(0)
            } else {
                *world.pick(&[None, Some(1), Some(3), Some(-4), Some(10)])
            },
            tags: *world.pick(&[None, Some("p"), Some("p"), Some("p,q"), Some("q,p,q")]),
            flaw,
            again: None,
        };
        (event, behind_ms)
    }

    pub(crate) fn to(&self) -> To {
        self.again.as_ref().map_or(To::Everybody, |again| again.to)
    }

    pub(crate) fn value(&self) -> Option<bytes::Bytes> {
        let mut object = json!({
            "id": self.id, "ts": self.ts_ms, "kind": self.kind, "n": self.n, "x": self.x, "raw": self.raw, "d": self.d, "tags": self.tags,
            "unknown": {"nested": [1, 2]},
        });
        match self.flaw {
            Some(Flaw::NoValue) => return None,
            Some(Flaw::NoTime) => object.as_object_mut().unwrap().remove("ts"),
            Some(Flaw::TextForNumber) => object
                .as_object_mut()
                .unwrap()
                .insert("n".to_owned(), "many".into()),
            Some(Flaw::Truncated) | None => None,
        };
        let mut text = object.to_string();
        if self.flaw == Some(Flaw::Truncated) {
            text.truncate(text.len() / 2);
        }
        Some(text.into())
    }
}
