//! Compares what came out of a cluster with what the oracle says: records, each by itself.
use std::collections::BTreeMap;

use arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use futures::executor::block_on;
use serde_json::Value;
use tidewheel_engine::Ledger;
use tidewheel_log::Record;
use tidewheel_sinks::embedded::Columns;
use tidewheel_worker::Status;

use super::cluster::Cluster;
use super::history::History;
use super::oracle::{Entry, Fate, Judged, Row, Stored, entry, fate_of, judge};
use super::scenario::{SOURCES, Version};
use super::{chain_verdict, topic_verdict, window_verdict};
use crate::fixture::{header, names, read_all};

/// A dead letter of a record: task, offset, reason, step.
type Letter = (usize, i64, String, String);

/// A row of the row output: generation, ordinal, and what it says.
type TableRow = (i64, i64, Row);

/// The verdicts of every version on every record: by version, by task.
pub(crate) type Verdicts = Vec<Vec<Vec<Judged>>>;

/// Panics where anything is not as it has to be.
pub(crate) fn check(cluster: &Cluster, status: &Status) {
    let history = History::read(cluster);
    let scenario = &cluster.scenario;
    let of = |version: &Version| {
        let judge_task = |task: usize| {
            let (before, records) = (&history.before[task], &history.records[task]);
            judge(scenario, *version, before, records, &history.decrees[task])
        };
        (0..history.tasks.len()).map(judge_task).collect()
    };
    let verdicts: Verdicts = scenario.versions.iter().map(of).collect();
    check_dead_letters(cluster, &history, &verdicts);
    check_rows(cluster, &history, &verdicts);
    window_verdict::check_windows(cluster, &history, &verdicts);
    chain_verdict::check(cluster, &history, &verdicts, status);
    topic_verdict::check_sent(cluster, &history, &verdicts);
    topic_verdict::check_told(cluster, &history, &verdicts);
    for (output, refuses) in [("rows", true), ("sent", false)] {
        check_row_ledger(&history, &verdicts, status, output, refuses);
    }
    window_verdict::check_ledgers(cluster, &history, &verdicts, status);
}

/// Each record with the verdict of the revision that did its work.
pub(crate) fn decided<'a>(
    history: &'a History,
    verdicts: &'a Verdicts,
) -> impl Iterator<Item = (usize, i64, &'a Stored, &'a Judged)> {
    let of_task = move |(task, records): (usize, &'a Vec<Stored>)| {
        records.iter().enumerate().map(move |(index, stored)| {
            let revision = history.revision(task, stored.offset);
            let version = history.versions[&revision];
            (task, revision, stored, &verdicts[version][task][index])
        })
    };
    history.records.iter().enumerate().flat_map(of_task)
}

/// The dead letters of records that there have to be.
fn expected_letters(cluster: &Cluster, history: &History, verdicts: &Verdicts) -> Vec<Letter> {
    let mut expected = Vec::new();
    for (task, revision, stored, judged) in decided(history, verdicts) {
        let mut bury = |reason: &str, step: &str| {
            expected.push((task, stored.offset, reason.to_owned(), step.to_owned()));
        };
        match &judged.fate {
            Fate::Dead { reason, step } => bury(reason, step),
            Fate::Rows(rows) => {
                if judged.is_for("rows") && rows.iter().any(|row| row.refused) {
                    bury("Refused", "rows");
                }
                let version = history.versions[&revision];
                let steps = window_verdict::steps(&cluster.scenario, version).into_iter();
                for (step, shape) in steps.filter(|(step, _)| judged.is_for(step)) {
                    let cut_ms = history.allotment(revision).steps[step].cut_ms;
                    let entry = entry(shape, cut_ms, stored.event.ts_ms, judged.watermark_ms);
                    if let Some(reason) = entry.reason(shape) {
                        bury(reason, step);
                    }
                }
            }
            Fate::Filtered { .. } | Fate::Duplicate | Fate::Skipped => {}
        }
    }
    expected
}

fn check_dead_letters(cluster: &Cluster, history: &History, verdicts: &Verdicts) {
    let mut expected = expected_letters(cluster, history, verdicts);
    let topic = names(&cluster.plan).dead_letters();
    let mut actual: Vec<Letter> = Vec::new();
    let mut of_groups = Vec::new();
    for record in block_on(read_all(&cluster.log, &topic, 0)) {
        let text = |name| header(&record, name).unwrap_or_default();
        let input = text("tidewheel-source");
        let Some(source) = SOURCES.iter().position(|name| *name == input) else {
            of_groups.push(record);
            continue;
        };
        let partition = text("tidewheel-partition").parse().unwrap();
        let offset = text("tidewheel-offset").parse().unwrap();
        assert_eq!(
            cluster.events[&(source, partition, offset)].value(),
            record.value,
            "a dead letter has other bytes than its record"
        );
        let (reason, step) = (text("tidewheel-reason"), text("tidewheel-step"));
        actual.push((history.task((source, partition)), offset, reason, step));
    }
    expected.sort();
    actual.sort();
    same("dead letters", &expected, &actual);
    let is_refused =
        |record: &Record| header(record, "tidewheel-reason").as_deref() == Some("Refused");
    let (refused, failed): (Vec<_>, Vec<_>) = of_groups.into_iter().partition(is_refused);
    window_verdict::check_failed_groups(cluster, history, verdicts, &failed);
    window_verdict::check_refused_windows(cluster, history, verdicts, &refused);
}

pub(crate) fn same<T: PartialEq + std::fmt::Debug>(what: &str, expected: &[T], actual: &[T]) {
    let missing: Vec<&T> = expected
        .iter()
        .filter(|item| !actual.contains(item))
        .collect();
    let surplus: Vec<&T> = actual
        .iter()
        .filter(|item| !expected.contains(item))
        .collect();
    assert!(
        missing.is_empty() && surplus.is_empty(),
        "{what}: missing {missing:#?}, surplus {surplus:#?}"
    );
    assert!(
        expected == actual,
        "{what}: some occur more often, or in another order: {expected:#?} {actual:#?}"
    );
}

fn check_rows(cluster: &Cluster, history: &History, verdicts: &Verdicts) {
    let mut actual: BTreeMap<(usize, i64), Vec<TableRow>> = BTreeMap::new();
    for row in block_on(cluster.database.rows(
        cluster.plan.outputs[0].table().unwrap(),
        Columns::WithPosition,
    ))
    .unwrap()
    {
        let number = |name: &str| row[name].as_i64().unwrap();
        // Rows of two sources may be of one place: whose they are says the identity of the event.
        let source = SOURCES
            .iter()
            .position(|name| row["id"].as_str().unwrap()[..1] == name[..1]);
        let task = (source.unwrap(), number("_partition") as i32);
        let event = &cluster.events[&(task.0, task.1, number("_offset"))];
        let found = (
            number("_generation"),
            number("_ordinal"),
            row_of(&row, &event.kind),
        );
        let place = (history.task(task), number("_offset"));
        actual.entry(place).or_default().push(found);
    }
    // The version of each generation of the output: any revision that has it.
    let mut versions: BTreeMap<i64, usize> = BTreeMap::new();
    for allotment in &history.allotments {
        if let Some(&version) = history.versions.get(&allotment.revision) {
            versions
                .entry(allotment.outputs["rows"].number)
                .or_insert(version);
        }
    }
    for (task, records) in history.records.iter().enumerate() {
        let mut lowest = 1;
        for (index, stored) in records.iter().enumerate() {
            let expected = |generation: i64| -> Vec<TableRow> {
                match verdicts[versions[&generation]][task][index].fate_for("rows") {
                    Fate::Rows(rows) => (0..)
                        .zip(rows)
                        .filter(|(_, row)| !row.refused)
                        .map(|(ordinal, row)| (generation, ordinal, row.clone()))
                        .collect(),
                    _ => Vec::new(),
                }
            };
            // The sink may be ahead of the log with rows of an earlier generation, never with those of a later one.
            let highest = history
                .allotment(history.revision(task, stored.offset))
                .outputs["rows"]
                .number;
            let found = actual.remove(&(task, stored.offset)).unwrap_or_default();
            let fitting = versions.keys().copied().find(|&generation| {
                (lowest..=highest).contains(&generation) && expected(generation) == found
            });
            lowest = fitting.unwrap_or_else(|| {
                let candidates: Vec<_> = (lowest..=highest).filter(|number| versions.contains_key(number)).map(expected).collect();
                panic!("rows of {:?}/{}: expected one of {candidates:#?}, found {found:#?}; {stored:?}", history.tasks[task], stored.offset)
            });
        }
    }
    // A table may have been ahead of the log when retention took what the log had not covered.
    for (task, lost) in history.lost.iter().enumerate() {
        for stored in lost {
            let found = actual.remove(&(task, stored.offset)).unwrap_or_default();
            let found: Vec<Row> = found.into_iter().map(|(.., row)| row).collect();
            let is_of = |version: &Version| {
                let (event, came_ms) = (&stored.event, stored.append_time_ms);
                match fate_of(&cluster.scenario, *version, event, came_ms) {
                    Fate::Rows(mut rows) => {
                        rows.retain(|row| !row.refused);
                        rows == found
                    }
                    _ => false,
                }
            };
            assert!(
                found.is_empty() || cluster.scenario.versions.iter().any(is_of),
                "rows of the lost {stored:?}: {found:#?}"
            );
        }
    }
    assert!(
        actual.is_empty(),
        "rows of records that are not there: {actual:#?}"
    );
}

pub(crate) fn row_of(row: &tidewheel_sinks::embedded::Row, kind: &Option<&'static str>) -> Row {
    assert_eq!(row["kind"].as_str(), *kind);
    Row {
        id: row["id"].as_str().unwrap().to_owned(),
        ts_ms: millis(&row["ts"]),
        kind: *kind,
        n: row["n"].as_i64(),
        x: row["x"].as_f64(),
        v: row["v"].as_i64(),
        q: row["q"].as_i64(),
        tags: row["tags"].as_str().map(str::to_owned),
        e: row["e"].as_i64(),
        refused: false,
    }
}

pub(crate) fn millis(value: &Value) -> i64 {
    string_to_timestamp_nanos(value.as_str().unwrap()).unwrap() / 1_000_000
}

fn check_row_ledger(
    history: &History,
    verdicts: &Verdicts,
    status: &Status,
    output: &str,
    refuses: bool,
) {
    let mut expected = Ledger::default();
    for (_, _, _, judged) in decided(history, verdicts) {
        expected.read += 1;
        match judged.fate_for(output) {
            Fate::Rows(rows) if refuses && rows.iter().any(|row| row.refused) => {
                *expected.dead_lettered.entry("Refused".into()).or_default() += 1
            }
            fate => enter(&mut expected, fate, || Entry::Counts, None),
        }
    }
    lose(&mut expected, history);
    let mut actual = Ledger::default();
    status
        .values()
        .filter_map(|task| task.ledgers.get(output))
        .for_each(|ledger| actual.add(ledger));
    assert_eq!(actual, expected, "ledger of the row output {output}");
}

/// Enters what retention took before it was read.
pub(crate) fn lose(ledger: &mut Ledger, history: &History) {
    let lost = history.lost.iter().map(Vec::len).sum::<usize>() as u64;
    ledger.read += lost;
    ledger.lost += lost;
}

pub(crate) fn enter(
    ledger: &mut Ledger,
    fate: &Fate,
    entry: impl FnOnce() -> Entry,
    late: Option<&str>,
) {
    match fate {
        Fate::Filtered { step } => *ledger.filtered.entry((*step).to_owned()).or_default() += 1,
        Fate::Duplicate => ledger.duplicate += 1,
        Fate::Skipped => ledger.skipped += 1,
        Fate::Dead { reason, .. } => {
            *ledger
                .dead_lettered
                .entry((*reason).to_owned())
                .or_default() += 1
        }
        Fate::Rows(_) => match (entry(), late) {
            (Entry::Counts, _) => ledger.written += 1,
            (Entry::EarlierGeneration, _) => ledger.earlier_generation += 1,
            (Entry::Late, Some(reason)) => {
                *ledger.dead_lettered.entry(reason.to_owned()).or_default() += 1
            }
            (Entry::Late, None) => ledger.late += 1,
        },
    }
}
