//! What has to come out: a plain computation, record by record, over the log as it is at the end. It shares no code with the engine.
use std::collections::{BTreeMap, HashMap};

use tidewheel_planner::plan::LatePolicy;

use super::scenario::{
    Event, FUTURE_MS, OUT_OF_ORDER_MS, REFUSED_FROM, Scenario, Version, WINDOW_MS, WITHIN_MS,
};

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
    /// Its table takes no such row.
    pub(crate) refused: bool,
}

/// What becomes of a record on its way to the row output.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Fate {
    Rows(Vec<Row>),
    Filtered,
    Duplicate,
    Dead {
        reason: &'static str,
        step: &'static str,
    },
}

/// A record, judged by one version.
#[derive(Debug, Clone)]
pub(crate) struct Judged {
    pub(crate) offset: i64,
    pub(crate) fate: Fate,
    /// The partition's watermark before it.
    pub(crate) watermark_ms: Option<i64>,
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
}

impl WindowRow {
    /// Its table takes no such row.
    pub(crate) fn is_refused(&self) -> bool {
        self.count % 3 == 2
    }
}

/// By window start and group.
pub(crate) type Windows = BTreeMap<(i64, Option<String>), WindowRow>;

/// Judges the records of one partition. `decrees`: offset from which each holds, and the watermark.
pub(crate) fn judge(
    scenario: &Scenario,
    version: Version,
    records: &[Stored],
    decrees: &[(i64, i64)],
) -> Vec<Judged> {
    let mut by_events_ms: Option<i64> = None;
    let mut seen: HashMap<&str, i64> = HashMap::new();
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
        let mut fate = fate_of(scenario, version, event, *append_time_ms);
        let has_time = !matches!(fate, Fate::Dead { step: "", .. });
        if has_time {
            by_events_ms = by_events_ms.max(Some(event.ts_ms - OUT_OF_ORDER_MS));
        }
        if scenario.deduplicates && matches!(fate, Fate::Rows(_)) {
            let before = seen.insert(&event.id, *append_time_ms);
            if before.is_some_and(|before| append_time_ms - before <= WITHIN_MS) {
                fate = Fate::Duplicate;
            }
        }
        judged.push(Judged {
            offset: *offset,
            fate,
            watermark_ms,
        });
    }
    judged
}

fn fate_of(scenario: &Scenario, version: Version, event: &Event, append_time_ms: i64) -> Fate {
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
    if event.kind.unwrap_or_default() != version.skipped {
        values_of_n.push((event.n.map(|n| n * version.factor), REFUSED_FROM));
    }
    if scenario.doubles && event.kind == Some("b") {
        values_of_n.push((event.n.map(|n| n + 100), REFUSED_FROM + 1.0));
    }
    if values_of_n.is_empty() {
        return Fate::Filtered;
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
    let row = |(n, refused_from)| Row {
        id: event.id.clone(),
        ts_ms: event.ts_ms,
        kind: event.kind,
        n,
        x: event.x,
        v,
        q,
        refused: matches!(event.kind, Some("a" | "b")) && event.x.is_some_and(|x| x > refused_from),
    };
    Fate::Rows(values_of_n.into_iter().map(row).collect())
}

pub(crate) fn start_of(ts_ms: i64) -> i64 {
    ts_ms.div_euclid(WINDOW_MS) * WINDOW_MS
}

/// Whether rows of time `ts_ms` enter their window.
pub(crate) fn entry(
    scenario: &Scenario,
    cut_ms: Option<i64>,
    ts_ms: i64,
    watermark_ms: Option<i64>,
) -> Entry {
    let start_ms = start_of(ts_ms);
    if cut_ms.is_some_and(|cut_ms| start_ms < cut_ms) {
        Entry::EarlierGeneration
    } else if watermark_ms.is_some_and(|ms| ms >= start_ms + WINDOW_MS + scenario.allowed_ms) {
        Entry::Late
    } else {
        Entry::Counts
    }
}

impl Entry {
    /// The dead letter's reason, where it becomes one.
    pub(crate) fn reason(self, scenario: &Scenario) -> Option<&'static str> {
        (self == Self::Late && scenario.policy != LatePolicy::Drop).then_some("Late")
    }
}

/// The rows that enter windows, by window and group, each with its place in the log.
pub(crate) type Members = BTreeMap<(i64, Option<String>), Vec<(i64, usize, i64, Row)>>;

/// Who enters which window, over all partitions.
pub(crate) fn members(
    scenario: &Scenario,
    cut_ms: Option<i64>,
    partitions: &[Vec<Judged>],
) -> Members {
    let mut members = Members::new();
    for (partition, judged) in partitions.iter().enumerate() {
        for Judged {
            offset,
            fate,
            watermark_ms,
        } in judged
        {
            let Fate::Rows(rows) = fate else { continue };
            for row in rows {
                if entry(scenario, cut_ms, row.ts_ms, *watermark_ms) == Entry::Counts {
                    let key = (start_of(row.ts_ms), row.kind.map(str::to_owned));
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
    members
}

/// The window row of a group; none where HAVING leaves it out.
pub(crate) fn window_row(
    scenario: &Scenario,
    version: Version,
    members: &[(i64, usize, i64, Row)],
) -> Option<WindowRow> {
    let rows = || members.iter().map(|(_, _, _, row)| row);
    let sum = rows().filter_map(|row| row.n).reduce(|a, b| a + b);
    if scenario.having && sum.is_none_or(|sum| sum <= 5) {
        return None;
    }
    let averaged: Vec<f64> = rows().filter_map(|row| row.x).collect();
    let place =
        |(ts_ms, partition, offset, _): &&(i64, usize, i64, Row)| (*ts_ms, *partition, *offset);
    Some(WindowRow {
        count: members.len() as i64,
        sum: sum.map(|sum| sum + version.add),
        low: rows().filter_map(|row| row.v).min(),
        high: rows().filter_map(|row| row.q).max(),
        average: (!averaged.is_empty())
            .then(|| averaged.iter().sum::<f64>() / averaged.len() as f64),
        first: members.iter().min_by_key(place)?.3.id.clone(),
        last: members.iter().max_by_key(place)?.3.id.clone(),
    })
}
