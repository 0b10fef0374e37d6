//! Compares what came out of a cluster with what the oracle says.
use std::collections::BTreeMap;

use arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use futures::executor::block_on;
use serde_json::Value;
use tidewheel_engine::Ledger;
use tidewheel_engine::wire::state::SourceProgress;
use tidewheel_engine::wire::watermark::WatermarkRecord;
use tidewheel_planner::generations::Allotment;
use tidewheel_planner::plan::LatePolicy;
use tidewheel_sinks::embedded::Columns;
use tidewheel_worker::Status;

use super::cluster::Cluster;
use super::oracle::{
    Entry, Fate, Judged, Row, Stored, WindowRow, Windows, entry, judge, members, start_of,
    window_row,
};
use super::scenario::Version;
use crate::fixture::{header, names, read_all};

/// A dead letter: partition, offset, reason, step.
type Letter = (i32, i64, String, String);

/// A row of the row output: generation, ordinal, and what it says.
type TableRow = (i64, i64, Row);

/// What the log says of the plans that ran.
struct History {
    allotments: Vec<Allotment>,
    /// By revision, the version of its plan; absent where no process ever ran it.
    versions: BTreeMap<i64, usize>,
    /// By partition: up to which offset (exclusive) each revision did the work, ascending.
    covered: Vec<Vec<(i64, i64)>>,
    records: Vec<Vec<Stored>>,
    decrees: Vec<Vec<(i64, i64)>>,
}

impl History {
    fn read(cluster: &Cluster) -> Self {
        let (log, names) = (&cluster.log, names(&cluster.plan));
        let all = |topic: &str, partition| block_on(read_all(log, topic, partition));
        let partitions = 0..cluster.scenario.partitions;
        let allotments = all(&names.generations(), 0)
            .into_iter()
            .map(|record| Allotment::decode(record.value.as_ref().unwrap()).unwrap());
        let covered = partitions.clone().map(|partition| {
            let mut covered: Vec<(i64, i64)> = Vec::new();
            for record in all(&names.state("events"), partition) {
                let progress = SourceProgress::decode(record.value.as_ref().unwrap()).unwrap();
                match covered.last_mut() {
                    Some((revision, to)) if *revision == progress.revision => {
                        *to = progress.main.next_offset
                    }
                    _ => covered.push((progress.revision, progress.main.next_offset)),
                }
            }
            covered
        });
        let stored = |partition| {
            let event = |offset| cluster.events[&(partition, offset)].clone();
            let stored = |record: tidewheel_log::Record| Stored {
                offset: record.offset,
                append_time_ms: record.append_time_ms,
                event: event(record.offset),
            };
            all(&cluster.plan.sources[0].topic, partition)
                .into_iter()
                .map(stored)
                .collect()
        };
        let mut decrees = vec![Vec::new(); cluster.scenario.partitions as usize];
        for record in all(&names.watermarks(), 0) {
            let told = WatermarkRecord::decode(record.value.as_ref().unwrap()).unwrap();
            decrees[told.partition as usize]
                .extend(told.decree_ms.map(|ms| (told.next_offset, ms)));
        }
        Self {
            allotments: allotments.collect(),
            versions: cluster.revisions.lock().unwrap().clone(),
            covered: covered.collect(),
            records: partitions.map(stored).collect(),
            decrees,
        }
    }

    /// The revision that did the work for a record.
    fn revision(&self, partition: usize, offset: i64) -> i64 {
        let covering = self.covered[partition].iter().find(|(_, to)| *to > offset);
        covering
            .unwrap_or_else(|| {
                panic!(
                    "nobody took record {partition}/{offset}: {:?}",
                    self.covered[partition]
                )
            })
            .0
    }

    fn allotment(&self, revision: i64) -> &Allotment {
        self.allotments
            .iter()
            .find(|allotment| allotment.revision == revision)
            .unwrap()
    }

    fn is_single(&self) -> bool {
        self.allotments.len() == 1
    }
}

/// The verdicts of every version on every record: by version, by partition.
type Verdicts = Vec<Vec<Vec<Judged>>>;

/// Panics where anything is not as it has to be.
pub(crate) fn check(cluster: &Cluster, status: &Status) {
    let history = History::read(cluster);
    let scenario = &cluster.scenario;
    let of = |version: &Version| {
        let partitions = history.records.iter().zip(&history.decrees);
        partitions
            .map(|(records, decrees)| judge(scenario, *version, records, decrees))
            .collect()
    };
    let verdicts: Verdicts = scenario.versions.iter().map(of).collect();
    check_dead_letters(cluster, &history, &verdicts);
    check_rows(cluster, &history, &verdicts);
    check_windows(cluster, &history, &verdicts);
    check_row_ledger(&history, &verdicts, status);
    check_window_ledgers(cluster, &history, &verdicts, status);
}

/// Each record with the verdict of the revision that did its work.
fn decided<'a>(
    history: &'a History,
    verdicts: &'a Verdicts,
) -> impl Iterator<Item = (usize, i64, &'a Stored, &'a Judged)> {
    history
        .records
        .iter()
        .enumerate()
        .flat_map(move |(partition, records)| {
            records.iter().enumerate().map(move |(index, stored)| {
                let revision = history.revision(partition, stored.offset);
                (
                    partition,
                    revision,
                    stored,
                    &verdicts[history.versions[&revision]][partition][index],
                )
            })
        })
}

fn check_dead_letters(cluster: &Cluster, history: &History, verdicts: &Verdicts) {
    let mut expected: Vec<Letter> = Vec::new();
    for (partition, revision, stored, judged) in decided(history, verdicts) {
        let mut expect = |reason: &str, step: &str| {
            let letter = (partition as i32, stored.offset, reason.into(), step.into());
            expected.push(letter);
        };
        match &judged.fate {
            Fate::Dead { reason, step } => expect(reason, step),
            Fate::Rows(rows) => {
                if rows.iter().any(|row| row.refused) {
                    expect("Refused", "rows");
                }
                let cut_ms = history.allotment(revision).steps["win"].cut_ms;
                let entry = entry(
                    &cluster.scenario,
                    cut_ms,
                    stored.event.ts_ms,
                    judged.watermark_ms,
                );
                if let Some(reason) = entry.reason(&cluster.scenario) {
                    expect(reason, "win");
                }
            }
            Fate::Filtered | Fate::Duplicate => {}
        }
    }
    let letter = |record: &tidewheel_log::Record| {
        let text = |name| header(record, name).unwrap_or_default();
        let partition = text("tidewheel-partition").parse().unwrap();
        let offset = text("tidewheel-offset").parse().unwrap();
        let original = cluster
            .events
            .get(&(partition, offset))
            .map(|event| event.value());
        assert_eq!(
            original.as_ref(),
            Some(&record.value),
            "a dead letter has other bytes than its record"
        );
        (
            partition,
            offset,
            text("tidewheel-reason"),
            text("tidewheel-step"),
        )
    };
    let mut actual: Vec<Letter> = block_on(read_all(
        &cluster.log,
        &names(&cluster.plan).dead_letters(),
        0,
    ))
    .iter()
    .filter(|record| header(record, "tidewheel-source").as_deref() == Some("events"))
    .map(letter)
    .collect();
    expected.sort();
    actual.sort();
    same("dead letters", &expected, &actual);
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, expected: &[T], actual: &[T]) {
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
    for row in block_on(
        cluster
            .database
            .rows(cluster.plan.outputs[0].table().unwrap(), Columns::WithPosition),
    )
    .unwrap()
    {
        let number = |name: &str| row[name].as_i64().unwrap();
        let place = (number("_partition") as usize, number("_offset"));
        let found = (
            number("_generation"),
            number("_ordinal"),
            row_of(&row, &cluster.events[&(place.0 as i32, place.1)].kind),
        );
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
    for (partition, records) in history.records.iter().enumerate() {
        let mut lowest = 1;
        for (index, stored) in records.iter().enumerate() {
            let expected = |generation: i64| -> Vec<TableRow> {
                match &verdicts[versions[&generation]][partition][index].fate {
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
                .allotment(history.revision(partition, stored.offset))
                .outputs["rows"]
                .number;
            let found = actual
                .remove(&(partition, stored.offset))
                .unwrap_or_default();
            let fitting = versions.keys().copied().find(|&generation| {
                (lowest..=highest).contains(&generation) && expected(generation) == found
            });
            lowest = fitting.unwrap_or_else(|| {
                let candidates: Vec<_> = (lowest..=highest).filter(|number| versions.contains_key(number)).map(expected).collect();
                panic!("rows of {partition}/{}: expected one of {candidates:#?}, found {found:#?}; {stored:?}", stored.offset)
            });
        }
    }
    assert!(
        actual.is_empty(),
        "rows of records that are not there: {actual:#?}"
    );
}

fn row_of(row: &tidewheel_sinks::embedded::Row, kind: &Option<&'static str>) -> Row {
    assert_eq!(row["kind"].as_str(), *kind);
    Row {
        id: row["id"].as_str().unwrap().to_owned(),
        ts_ms: millis(&row["ts"]),
        kind: *kind,
        n: row["n"].as_i64(),
        x: row["x"].as_f64(),
        v: row["v"].as_i64(),
        q: row["q"].as_i64(),
        refused: false,
    }
}

fn millis(value: &Value) -> i64 {
    string_to_timestamp_nanos(value.as_str().unwrap()).unwrap() / 1_000_000
}

fn check_windows(cluster: &Cluster, history: &History, verdicts: &Verdicts) {
    let mut expected = Windows::new();
    let mut written_by = BTreeMap::new();
    let mut last_number = 0;
    for allotment in &history.allotments {
        let step = &allotment.steps["win"];
        if step.number == last_number {
            continue;
        }
        last_number = step.number;
        expected.retain(|(start_ms, _), _| step.cut_ms.is_some_and(|cut_ms| *start_ms < cut_ms));
        // Some revision with this generation ran it, or nobody did.
        let ran = history
            .allotments
            .iter()
            .filter(|other| other.steps["win"].number == step.number);
        let Some(&version) = ran
            .filter_map(|other| history.versions.get(&other.revision))
            .next()
        else {
            continue;
        };
        for (key, members) in members(&cluster.scenario, step.cut_ms, &verdicts[version]) {
            if let Some(row) = window_row(
                &cluster.scenario,
                cluster.scenario.versions[version],
                &members,
            ) {
                written_by.insert(key.clone(), step.number);
                expected.insert(key, row);
            }
        }
    }
    check_refused_windows(cluster, &expected, &written_by);
    let read = |output: usize| {
        block_on(
            cluster
                .database
                .rows(cluster.plan.outputs[output].table().unwrap(), Columns::WithPosition),
        )
        .unwrap()
    };
    let key = |row: &tidewheel_sinks::embedded::Row| {
        (
            millis(&row["window_start"]),
            row["kind"].as_str().map(str::to_owned),
        )
    };
    let windows = read(1);
    if cluster.scenario.allowed_ms == 0 || cluster.scenario.policy != LatePolicy::Amend {
        let again: Vec<_> = windows
            .iter()
            .filter(|row| row["_revision"].as_i64() != Some(1))
            .collect();
        assert!(
            again.is_empty(),
            "windows that were written before they were complete: {again:#?}"
        );
    }
    let actual: Vec<_> = windows
        .iter()
        .map(|row| {
            let number = |name: &str| row[name].as_i64();
            let text = |name: &str| row[name].as_str().unwrap().to_owned();
            let found = WindowRow {
                count: number("c").unwrap(),
                sum: number("s"),
                low: number("lo"),
                high: number("hi"),
                average: row["a"].as_f64(),
                first: text("f"),
                last: text("l"),
            };
            (key(row), found)
        })
        .collect();
    let mut sorted = actual.clone();
    sorted.sort_by(|a, b| a.0.cmp(&b.0));
    same(
        "windows",
        &expected
            .iter()
            .filter(|(_, row)| !row.is_refused())
            .map(|(key, row)| (key.clone(), row.clone()))
            .collect::<Vec<_>>(),
        &sorted,
    );
    let followers: Vec<_> = expected
        .iter()
        .filter(|(_, row)| row.count != 2)
        .map(|(key, row)| (key.clone(), row.count * 2, row.sum.map(|sum| sum - 1)))
        .collect();
    let mut actual: Vec<_> = read(2)
        .iter()
        .map(|row| (key(row), row["c2"].as_i64().unwrap(), row["s1"].as_i64()))
        .collect();
    actual.sort();
    same("rows after windows", &followers, &actual);
}

/// A refused window is told once, whenever a row of it was refused: surely the last one, and others as batches were cut.
fn check_refused_windows(
    cluster: &Cluster,
    expected: &Windows,
    written_by: &BTreeMap<(i64, Option<String>), i64>,
) {
    let scenario = &cluster.scenario;
    let letters = block_on(read_all(
        &cluster.log,
        &names(&cluster.plan).dead_letters(),
        0,
    ));
    let mut counts: BTreeMap<(i64, (i64, Option<String>)), Vec<i64>> = BTreeMap::new();
    for letter in &letters {
        let text = |name| header(letter, name).unwrap_or_default();
        if text("tidewheel-source") != "win" {
            continue;
        }
        assert_eq!(
            (text("tidewheel-reason"), text("tidewheel-step")),
            ("Refused".to_owned(), "wins".to_owned())
        );
        let row: Value = serde_json::from_slice(letter.value.as_ref().unwrap()).unwrap();
        let key = (
            millis(&row["window_start"]),
            row["kind"].as_str().map(str::to_owned),
        );
        let told = counts.entry((row["_generation"].as_i64().unwrap(), key));
        told.or_default().push(row["c"].as_i64().unwrap());
    }
    for (key, row) in expected {
        let told = counts.remove(&(written_by[key], key.clone()));
        let told = told.unwrap_or_default();
        let amends = scenario.policy == LatePolicy::Amend && scenario.allowed_ms > 0;
        let is_right = told.is_sorted_by(|a, b| a < b)
            && told.iter().all(|count| count % 3 == 2)
            && (amends || told.iter().all(|count| *count == row.count))
            && (told.last() == Some(&row.count)) == row.is_refused();
        assert!(
            is_right,
            "dead letters of window {key:?}: {told:?}; {row:?}"
        );
    }
    // What is left is of groups that HAVING left out in the end, or of generations whose windows were made anew.
    for (key, told) in counts {
        assert!(
            told.is_sorted_by(|a, b| a < b),
            "dead letters of window {key:?}: {told:?}"
        );
    }
}

fn check_row_ledger(history: &History, verdicts: &Verdicts, status: &Status) {
    let mut expected = Ledger::default();
    for (_, _, _, judged) in decided(history, verdicts) {
        expected.read += 1;
        match &judged.fate {
            Fate::Rows(rows) if rows.iter().any(|row| row.refused) => {
                *expected.dead_lettered.entry("Refused".into()).or_default() += 1
            }
            fate => enter(&mut expected, fate, || Entry::Counts, None),
        }
    }
    let mut actual = Ledger::default();
    status
        .values()
        .filter_map(|task| task.ledgers.get("rows"))
        .for_each(|ledger| actual.add(ledger));
    assert_eq!(actual, expected, "ledger of the row output");
}

fn enter(ledger: &mut Ledger, fate: &Fate, entry: impl FnOnce() -> Entry, late: Option<&str>) {
    match fate {
        Fate::Filtered => *ledger.filtered.entry("parsed".to_owned()).or_default() += 1,
        Fate::Duplicate => ledger.duplicate += 1,
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

fn check_window_ledgers(
    cluster: &Cluster,
    history: &History,
    verdicts: &Verdicts,
    status: &Status,
) {
    let scenario = &cluster.scenario;
    let newest = history.allotments.last().unwrap();
    let (version, cut_ms) = (
        history.versions[&newest.revision],
        newest.steps["win"].cut_ms,
    );
    let mut expected = Ledger::default();
    for (records, judged) in history.records.iter().zip(&verdicts[version]) {
        for (stored, judged) in records.iter().zip(judged) {
            expected.read += 1;
            let entry = || entry(scenario, cut_ms, stored.event.ts_ms, judged.watermark_ms);
            enter(
                &mut expected,
                &judged.fate,
                entry,
                Entry::Late.reason(scenario),
            );
        }
    }
    let mut actual = Ledger::default();
    status
        .values()
        .filter_map(|task| task.step_ledgers.get("win"))
        .for_each(|ledger| actual.add(ledger));
    if history.is_single() {
        assert_eq!(actual, expected, "ledger of the aggregate step");
    } else {
        // A generation that began later did not look at everything from the start.
        assert_eq!(
            (actual.written, actual.balance()),
            (expected.written, 0),
            "ledger of the aggregate step: {actual:?}"
        );
    }

    let (mut wins, mut afters) = (Ledger::default(), Ledger::default());
    for ((start_ms, kind), members) in members(scenario, cut_ms, &verdicts[version]) {
        assert_eq!(start_ms, start_of(start_ms), "window {kind:?}");
        let contributions = members.len() as u64;
        let row = window_row(scenario, scenario.versions[version], &members);
        for (ledger, is_after) in [(&mut wins, false), (&mut afters, true)] {
            ledger.read += contributions;
            match &row {
                None => *ledger.filtered.entry("win".to_owned()).or_default() += contributions,
                Some(row) if is_after && row.count == 2 => {
                    *ledger.filtered.entry("after".to_owned()).or_default() += contributions
                }
                Some(row) if !is_after && row.is_refused() => {
                    *ledger.dead_lettered.entry("Refused".into()).or_default() += contributions
                }
                Some(_) => ledger.written += contributions,
            }
        }
    }
    for (output, expected) in [("wins", wins), ("afters", afters)] {
        let mut actual = Ledger::default();
        status
            .values()
            .filter_map(|task| task.ledgers.get(output))
            .for_each(|ledger| actual.add(ledger));
        actual.filtered.retain(|_, count| *count > 0);
        actual.dead_lettered.retain(|_, count| *count > 0);
        assert_eq!(actual, expected, "ledger of {output}");
    }
}
