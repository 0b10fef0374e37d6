//! Compares what came out with what the batch query answers.
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::Debug;

use serde_json::Value;

use super::batch_query::{
    Answer, Decrees, Kind, Letter, OfKind, OfRest, Place, Rest, Row, ask, millis,
};
use super::ledger::Ledger;
use super::progress::{Committed, Task};
use super::topic::{Found, read};

/// How many differences are shown of each kind.
const SHOWN: usize = 5;

/// Where the results are.
pub(crate) struct Results<'a> {
    pub(crate) bootstrap: &'a str,
    /// Answers a query with a JSON object for each row.
    pub(crate) rows: &'a dyn Fn(&str) -> Vec<Value>,
    pub(crate) tasks: BTreeMap<Task, Committed>,
}

/// Panics where anything is not as it has to be; says how much was compared.
pub(crate) fn check(results: &Results<'_>) -> String {
    let records = read(results.bootstrap, "soak.readings");
    let answer = ask(&records, &decrees(results));
    let mut differences = String::new();
    let mut compare = |found: String| differences.push_str(&found);
    compare(differ("rows", stored(&answer), table(results)));
    compare(differ(
        "rows of the topic",
        answer.rows.clone(),
        sent(results),
    ));
    compare(differ(
        "per_kind",
        answer.per_kind.clone(),
        per_kind(results),
    ));
    compare(differ(
        "per_rest",
        answer.per_rest.clone(),
        per_rest(results),
    ));
    let of_letters = |letters: Vec<Letter>| letters.into_iter().map(|letter| (letter, ()));
    let told = of_letters(letters(results, &records));
    compare(differ(
        "dead letters",
        unique(of_letters(answer.letters.clone())),
        unique(told),
    ));
    compare(differ("ledgers", answer.ledgers.clone(), ledgers(results)));
    assert!(differences.is_empty(), "{differences}");
    format!(
        "{} events: {} rows, {} and {} groups of windows, {} dead letters and 6 ledgers equal the batch query",
        records.len(),
        answer.rows.len(),
        answer.per_kind.len(),
        answer.per_rest.len(),
        answer.letters.len()
    )
}

fn stored(answer: &Answer) -> BTreeMap<Place, Row> {
    let rows = answer.rows.clone().into_iter();
    rows.filter(|(_, row)| !row.is_refused()).collect()
}

/// What is missing, too many or different, as far as there is anything.
fn differ<K: Ord + Debug, V: PartialEq + Debug>(
    what: &str,
    expected: BTreeMap<K, V>,
    found: BTreeMap<K, V>,
) -> String {
    let missing = expected.iter().filter(|(key, _)| !found.contains_key(key));
    let missing: Vec<String> = missing.map(|one| format!("missing {one:?}")).collect();
    let surplus = found.iter().filter(|(key, _)| !expected.contains_key(key));
    let surplus: Vec<String> = surplus.map(|one| format!("surplus {one:?}")).collect();
    let different = expected.iter().filter_map(|(key, value)| {
        let other = found.get(key).filter(|other| *other != value)?;
        Some(format!("{key:?}: expected {value:?}, found {other:?}"))
    });
    let different: Vec<String> = different.collect();
    [missing, surplus, different]
        .iter()
        .filter(|all| !all.is_empty())
        .map(|all| {
            let shown = all[..all.len().min(SHOWN)].join("\n  ");
            format!("{what}, {} of {}:\n  {shown}\n", all.len(), expected.len())
        })
        .collect()
}

/// Entries by key, none of which comes twice.
fn unique<K: Ord + Debug, V: Debug>(entries: impl IntoIterator<Item = (K, V)>) -> BTreeMap<K, V> {
    let mut all = BTreeMap::new();
    let mut twice = Vec::new();
    for (key, value) in entries {
        match all.entry(key) {
            Entry::Vacant(entry) => drop(entry.insert(value)),
            Entry::Occupied(entry) => twice.push(format!("{:?} {value:?}", entry.key())),
        }
    }
    let shown = &twice[..twice.len().min(SHOWN)];
    assert!(twice.is_empty(), "{} come twice: {shown:#?}", twice.len());
    all
}

fn decrees(results: &Results<'_>) -> Decrees {
    let mut decrees = Decrees::new();
    for record in read(results.bootstrap, "soak.counts.watermarks") {
        let told: Value = serde_json::from_slice(&record.value.unwrap()).unwrap();
        let partition = told["partition"].as_i64().unwrap() as i32;
        if let Some(decree_ms) = told["decree_ms"].as_i64() {
            let from = told["next_offset"].as_i64().unwrap();
            decrees
                .entry(partition)
                .or_default()
                .push((from, decree_ms));
        }
    }
    decrees
}

fn row(value: &Value) -> Row {
    let text = |name: &str| value[name].as_str().map(str::to_owned);
    Row {
        id: text("id").unwrap(),
        ts_ms: millis(&value["ts"]),
        kind: text("kind"),
        value: value["value"].as_i64(),
        share: value["share"].as_i64(),
        note: text("note"),
    }
}

fn table(results: &Results<'_>) -> BTreeMap<Place, Row> {
    let rows = (results.rows)("SELECT * FROM readings_once");
    unique(rows.iter().map(|found| {
        assert_eq!(
            (&found["_generation"], &found["_ordinal"]),
            (&1.into(), &0.into())
        );
        let partition = found["_partition"].as_i64().unwrap() as i32;
        ((partition, found["_offset"].as_i64().unwrap()), row(found))
    }))
}

fn sent(results: &Results<'_>) -> BTreeMap<Place, Row> {
    let records = read(results.bootstrap, "soak.sent");
    unique(records.iter().map(|record| {
        let found = row(&serde_json::from_slice(record.value.as_ref().unwrap()).unwrap());
        assert_eq!(record.key.as_deref(), Some(found.id.as_bytes()));
        let place = (record.number("_partition") as i32, record.number("_offset"));
        (place, found)
    }))
}

fn per_kind(results: &Results<'_>) -> BTreeMap<Kind, OfKind> {
    let rows = (results.rows)("SELECT * FROM per_kind");
    unique(rows.iter().map(|found| {
        let text = |name: &str| found[name].as_str().map(str::to_owned);
        let row = OfKind {
            n: found["n"].as_i64().unwrap(),
            total: found["total"].as_i64(),
            low: found["low"].as_i64(),
            high: found["high"].as_i64(),
            first: text("first").unwrap(),
            last: text("last").unwrap(),
        };
        ((millis(&found["window_start"]), text("kind")), row)
    }))
}

fn per_rest(results: &Results<'_>) -> BTreeMap<Rest, OfRest> {
    let rows = (results.rows)("SELECT * FROM per_rest");
    unique(rows.iter().map(|found| {
        let row = OfRest {
            n: found["n"].as_i64().unwrap(),
            total: found["total"].as_i64(),
        };
        (
            (millis(&found["window_start"]), found["rest"].as_i64()),
            row,
        )
    }))
}

fn letters(results: &Results<'_>, records: &[Found]) -> Vec<Letter> {
    let places = records.iter();
    let by_place: BTreeMap<Place, &Found> = places
        .map(|record| ((record.partition, record.offset), record))
        .collect();
    let told = read(results.bootstrap, "soak.counts.dead-letters").into_iter();
    told.map(|letter| {
        let text = |name: &str| letter.headers.get(name).cloned().unwrap_or_default();
        assert_eq!(text("tidewheel-source"), "readings", "{letter:?}");
        let place = (
            letter.number("tidewheel-partition") as i32,
            letter.number("tidewheel-offset"),
        );
        let origin = by_place[&place];
        assert_eq!((&letter.key, &letter.value), (&origin.key, &origin.value));
        (place, text("tidewheel-reason"), text("tidewheel-step"))
    })
    .collect()
}

/// What the tasks have counted, all partitions together.
fn ledgers(results: &Results<'_>) -> BTreeMap<String, Ledger> {
    let mut ledgers: BTreeMap<String, Ledger> = BTreeMap::new();
    for committed in results.tasks.values() {
        let parts = [("outputs", ""), ("steps", "step ")];
        for (part, prefix) in parts {
            for (name, progress) in committed.newest[part].as_object().into_iter().flatten() {
                let ledger = ledgers.entry(format!("{prefix}{name}")).or_default();
                ledger.add_all(&progress["ledger"]);
            }
        }
    }
    ledgers
}
