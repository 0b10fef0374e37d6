//! What has to come out: a plain computation, record by record, over the log as it is at the end. It shares no code with the engine.
use std::collections::{BTreeMap, HashMap};

use tidewheel_planner::plan::LatePolicy;

use super::event::{Event, To};
use super::scenario::{FUTURE_MS, REFUSED_FROM, Scenario, Shape, Version, WITHIN_MS};

/// A record of the source topic.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) offset: i64,
    pub(crate) append_time_ms: i64,
    pub(crate) event: Event,
}

/// A row of the row output.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) ts_ms: i64,
    pub(crate) kind: Option<&'static str>,
    pub(crate) n: Option<i64>,
    pub(crate) x: Option<f64>,
    pub(crate) v: Option<i64>,
    pub(crate) q: Option<i64>,
    pub(crate) tags: Option<String>,
    pub(crate) e: Option<i64>,
    /// Its table takes no such row.
    pub(crate) refused: bool,
}

/// What becomes of a record on its way to the row output.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Fate {
    Rows(Vec<Row>),
    Filtered {
        step: &'static str,
    },
    Duplicate,
    /// It is for somebody else.
    Skipped,
    Dead {
        reason: &'static str,
        step: &'static str,
    },
}

static SKIPPED: Fate = Fate::Skipped;

/// A record, judged by one version.
#[derive(Debug, Clone)]
pub(crate) struct Judged {
    pub(crate) offset: i64,
    pub(crate) fate: Fate,
    pub(crate) to: To,
    /// The partition's watermark before it.
    pub(crate) watermark_ms: Option<i64>,
}

impl Judged {
    pub(crate) fn is_for(&self, consumer: &str) -> bool {
        match self.to {
            To::Everybody => true,
            To::One(one) => one == consumer,
            To::Nobody => false,
        }
    }

    /// What becomes of it on its way to an output of rows, or to an aggregate step.
    pub(crate) fn fate_for(&self, consumer: &str) -> &Fate {
        if self.is_for(consumer) {
            &self.fate
        } else {
            &SKIPPED
        }
    }
}

/// What becomes of a record at the windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    Counts,
    Late,
    EarlierGeneration,
}

/// A row of the window output, without its bounds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct WindowRow {
    pub(crate) count: i64,
    pub(crate) sum: Option<i64>,
    pub(crate) low: Option<i64>,
    pub(crate) high: Option<i64>,
    pub(crate) average: Option<f64>,
    pub(crate) first: String,
    pub(crate) last: String,
    pub(crate) aggregated: Option<i64>,
    pub(crate) share: Option<i64>,
}

impl WindowRow {
    /// Its table takes no such row.
    pub(crate) fn is_refused(&self) -> bool {
        self.count % 3 == 2
    }
}

/// A row of the output that follows the windows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AfterRow {
    pub(crate) count: i64,
    pub(crate) sum: Option<i64>,
    pub(crate) rate: i64,
}

/// A row of the output of windows that are not grouped.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TotalRow {
    pub(crate) count: i64,
    pub(crate) sum: Option<i64>,
}

/// Judges the records of one partition. `before`: those before the pipeline's beginning, which are appearances of keys and no more. `decrees`: offset from which each holds, and the watermark.
pub(crate) fn judge(
    scenario: &Scenario,
    version: Version,
    before: &[Stored],
    records: &[Stored],
    decrees: &[(i64, i64)],
) -> Vec<Judged> {
    let mut by_events_ms: Option<i64> = None;
    let mut seen: HashMap<&str, i64> = HashMap::new();
    for stored in before {
        let fate = fate_of(scenario, version, &stored.event, stored.append_time_ms);
        if matches!(fate, Fate::Rows(_)) {
            seen.insert(&stored.event.id, stored.append_time_ms);
        }
    }
    let mut judged = Vec::new();
    for Stored {
        offset,
        append_time_ms,
        event,
    } in records
    {
        let decreed_ms = decrees
            .iter()
            .filter(|(from, _)| from <= offset)
            .map(|(_, ms)| *ms)
            .max();
        let watermark_ms = by_events_ms.max(decreed_ms);
        if event.to() == To::Nobody {
            judged.push(Judged {
                offset: *offset,
                fate: Fate::Skipped,
                to: To::Nobody,
                watermark_ms,
            });
            continue;
        }
        let mut fate = fate_of(scenario, version, event, *append_time_ms);
        let has_time = !matches!(fate, Fate::Dead { step: "", .. });
        if has_time {
            by_events_ms = by_events_ms.max(Some(event.ts_ms - version.out_of_order_ms));
        }
        if scenario.deduplicates && matches!(fate, Fate::Rows(_)) {
            let before = seen.insert(&event.id, *append_time_ms);
            // What failed behind the deduplication has passed it, and nothing is a duplicate of what it repeats.
            let has_passed = matches!(event.to(), To::One(_));
            let again = event.again.as_ref();
            let repeats = |ms: i64| again.is_some_and(|again| again.repeats_ms.contains(&ms));
            let is_near = |ms: i64| append_time_ms - ms <= WITHIN_MS;
            if !has_passed && before.is_some_and(|before| is_near(before) && !repeats(before)) {
                fate = Fate::Duplicate;
            }
        }
        judged.push(Judged {
            offset: *offset,
            fate,
            to: event.to(),
            watermark_ms,
        });
    }
    judged
}

/// What becomes of an event where no deduplication leaves it out.
pub(crate) fn fate_of(
    scenario: &Scenario,
    version: Version,
    event: &Event,
    append_time_ms: i64,
) -> Fate {
    if let Some(flaw) = event.flaw {
        return Fate::Dead {
            reason: flaw.reason(),
            step: "",
        };
    }
    if event.ts_ms > append_time_ms + FUTURE_MS {
        return Fate::Dead {
            reason: "Future",
            step: "",
        };
    }
    let mut values_of_n = Vec::new();
    let left_out = scenario.left_out.as_ref();
    if left_out.is_some_and(|left_out| left_out.of(event) == Some(true)) {
        return Fate::Filtered { step: "parsed" };
    }
    if event.kind.unwrap_or_default() != version.skipped {
        values_of_n.push((event.n.map(|n| n * version.factor), REFUSED_FROM));
    }
    if scenario.doubles && event.kind == Some("b") {
        values_of_n.push((event.n.map(|n| n + 100), REFUSED_FROM + 1.0));
    }
    if values_of_n.is_empty() {
        return Fate::Filtered { step: "parsed" };
    }
    let v = match event.raw.map(str::parse::<i64>) {
        Some(Err(_)) => {
            return Fate::Dead {
                reason: "Evaluation",
                step: "parsed",
            };
        }
        Some(Ok(v)) => Some(v),
        None => None,
    };
    if event.d == Some(0) {
        return Fate::Dead {
            reason: "Evaluation",
            step: "parsed",
        };
    }
    let q = event.d.map(|d| 10 / d);
    let tags: Vec<_> = match event.tags {
        tags if !scenario.unnests => vec![tags],
        Some(tags) => tags.split(',').map(Some).collect(),
        None => return Fate::Filtered { step: "exploded" },
    };
    let row = |(n, refused_from): (Option<i64>, f64), tags: Option<&str>| Row {
        id: event.id.clone(),
        ts_ms: event.ts_ms,
        kind: event.kind,
        n,
        x: event.x,
        v,
        q,
        tags: tags.map(str::to_owned),
        e: scenario.formulas[version.formula].of(event),
        refused: matches!(event.kind, Some("a" | "b")) && event.x.is_some_and(|x| x > refused_from),
    };
    let of_tags = |n: (Option<i64>, f64)| tags.iter().map(|&tags| row(n, tags)).collect::<Vec<_>>();
    Fate::Rows(values_of_n.into_iter().flat_map(of_tags).collect())
}

/// The starts of the windows that hold a time, the last one first.
pub(crate) fn starts(shape: Shape, ts_ms: i64) -> impl Iterator<Item = i64> {
    let last_ms = ts_ms.div_euclid(shape.every_ms) * shape.every_ms;
    // Sessions are joined later.
    let size_ms = if shape.is_session { 1 } else { shape.size_ms };
    let before = move |start_ms: &i64| Some(start_ms - shape.every_ms);
    std::iter::successors(Some(last_ms), before)
        .take_while(move |start_ms| ts_ms < start_ms + size_ms)
}

/// Whether rows of time `ts_ms` enter any window: the last that holds them is the last to close.
pub(crate) fn entry(
    shape: Shape,
    cut_ms: Option<i64>,
    ts_ms: i64,
    watermark_ms: Option<i64>,
) -> Entry {
    let mut starts = starts(shape, ts_ms);
    let last_ms = starts.next().unwrap();
    entry_of(shape, cut_ms, last_ms, watermark_ms)
}

/// Whether rows enter the window that starts at `start_ms` and holds them.
fn entry_of(shape: Shape, cut_ms: Option<i64>, start_ms: i64, watermark_ms: Option<i64>) -> Entry {
    // No session ends before the time of a row that it takes.
    let size_ms = if shape.is_session { 1 } else { shape.size_ms };
    // What lies the gap before the cut or more has no part in a session that begins behind it.
    let joins_ms = if shape.is_session {
        shape.size_ms - 1
    } else {
        0
    };
    if cut_ms.is_some_and(|cut_ms| start_ms + joins_ms < cut_ms) {
        Entry::EarlierGeneration
    } else if watermark_ms.is_some_and(|ms| ms >= start_ms + size_ms + shape.allowed_ms) {
        Entry::Late
    } else {
        Entry::Counts
    }
}

impl Entry {
    /// The dead letter's reason, where it becomes one.
    pub(crate) fn reason(self, shape: Shape) -> Option<&'static str> {
        (self == Self::Late && shape.policy != LatePolicy::Drop).then_some("Late")
    }
}

/// A window's start and its group, by kind.
pub(crate) type Key = (i64, Option<String>);

/// The rows that enter windows, each with its time and its place in the log.
pub(crate) type Members = BTreeMap<Key, Vec<(i64, usize, i64, Row)>>;

/// Who enters which window of a generation, over all partitions; without groups where these are not grouped.
pub(crate) fn members(
    shape: Shape,
    grouped: bool,
    cut_ms: Option<i64>,
    partitions: &[Vec<Judged>],
) -> Members {
    let mut members = entered(shape, grouped, cut_ms, partitions);
    members.retain(|(start_ms, _), _| cut_ms.is_none_or(|cut_ms| cut_ms <= *start_ms));
    members
}

/// How many rows a generation takes for sessions that began before it.
pub(crate) fn begun_before(
    shape: Shape,
    grouped: bool,
    cut_ms: Option<i64>,
    partitions: &[Vec<Judged>],
) -> usize {
    let members = entered(shape, grouped, cut_ms, partitions).into_iter();
    let began_before = |start_ms: i64| cut_ms.is_some_and(|cut_ms| start_ms < cut_ms);
    let members = members.filter(|((start_ms, _), _)| began_before(*start_ms));
    members.map(|(_, rows)| rows.len()).sum()
}

/// Who enters which window, also of sessions that began before the cut.
fn entered(
    shape: Shape,
    grouped: bool,
    cut_ms: Option<i64>,
    partitions: &[Vec<Judged>],
) -> Members {
    let mut members = Members::new();
    let step = if grouped { "win" } else { "tot" };
    for (partition, judged) in partitions.iter().enumerate() {
        for judged in judged {
            let Judged {
                offset,
                watermark_ms,
                ..
            } = judged;
            let Fate::Rows(rows) = judged.fate_for(step) else {
                continue;
            };
            for row in rows {
                for start_ms in starts(shape, row.ts_ms) {
                    if entry_of(shape, cut_ms, start_ms, *watermark_ms) != Entry::Counts {
                        continue;
                    }
                    let group = row.kind.filter(|_| grouped).map(str::to_owned);
                    let key = (start_ms, group);
                    members.entry(key).or_default().push((
                        row.ts_ms,
                        partition,
                        *offset,
                        row.clone(),
                    ));
                }
            }
        }
    }
    match shape.is_session {
        true => joined(members, shape.size_ms),
        false => members,
    }
}

/// Members of moments as those of sessions.
fn joined(moments: Members, gap_ms: i64) -> Members {
    let mut members = Members::new();
    // Of each group, where the session in hand began and when its last row was.
    let mut open: BTreeMap<Option<String>, (i64, i64)> = BTreeMap::new();
    for ((ts_ms, group), rows) in moments {
        let begins = (ts_ms, ts_ms);
        let session = open.entry(group.clone()).or_insert(begins);
        *session = match *session {
            (start_ms, last_ms) if ts_ms - last_ms < gap_ms => (start_ms, ts_ms),
            _ => begins,
        };
        members.entry((session.0, group)).or_default().extend(rows);
    }
    members
}

/// What a group of a window becomes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome<T> {
    Row(T),
    /// HAVING or a later step leaves it out.
    Filtered {
        step: &'static str,
    },
    /// It cannot be computed.
    Failed {
        step: &'static str,
    },
}

impl<T> Outcome<T> {
    pub(crate) fn row(self) -> Option<T> {
        match self {
            Self::Row(row) => Some(row),
            Self::Filtered { .. } | Self::Failed { .. } => None,
        }
    }

    /// What the next step makes of it.
    pub(crate) fn then<U>(&self, next: impl FnOnce(&T) -> Outcome<U>) -> Outcome<U> {
        match self {
            Self::Row(row) => next(row),
            Self::Filtered { step } => Outcome::Filtered { step },
            Self::Failed { step } => Outcome::Failed { step },
        }
    }
}

/// The row of a group.
pub(crate) fn window_row(
    scenario: &Scenario,
    version: Version,
    members: &[(i64, usize, i64, Row)],
) -> Outcome<WindowRow> {
    let rows = || members.iter().map(|(_, _, _, row)| row);
    let sum = rows().filter_map(|row| row.n).reduce(|a, b| a + b);
    if scenario.having && sum.is_none_or(|sum| sum <= 5) {
        return Outcome::Filtered { step: "win" };
    }
    let share = match sum {
        Some(7) if scenario.divides => return Outcome::Failed { step: "win" },
        Some(sum) if scenario.divides => Some(20 / (sum - 7)),
        sum => sum,
    };
    let averaged: Vec<f64> = rows().filter_map(|row| row.x).collect();
    let place =
        |(ts_ms, partition, offset, _): &&(i64, usize, i64, Row)| (*ts_ms, *partition, *offset);
    let first = members.iter().min_by_key(place).unwrap();
    let last = members.iter().max_by_key(place).unwrap();
    Outcome::Row(WindowRow {
        count: members.len() as i64,
        sum: sum.map(|sum| sum + version.add),
        low: rows().filter_map(|row| row.v).min(),
        high: rows().filter_map(|row| row.q).max(),
        average: (!averaged.is_empty())
            .then(|| averaged.iter().sum::<f64>() / averaged.len() as f64),
        first: first.3.id.clone(),
        last: last.3.id.clone(),
        aggregated: scenario.aggregation.of(rows().map(|row| row.e)),
        share,
    })
}

/// What the step after makes of the row of a group.
pub(crate) fn after(scenario: &Scenario, row: &WindowRow) -> Outcome<AfterRow> {
    let rate = match row.count {
        2 => return Outcome::Filtered { step: "after" },
        3 if scenario.divides => return Outcome::Failed { step: "after" },
        count if scenario.divides => 60 / (count - 3),
        count => count,
    };
    Outcome::Row(AfterRow {
        count: row.count * 2,
        sum: row.sum.map(|sum| sum - 1),
        rate,
    })
}

/// The row of a window that is not grouped.
pub(crate) fn total_row(members: &[(i64, usize, i64, Row)]) -> TotalRow {
    let sum = members.iter().filter_map(|(.., row)| row.n);
    TotalRow {
        count: members.len() as i64,
        sum: sum.reduce(|a, b| a + b),
    }
}
