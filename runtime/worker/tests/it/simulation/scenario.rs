//! What a seed makes happen: a pipeline in several versions, and events.
use serde_json::json;
use tidewheel_planner::plan::LatePolicy;

use super::world::World;
use crate::fixture::source;

pub(crate) const WINDOW_MS: i64 = 10_000;
pub(crate) const OUT_OF_ORDER_MS: i64 = 3_000;
pub(crate) const FUTURE_MS: i64 = 5_000;
pub(crate) const WITHIN_MS: i64 = 12_000;
/// Above which `x` tables refuse rows of some kinds; their second rows from one more on.
pub(crate) const REFUSED_FROM: f64 = 8.0;

/// The pipeline, as far as it stays the same.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) partitions: i32,
    pub(crate) idle_after_s: i64,
    pub(crate) policy: LatePolicy,
    pub(crate) allowed_ms: i64,
    pub(crate) deduplicates: bool,
    /// Events of kind `b` yield a second row.
    pub(crate) doubles: bool,
    pub(crate) having: bool,
    /// Whether plans say how old they are.
    pub(crate) ages: bool,
    /// The first runs from the beginning, each other from somewhere in between.
    pub(crate) versions: Vec<Version>,
}

/// What changes from version to version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version {
    /// In the row-wise step.
    pub(crate) factor: i64,
    /// In the row-wise step: the kind that it leaves out.
    pub(crate) skipped: &'static str,
    /// In the aggregate step.
    pub(crate) add: i64,
}

impl Scenario {
    pub(crate) fn draw(world: &World) -> Self {
        let first = Version {
            factor: 1,
            skipped: "skip",
            add: 0,
        };
        let mut versions = vec![first];
        if world.chance(0.4) {
            for _ in 0..world.between(1, 2) {
                let mut next = versions[versions.len() - 1];
                match world.below(3) {
                    0 => next.add += 1,
                    1 => next.factor += 1,
                    _ => next.skipped = if next.skipped == "skip" { "c" } else { "skip" },
                }
                versions.push(next);
            }
        }
        Self {
            partitions: *world.pick(&[1, 2, 3, 4]),
            idle_after_s: world.between(1, 6),
            policy: *world.pick(&[
                LatePolicy::Amend,
                LatePolicy::Amend,
                LatePolicy::DeadLetter,
                LatePolicy::Drop,
            ]),
            allowed_ms: *world.pick(&[0, 5_000, 15_000]),
            deduplicates: world.chance(0.7),
            doubles: world.chance(0.3),
            having: world.chance(0.6),
            ages: world.chance(0.5),
            versions,
        }
    }

    /// The pipeline in one of its versions.
    pub(crate) fn yaml(&self, version: usize) -> String {
        let Version {
            factor,
            skipped,
            add,
        } = self.versions[version];
        let age = if self.ages {
            format!(", generation: {}", version + 1)
        } else {
            String::new()
        };
        let columns = |n: &str, mark: &str| {
            format!("id, ts, kind, {n} AS n, x, CAST(raw AS BIGINT) AS v, 10 / d AS q, {mark}")
        };
        // Which rows the tables refuse is the same in every version: whose row it was that was refused cannot be told.
        let mark =
            |refused: &str| format!("CASE WHEN {refused} THEN chr(0) ELSE 'fine' END AS mark");
        let of_row = |from: f64| mark(&format!("kind IN ('a', 'b') AND x > {from:.1}"));
        let of_window = mark("count(*) % 3 = 2");
        let n = format!("n * {factor}");
        let mut parsed = format!(
            "SELECT {} FROM events WHERE coalesce(kind, '') <> '{skipped}'",
            columns(&n, &of_row(REFUSED_FROM))
        );
        if self.doubles {
            parsed.push_str(&format!(
                " UNION ALL SELECT {} FROM events WHERE kind = 'b'",
                columns("n + 100", &of_row(REFUSED_FROM + 1.0))
            ));
        }
        let (deduplicate, once) = if self.deduplicates {
            (
                format!(
                    "    - {{name: once, deduplicate: {{from: parsed, by: [id], within: {}s}}}}\n",
                    WITHIN_MS / 1_000
                ),
                "once",
            )
        } else {
            (String::new(), "parsed")
        };
        let having = if self.having {
            " HAVING sum(n) > 5"
        } else {
            ""
        };
        let pipeline = format!(
            "apiVersion: tidewheel.dev/v1alpha1
kind: Pipeline
metadata: {{name: kpis, namespace: shop{age}}}
spec:
  sources: [{{name: events}}]
  steps:
    - name: parsed
      sql: \"{parsed}\"
{deduplicate}    - name: win
      aggregate:
        window: {{tumbling: {}s}}
        late: {{allowed: {}s, policy: {:?}}}
        sql: |
          SELECT kind, count(*) AS c, sum(n) + {add} AS s, min(v) AS lo, max(q) AS hi, avg(x) AS a,
                 first_value(id ORDER BY ts) AS f, last_value(id ORDER BY ts) AS l, {of_window}
          FROM {once} GROUP BY kind{having}
    - {{name: after, sql: 'SELECT kind, window_start, window_end, c * 2 AS c2, s - 1 AS s1 FROM win WHERE c <> 2'}}
  outputs:
    - {{name: rows, from: {once}, postgres: {{sink: tables}}}}
    - {{name: wins, from: win, postgres: {{sink: tables}}}}
    - {{name: afters, from: after, postgres: {{sink: tables}}}}
",
            WINDOW_MS / 1_000,
            self.allowed_ms / 1_000,
            self.policy,
        );
        let event_time = format!(
            "maxOutOfOrder: {}s, maxFuture: {}s, idleAfter: {}s",
            OUT_OF_ORDER_MS / 1_000,
            FUTURE_MS / 1_000,
            self.idle_after_s
        );
        format!("{}{pipeline}", source(self.partitions, &event_time))
    }
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
    pub(crate) flaw: Option<Flaw>,
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

impl Event {
    /// An event for `partition`, sent at `now_ms`; `recent` are those that it may repeat.
    pub(crate) fn draw(
        world: &World,
        partition: i32,
        number: usize,
        now_ms: i64,
        recent: &[Self],
    ) -> Self {
        if !recent.is_empty() && world.chance(0.12) {
            let mut again = world.pick(recent).clone();
            if world.chance(0.3) {
                again.n = Some(world.between(-5, 20));
            }
            return again;
        }
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
        Self {
            id: format!("{partition}-{number}"),
            ts_ms: now_ms - behind_ms,
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
            flaw,
        }
    }

    pub(crate) fn value(&self) -> Option<bytes::Bytes> {
        let mut object = json!({
            "id": self.id, "ts": self.ts_ms, "kind": self.kind, "n": self.n, "x": self.x, "raw": self.raw, "d": self.d,
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
