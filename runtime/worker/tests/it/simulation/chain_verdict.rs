//! Compares what came out of windows over windows with a plain computation over the rows that the windows below have to have.
use std::collections::BTreeMap;

use futures::executor::block_on;
use tidewheel_engine::Ledger;
use tidewheel_planner::generations::Allotment;
use tidewheel_sinks::embedded::{Columns, Row};
use tidewheel_worker::Status;

use super::cluster::Cluster;
use super::history::History;
use super::oracle::{Key, Members, Outcome, members, starts};
use super::scenario::{Chain, Scenario, Shape};
use super::verdict::{Verdicts, same};
use super::window_verdict::{Outcomes, check_output_ledger, outcomes, sorted};

/// A row of a window below: its group, when it happened, and its numbers.
#[derive(Debug, Clone)]
struct Below {
    key: Key,
    at_ms: i64,
    outcome: Outcome<(i64, Option<i64>)>,
}

/// A row of `per`.
#[derive(Debug, Clone, PartialEq)]
struct PerRow {
    count: i64,
    most: i64,
    sum: Option<i64>,
    first: i64,
    last: Option<i64>,
    quotients: i64,
}

/// A row of `span`.
#[derive(Debug, Clone, PartialEq)]
struct SpanRow {
    count: i64,
    sum: i64,
    most: i64,
}

/// What goes into a window: when, and the row.
type Entered<T> = BTreeMap<Key, Vec<(i64, T)>>;

pub(crate) fn check(cluster: &Cluster, history: &History, verdicts: &Verdicts, status: &Status) {
    let Some(chain) = &cluster.scenario.chain else {
        return;
    };
    let (mut pers, mut spans) = (BTreeMap::new(), BTreeMap::new());
    for (allotment, version) in generations(history) {
        stay(&mut pers, allotment, "per");
        if chain.span.is_some() {
            stay(&mut spans, allotment, "span");
        }
        // Nobody ran it.
        let Some(version) = version else { continue };
        let made = of_per(&cluster.scenario, chain, version, allotment, verdicts);
        let rows = made
            .iter()
            .map(|(key, rows)| (key.clone(), per_row(chain, cluster, rows)));
        let rows: BTreeMap<Key, PerRow> = rows.collect();
        if let Some(span) = chain.span {
            let cut_ms = allotment.steps["span"].cut_ms;
            let of_span = of_span(chain.per[version], span, cut_ms, &made, &rows);
            spans.extend(
                of_span
                    .iter()
                    .map(|(key, rows)| (key.clone(), span_row(rows))),
            );
        }
        pers.extend(rows);
    }
    let found = read(cluster, "pers");
    let pers: Vec<_> = pers.into_iter().collect();
    same("windows over windows", &pers, &sorted(&found, per_of));
    if chain.span.is_some() {
        let found = read(cluster, "spans");
        let spans: Vec<_> = spans.into_iter().collect();
        same("windows over those", &spans, &sorted(&found, span_of));
    }
    check_ledgers(cluster, chain, history, verdicts, status);
}

/// The groups of `win` whose rows `per` cannot compute with.
pub(crate) fn failing(cluster: &Cluster, history: &History, verdicts: &Verdicts) -> Vec<Key> {
    let scenario = &cluster.scenario;
    let (Some(chain), true) = (&scenario.chain, scenario.divides) else {
        return Vec::new();
    };
    let mut failing = Vec::new();
    for (allotment, version) in generations(history) {
        failing.retain(|(start_ms, _)| stays(allotment, "win", *start_ms));
        let Some(version) = version else { continue };
        let rows = below(scenario, chain, version, allotment, verdicts).into_iter();
        let rows =
            rows.filter(|row| matches!(row.outcome, Outcome::Row((c, _)) if fails(chain, c)));
        failing.extend(rows.map(|row| row.key));
    }
    failing
}

/// The allotments that began generations of `per`, each with a version that it is of; none where nobody ever ran it.
fn generations(history: &History) -> Vec<(&Allotment, Option<usize>)> {
    let mut generations: Vec<(&Allotment, Option<usize>)> = Vec::new();
    for allotment in &history.allotments {
        let version = history.versions.get(&allotment.revision).copied();
        let numbers = |allotment: &Allotment| {
            let number = |step: &str| allotment.steps.get(step).map(|step| step.number);
            (number("win"), number("per"), number("span"))
        };
        match generations.last_mut() {
            Some((last, of)) if numbers(last).1 == numbers(allotment).1 => {
                assert_eq!(numbers(last), numbers(allotment), "they begin together");
                *of = of.or(version);
            }
            _ => generations.push((allotment, version)),
        }
    }
    generations
}

fn stays(allotment: &Allotment, step: &str, start_ms: i64) -> bool {
    let cut_ms = allotment.steps[step].cut_ms;
    cut_ms.is_some_and(|cut_ms| start_ms < cut_ms)
}

fn stay<T>(rows: &mut BTreeMap<Key, T>, allotment: &Allotment, step: &str) {
    rows.retain(|(start_ms, _), _| stays(allotment, step, *start_ms));
}

/// The groups of the windows below that a generation writes.
fn below(
    scenario: &Scenario,
    chain: &Chain,
    version: usize,
    allotment: &Allotment,
    verdicts: &Verdicts,
) -> Vec<Below> {
    let (shape, cut_ms) = (
        scenario.versions[version].windows,
        allotment.steps["win"].cut_ms,
    );
    let members: Members = members(shape, true, cut_ms, &verdicts[version]);
    let outcomes = outcomes(scenario, version, &members);
    let of = |(key, (row, followed)): (Key, Outcomes)| {
        let newest_ms = members[&key].iter().map(|(ts_ms, ..)| *ts_ms).max();
        let last_ms = if shape.is_session {
            newest_ms.unwrap()
        } else {
            key.0
        };
        let outcome = match chain.of_after {
            true => followed.then(|row| Outcome::Row((row.count, row.sum))),
            false => row.then(|row| Outcome::Row((row.count, row.sum))),
        };
        Below {
            at_ms: last_ms + shape.size_ms - 1,
            key,
            outcome,
        }
    };
    outcomes.into_iter().map(of).collect()
}

/// Whether a row is a division by zero.
fn fails(chain: &Chain, c: i64) -> bool {
    c == divisor(chain)
}

fn divisor(chain: &Chain) -> i64 {
    if chain.of_after { 10 } else { 5 }
}

/// Whether a row goes to a window, where these are not of an earlier generation.
fn counts(scenario: &Scenario, chain: &Chain, c: i64) -> bool {
    c != 4 && !(scenario.divides && fails(chain, c))
}

/// The rows that go into windows of `per`.
fn of_per(
    scenario: &Scenario,
    chain: &Chain,
    version: usize,
    allotment: &Allotment,
    verdicts: &Verdicts,
) -> Entered<(i64, Option<i64>)> {
    let rows = below(scenario, chain, version, allotment, verdicts).into_iter();
    let rows = rows.filter_map(|row| Some((row.at_ms, row.key.1, row.outcome.row()?)));
    let rows = rows.filter(|(_, _, (c, _))| counts(scenario, chain, *c));
    let cut_ms = allotment.steps["per"].cut_ms;
    entered(chain.per[version], cut_ms, rows.collect())
}

/// Rows by the windows that they go to.
fn entered<T: Clone>(
    shape: Shape,
    cut_ms: Option<i64>,
    mut rows: Vec<(i64, Option<String>, T)>,
) -> Entered<T> {
    let mut entered = Entered::new();
    rows.sort_by_key(|(at_ms, ..)| *at_ms);
    // Of each group, where the session in hand began and when its last row was.
    let mut open: BTreeMap<Option<String>, (i64, i64)> = BTreeMap::new();
    for (at_ms, group, row) in rows {
        let mut starts: Vec<i64> = starts(shape, at_ms).collect();
        if shape.is_session {
            let session = open.entry(group.clone()).or_insert((at_ms, at_ms));
            if at_ms - session.1 >= shape.size_ms {
                session.0 = at_ms;
            }
            session.1 = at_ms;
            starts = vec![session.0];
        }
        starts.retain(|start_ms| cut_ms.is_none_or(|cut_ms| cut_ms <= *start_ms));
        for start_ms in starts {
            let key = (start_ms, group.clone());
            entered.entry(key).or_default().push((at_ms, row.clone()));
        }
    }
    entered
}

fn per_row(chain: &Chain, cluster: &Cluster, rows: &[(i64, (i64, Option<i64>))]) -> PerRow {
    let counts = || rows.iter().map(|(_, (c, _))| *c);
    let sums = rows.iter().filter_map(|(_, (_, s))| *s);
    // Rows are in the order of their times, of which a group has one each.
    let (first, last) = (rows.first().unwrap(), rows.last().unwrap());
    PerRow {
        count: rows.len() as i64,
        most: counts().max().unwrap(),
        sum: sums.reduce(|a, b| a + b),
        first: first.1.0,
        last: last.1.1,
        quotients: match cluster.scenario.divides {
            true => counts().map(|c| 10 / (c - divisor(chain))).sum(),
            false => counts().sum(),
        },
    }
}

/// The rows that go into windows of `span`: that of a window comes when the last of it does.
fn of_span(
    per: Shape,
    span: Shape,
    cut_ms: Option<i64>,
    made: &Entered<(i64, Option<i64>)>,
    rows: &BTreeMap<Key, PerRow>,
) -> Entered<PerRow> {
    let rows = rows.iter().map(|(key, row)| {
        let newest_ms = made[key].last().unwrap().0;
        let last_ms = if per.is_session { newest_ms } else { key.0 };
        (last_ms + per.size_ms - 1, None, row.clone())
    });
    entered(span, cut_ms, rows.collect())
}

fn span_row(rows: &[(i64, PerRow)]) -> SpanRow {
    SpanRow {
        count: rows.len() as i64,
        sum: rows.iter().map(|(_, row)| row.count).sum(),
        most: rows.iter().map(|(_, row)| row.most).max().unwrap(),
    }
}

fn read(cluster: &Cluster, output: &str) -> Vec<Row> {
    let mut outputs = cluster.plan.outputs.iter();
    let output = outputs.find(|found| found.name == output).unwrap();
    let rows = cluster
        .database
        .rows(output.table().unwrap(), Columns::WithPosition);
    let rows = block_on(rows).unwrap();
    let is_first = |row: &Row| row["_revision"].as_i64() == Some(1);
    assert!(
        rows.iter().all(is_first),
        "they are written once: {rows:#?}"
    );
    rows
}

fn per_of(row: &Row) -> PerRow {
    let number = |name: &str| row[name].as_i64();
    PerRow {
        count: number("n").unwrap(),
        most: number("m").unwrap(),
        sum: number("s"),
        first: number("f").unwrap(),
        last: number("l"),
        quotients: number("q").unwrap(),
    }
}

fn span_of(row: &Row) -> SpanRow {
    let number = |name: &str| row[name].as_i64().unwrap();
    SpanRow {
        count: number("n"),
        sum: number("s"),
        most: number("m"),
    }
}

/// The ledgers of the newest generation: each row of `win` has one fate, and each that went to windows of `per` is in their rows.
fn check_ledgers(
    cluster: &Cluster,
    chain: &Chain,
    history: &History,
    verdicts: &Verdicts,
    status: &Status,
) {
    let scenario = &cluster.scenario;
    let newest = history.allotments.last().unwrap();
    let version = history.versions[&newest.revision];
    let (per, cut_ms) = (chain.per[version], newest.steps["per"].cut_ms);
    let mut expected = Ledger::default();
    for row in below(scenario, chain, version, newest, verdicts) {
        expected.read += 1;
        let last_ms = starts(per, row.at_ms).next().unwrap();
        *match row.outcome {
            Outcome::Filtered { step } => expected.filtered.entry(step.to_owned()).or_default(),
            Outcome::Row((4, _)) => expected.filtered.entry("per".to_owned()).or_default(),
            Outcome::Failed { .. } => expected
                .dead_lettered
                .entry("Evaluation".to_owned())
                .or_default(),
            Outcome::Row((c, _)) if !counts(scenario, chain, c) => expected
                .dead_lettered
                .entry("Evaluation".to_owned())
                .or_default(),
            Outcome::Row(_) if cut_ms.is_some_and(|cut_ms| last_ms < cut_ms) => {
                &mut expected.earlier_generation
            }
            Outcome::Row(_) => &mut expected.written,
        } += 1;
    }
    let mut actual = Ledger::default();
    let ledgers = status
        .values()
        .filter_map(|task| task.step_ledgers.get("per"));
    ledgers.for_each(|ledger| actual.add(ledger));
    assert_eq!(actual, expected, "ledger of the step over windows");
    let made = of_per(scenario, chain, version, newest, verdicts);
    let contributions = made.values().map(Vec::len).sum::<usize>() as u64;
    let expected = Ledger {
        read: contributions,
        written: contributions,
        ..Ledger::default()
    };
    check_output_ledger(status, "pers", &expected);
}
