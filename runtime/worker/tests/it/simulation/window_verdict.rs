//! Compares what came out of a cluster with what the oracle says: windows, and what follows them.
use std::collections::{BTreeMap, BTreeSet};

use futures::executor::block_on;
use serde_json::Value;
use tidewheel_engine::Ledger;
use tidewheel_log::Record;
use tidewheel_planner::plan::LatePolicy;
use tidewheel_sinks::embedded::{Columns, Row};
use tidewheel_worker::Status;

use super::chain_verdict;
use super::cluster::Cluster;
use super::history::History;
use super::oracle::{
    AfterRow, Entry, Key, Members, Outcome, TotalRow, WindowRow, after, begun_before, entry,
    members, total_row, window_row,
};
use super::scenario::{Scenario, Shape};
use super::unknown::Unknown;
use super::verdict::{Verdicts, enter, lose, millis, same};
use crate::fixture::header;

/// A group of a window that cannot be computed: its key, and the step that fails.
type DeadGroup = (Key, String);

/// The aggregate steps of a version.
pub(crate) fn steps(scenario: &Scenario, version: usize) -> Vec<(&'static str, Shape)> {
    let totals = scenario.totals.map(|totals| ("tot", totals));
    [("win", scenario.versions[version].windows)]
        .into_iter()
        .chain(totals)
        .collect()
}

fn shape(scenario: &Scenario, step: &str, version: usize) -> Shape {
    let steps = steps(scenario, version);
    let found = steps.iter().find(|(name, _)| *name == step);
    found.unwrap().1
}

/// What a group becomes in the aggregate step `win`, and in the step after it.
pub(crate) type Outcomes = (Outcome<WindowRow>, Outcome<AfterRow>);

pub(crate) fn outcomes(
    scenario: &Scenario,
    version: usize,
    members: &Members,
) -> BTreeMap<Key, Outcomes> {
    let version = scenario.versions[version];
    let of = |(key, members): (&Key, &Vec<_>)| {
        let row = window_row(scenario, version, members);
        let followed = row.then(|row| after(scenario, row));
        (key.clone(), (row, followed))
    };
    members.iter().map(of).collect()
}

/// What the generations of a step leave behind in the end.
pub(crate) struct Staying<T> {
    /// What has to be there, each with the number of its generation.
    pub(crate) rows: BTreeMap<Key, (i64, T)>,
    pub(crate) unknown: Unknown,
}

/// What every generation of a step leaves behind, in the end.
fn staying<T>(
    cluster: &Cluster,
    history: &History,
    verdicts: &Verdicts,
    step: &str,
    of: impl Fn(usize, &Members) -> BTreeMap<Key, T>,
) -> Staying<T> {
    let mut expected = BTreeMap::new();
    let mut unknown = Unknown::default();
    // Of windows that stay, by start, where the next one begins: the end where they do not overlap.
    let mut ends: BTreeMap<i64, i64> = BTreeMap::new();
    let mut every_ms = 0;
    for (allotted, version) in history.generations(step) {
        let stays = |start_ms: i64| allotted.cut_ms.is_some_and(|cut_ms| start_ms < cut_ms);
        expected.retain(|(start_ms, _), _| stays(*start_ms));
        unknown.begin(allotted);
        ends.retain(|start_ms, _| stays(*start_ms));
        for (start_ms, _) in expected.keys() {
            ends.entry(*start_ms).or_insert(start_ms + every_ms);
        }
        every_ms = allotted.window().every_ms();
        // Nobody ran it.
        let Some(version) = version else { continue };
        let shape = shape(&cluster.scenario, step, version);
        let read = history.read_by((step, allotted.number), &verdicts[version]);
        let members = members(shape, step == "win", allotted.cut_ms, &read);
        // Where retention has taken events, or where one of both is a session, some windows that stay lie over the cut.
        let is_apart = cluster.scenario.has_one_kind() && unknown.is_empty();
        for (start_ms, _) in members.keys().filter(|_| is_apart) {
            let end_ms = start_ms + shape.every_ms;
            assert!(
                !ends.range(..end_ms).any(|(_, end)| end > start_ms),
                "two windows that stay hold the time of {start_ms}"
            );
        }
        let made = of(version, &members).into_iter();
        expected.extend(made.map(|(key, made)| (key, (allotted.number, made))));
    }
    expected.retain(|(start_ms, _), _| !unknown.holds(*start_ms));
    Staying {
        rows: expected,
        unknown,
    }
}

pub(crate) fn staying_windows(
    cluster: &Cluster,
    history: &History,
    verdicts: &Verdicts,
) -> Staying<Outcomes> {
    staying(cluster, history, verdicts, "win", |version, members| {
        outcomes(&cluster.scenario, version, members)
    })
}

/// Whether every window of a step is written once, when it is complete.
fn emits_once(cluster: &Cluster, step: &str) -> bool {
    let scenario = &cluster.scenario;
    let once = |shape: Shape| shape.allowed_ms == 0 || shape.policy != LatePolicy::Amend;
    // A partition that was added amends what the others have closed before.
    !scenario.grows
        && (0..scenario.versions.len()).all(|version| once(shape(scenario, step, version)))
}

pub(crate) fn check_windows(cluster: &Cluster, history: &History, verdicts: &Verdicts) {
    let scenario = &cluster.scenario;
    let expected = staying_windows(cluster, history, verdicts);
    let rows = expected.rows.iter().filter_map(|(key, (_, (row, _)))| {
        let row = row.clone().row().filter(|row| !row.is_refused())?;
        Some((key.clone(), row))
    });
    let found = read(cluster, 1);
    check_revisions(cluster, "win", &found);
    same(
        "windows",
        &rows.collect::<Vec<_>>(),
        &expected.unknown.known(sorted(&found, window_of)),
    );

    let afters = expected
        .rows
        .iter()
        .filter_map(|(key, (_, (_, row)))| Some((key.clone(), row.clone().row()?)));
    let found = read(cluster, 2);
    same(
        "rows after windows",
        &afters.collect::<Vec<_>>(),
        &expected.unknown.known(sorted(&found, after_of)),
    );

    if scenario.totals.is_some() {
        let totals = staying(cluster, history, verdicts, "tot", |_, members| {
            members
                .iter()
                .map(|(key, members)| (key.clone(), total_row(members)))
                .collect()
        });
        let found = read(cluster, 3);
        check_revisions(cluster, "tot", &found);
        let found = totals.unknown.known(sorted(&found, total_of));
        let rows = totals.rows.into_iter().map(|(key, (_, row))| (key, row));
        same("windows without groups", &rows.collect::<Vec<_>>(), &found);
    }
}

fn read(cluster: &Cluster, output: usize) -> Vec<Row> {
    let table = cluster.plan.outputs[output].table().unwrap();
    block_on(cluster.database.rows(table, Columns::WithPosition)).unwrap()
}

fn check_revisions(cluster: &Cluster, step: &str, rows: &[Row]) {
    if !emits_once(cluster, step) {
        return;
    }
    let again: Vec<_> = rows
        .iter()
        .filter(|row| row["_revision"].as_i64() != Some(1))
        .collect();
    assert!(
        again.is_empty(),
        "windows that were written before they were complete: {again:#?}"
    );
}

pub(crate) fn sorted<T>(rows: &[Row], of: impl Fn(&Row) -> T) -> Vec<(Key, T)> {
    let group = |row: &Row| {
        row.get("kind")
            .and_then(|kind| kind.as_str())
            .map(str::to_owned)
    };
    let entry = |row: &Row| ((millis(&row["window_start"]), group(row)), of(row));
    let mut sorted: Vec<_> = rows.iter().map(entry).collect();
    sorted.sort_by(|a, b| a.0.cmp(&b.0));
    sorted
}

pub(crate) fn window_of(row: &Row) -> WindowRow {
    let number = |name: &str| row[name].as_i64();
    let text = |name: &str| row[name].as_str().unwrap().to_owned();
    WindowRow {
        count: number("c").unwrap(),
        sum: number("s"),
        low: number("lo"),
        high: number("hi"),
        average: row["a"].as_f64(),
        first: text("f"),
        last: text("l"),
        aggregated: number("g"),
        share: number("share"),
    }
}

fn after_of(row: &Row) -> AfterRow {
    let number = |name: &str| row[name].as_i64();
    AfterRow {
        count: number("c2").unwrap(),
        sum: number("s1"),
        rate: number("rate").unwrap(),
    }
}

fn total_of(row: &Row) -> TotalRow {
    TotalRow {
        count: row["c"].as_i64().unwrap(),
        sum: row["s"].as_i64(),
    }
}

/// Groups that cannot be computed are dead letters: once where a window is written once, and with every amendment otherwise.
pub(crate) fn check_failed_groups(
    cluster: &Cluster,
    history: &History,
    verdicts: &Verdicts,
    letters: &[Record],
) {
    let scenario = &cluster.scenario;
    let ended = staying_windows(cluster, history, verdicts);
    let failing = |(key, (_, (row, followed))): (&Key, &(i64, Outcomes))| -> Vec<DeadGroup> {
        match (row, followed) {
            (Outcome::Failed { step }, _) | (_, Outcome::Failed { step }) => {
                vec![(key.clone(), (*step).to_owned())]
            }
            _ => Vec::new(),
        }
    };
    let mut expected: Vec<DeadGroup> = ended.rows.iter().flat_map(failing).collect();
    let failed_over = chain_verdict::failing(cluster, history, verdicts).into_iter();
    expected.extend(failed_over.map(|key| (key, "per".to_owned())));
    let mut actual: Vec<DeadGroup> = letters.iter().map(dead_group).collect();
    expected.sort();
    actual.sort();
    if history.is_single() && emits_once(cluster, "win") {
        same("dead letters of groups", &expected, &actual);
        return;
    }
    // Before it was complete, or in an earlier generation, a group may have failed as well.
    let mut groups: BTreeSet<Key> = BTreeSet::new();
    for (allotted, version) in history.generations("win") {
        let Some(version) = version else { continue };
        let shape = shape(scenario, "win", version);
        let read = history.read_by(("win", allotted.number), &verdicts[version]);
        groups.extend(members(shape, true, allotted.cut_ms, &read).into_keys());
    }
    let missing: Vec<_> = expected
        .iter()
        .filter(|group| !actual.contains(group))
        .collect();
    assert!(
        missing.is_empty(),
        "no dead letters of groups: {missing:#?}"
    );
    let surplus: Vec<_> = actual
        .iter()
        .filter(|(key, _)| !groups.contains(key))
        .collect();
    assert!(
        surplus.is_empty() && (scenario.divides || actual.is_empty()),
        "dead letters of groups that are not there: {actual:#?}"
    );
}

/// A refused window is told once, whenever a row of it was refused: surely the last one, and others as batches were cut.
pub(crate) fn check_refused_windows(
    cluster: &Cluster,
    history: &History,
    verdicts: &Verdicts,
    letters: &[Record],
) {
    let mut counts: BTreeMap<(i64, Key), Vec<i64>> = BTreeMap::new();
    for letter in letters {
        let text = |name| header(letter, name).unwrap_or_default();
        assert_eq!(
            (text("tidewheel-source"), text("tidewheel-step")),
            ("win".to_owned(), "wins".to_owned())
        );
        let row: Value = serde_json::from_slice(letter.value.as_ref().unwrap()).unwrap();
        let told = counts.entry((row["_generation"].as_i64().unwrap(), group_of(&row)));
        told.or_default().push(row["c"].as_i64().unwrap());
    }
    let once = emits_once(cluster, "win");
    for (key, (number, (row, _))) in staying_windows(cluster, history, verdicts).rows {
        let Outcome::Row(row) = row else { continue };
        let told = counts.remove(&(number, key.clone())).unwrap_or_default();
        let is_right = told.is_sorted_by(|a, b| a < b)
            && told.iter().all(|count| count % 3 == 2)
            && (!once || told.iter().all(|count| *count == row.count))
            && (told.last() == Some(&row.count)) == row.is_refused();
        assert!(
            is_right,
            "dead letters of window {key:?}: {told:?}; {row:?}"
        );
    }
    // What is left is of groups that have no row in the end, or of generations whose windows were made anew.
    for (key, told) in counts {
        assert!(
            told.is_sorted_by(|a, b| a < b),
            "dead letters of window {key:?}: {told:?}"
        );
    }
}

/// The window and group that a dead letter is of.
fn group_of(value: &Value) -> Key {
    let kind = value["kind"].as_str().map(str::to_owned);
    (millis(&value["window_start"]), kind)
}

fn dead_group(record: &Record) -> DeadGroup {
    let text = |name| header(record, name).unwrap_or_default();
    assert_eq!(
        (text("tidewheel-source"), text("tidewheel-reason")),
        ("win".to_owned(), "Evaluation".to_owned()),
        "{record:?}"
    );
    let value: Value = serde_json::from_slice(record.value.as_ref().unwrap()).unwrap();
    (group_of(&value), text("tidewheel-step"))
}

pub(crate) fn check_ledgers(
    cluster: &Cluster,
    history: &History,
    verdicts: &Verdicts,
    status: &Status,
) {
    let scenario = &cluster.scenario;
    let newest = history.allotments.last().unwrap();
    let version = history.versions[&newest.revision];
    for (step, shape) in steps(scenario, version) {
        let (cut_ms, number) = (newest.steps[step].cut_ms, newest.steps[step].number);
        check_step_ledger(
            history,
            &verdicts[version],
            status,
            (step, number, shape, cut_ms),
        );
        let read = history.read_by((step, number), &verdicts[version]);
        let earlier = begun_before(shape, step == "win", cut_ms, &read) as u64;
        let members = members(shape, step == "win", cut_ms, &read);
        let ledger_of = |groups: Vec<(usize, Option<GroupFate>)>| {
            let mut ledger = ledger_of(groups);
            ledger.read += earlier;
            ledger.earlier_generation += earlier;
            ledger
        };
        if step == "tot" {
            let groups = members.values().map(|members| (members.len(), None));
            let expected = ledger_of(groups.collect());
            check_output_ledger(status, "tots", &expected);
            continue;
        }
        let outcomes = outcomes(scenario, version, &members);
        let of = |fate: &dyn Fn(&Outcomes) -> Option<GroupFate>| {
            let groups = members
                .iter()
                .map(|(key, members)| (members.len(), fate(&outcomes[key])));
            ledger_of(groups.collect())
        };
        check_output_ledger(
            status,
            "wins",
            &of(&|(row, _)| match row {
                Outcome::Row(row) if row.is_refused() => Some(GroupFate::Refused),
                row => group_fate(row),
            }),
        );
        check_output_ledger(status, "told", &of(&|(row, _)| group_fate(row)));
        check_output_ledger(status, "afters", &of(&|(_, row)| group_fate(row)));
    }
}

/// Why a group has no row: which step filtered it, that it failed, or that its table did not take it.
enum GroupFate {
    Filtered(&'static str),
    Failed,
    Refused,
}

fn group_fate<T>(outcome: &Outcome<T>) -> Option<GroupFate> {
    match outcome {
        Outcome::Row(_) => None,
        Outcome::Filtered { step } => Some(GroupFate::Filtered(step)),
        Outcome::Failed { .. } => Some(GroupFate::Failed),
    }
}

/// A ledger of contributions, from the number and the fate of each group's.
fn ledger_of(groups: impl IntoIterator<Item = (usize, Option<GroupFate>)>) -> Ledger {
    let mut ledger = Ledger::default();
    for (contributions, fate) in groups {
        let contributions = contributions as u64;
        ledger.read += contributions;
        *match fate {
            None => &mut ledger.written,
            Some(GroupFate::Filtered(step)) => ledger.filtered.entry(step.to_owned()).or_default(),
            Some(GroupFate::Refused) => ledger
                .dead_lettered
                .entry("Refused".to_owned())
                .or_default(),
            Some(GroupFate::Failed) => ledger
                .dead_lettered
                .entry("Evaluation".to_owned())
                .or_default(),
        } += contributions;
    }
    ledger
}

pub(crate) fn check_output_ledger(status: &Status, output: &str, expected: &Ledger) {
    let mut actual = Ledger::default();
    status
        .values()
        .filter_map(|task| task.ledgers.get(output))
        .for_each(|ledger| actual.add(ledger));
    actual.filtered.retain(|_, count| *count > 0);
    actual.dead_lettered.retain(|_, count| *count > 0);
    assert_eq!(&actual, expected, "ledger of {output}");
}

fn check_step_ledger(
    history: &History,
    verdicts: &[Vec<super::oracle::Judged>],
    status: &Status,
    (step, number, shape, cut_ms): (&str, i64, Shape, Option<i64>),
) {
    let mut expected = Ledger::default();
    for (task, (records, judged)) in history.records.iter().zip(verdicts).enumerate() {
        for (stored, judged) in records.iter().zip(judged) {
            if history.is_lost_again(task, step, number, stored.offset) {
                continue;
            }
            expected.read += 1;
            let entry = || entry(shape, cut_ms, stored.event.ts_ms, judged.watermark_ms);
            enter(
                &mut expected,
                judged.fate_for(step),
                entry,
                Entry::Late.reason(shape),
            );
        }
    }
    lose(&mut expected, history);
    let mut actual = Ledger::default();
    status
        .values()
        .filter_map(|task| task.step_ledgers.get(step))
        .for_each(|ledger| actual.add(ledger));
    if history.is_single() {
        assert_eq!(actual, expected, "ledger of the aggregate step {step}");
    } else {
        // A generation that began later did not look at everything from the start.
        assert_eq!(
            (actual.written, actual.balance()),
            (expected.written, 0),
            "ledger of the aggregate step {step}: {actual:?}"
        );
    }
}
