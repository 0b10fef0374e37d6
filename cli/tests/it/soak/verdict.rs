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
    let (mut found, mut shown) = (String::new(), String::new());
    let rows = unique("rows", &mut found, table(results));
    let sent = unique("rows of the topic", &mut found, sent(results, &mut shown));
    let per_kind = unique("per_kind", &mut found, per_kind(results));
    let per_rest = unique("per_rest", &mut found, per_rest(results));
    let told = letters(results, &records).into_iter();
    let told = unique("dead letters", &mut found, told.map(|letter| (letter, ())));
    let letters = answer.letters.iter().map(|letter| (letter.clone(), ()));
    let differences = [
        found,
        shown,
        differ("rows", stored(&answer), rows),
        differ("rows of the topic", answer.rows.clone(), sent),
        differ("per_kind", answer.per_kind.clone(), per_kind),
        differ("per_rest", answer.per_rest.clone(), per_rest),
        differ("dead letters", letters.collect(), told),
        differ("ledgers", answer.ledgers.clone(), ledgers(results)),
    ]
    .concat();
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

/// Entries by key. Those that come twice are added to the differences, each time.
fn unique<K: Ord + Debug, V: Debug>(
    what: &str,
    differences: &mut String,
    entries: impl IntoIterator<Item = (K, V)>,
) -> BTreeMap<K, V> {
    let mut all = BTreeMap::new();
    let mut twice = Vec::new();
    for (key, value) in entries {
        match all.entry(key) {
            Entry::Vacant(entry) => drop(entry.insert(value)),
            Entry::Occupied(entry) => twice.push(format!("again {:?} {value:?}", entry.key())),
        }
    }
    if !twice.is_empty() {
        let shown = twice[..twice.len().min(SHOWN)].join("\n  ");
        *differences += &format!("{what}, {} of {}:\n  {shown}\n", twice.len(), all.len());
    }
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

fn table(results: &Results<'_>) -> Vec<(Place, Row)> {
    let rows = (results.rows)("SELECT * FROM readings_once");
    let entry = |found: &Value| {
        assert_eq!(
            (&found["_generation"], &found["_ordinal"]),
            (&1.into(), &0.into())
        );
        let partition = found["_partition"].as_i64().unwrap() as i32;
        ((partition, found["_offset"].as_i64().unwrap()), row(found))
    };
    rows.iter().map(entry).collect()
}

/// The rows of the topic; `shown`: where those are that come twice.
fn sent(results: &Results<'_>, shown: &mut String) -> Vec<(Place, Row)> {
    let mut places: BTreeMap<Place, (i32, i64, i64)> = BTreeMap::new();
    let mut entries = Vec::new();
    for record in read(results.bootstrap, "soak.sent") {
        let found = row(&serde_json::from_slice(record.value.as_ref().unwrap()).unwrap());
        assert_eq!(record.key.as_deref(), Some(found.id.as_bytes()));
        let place = (record.number("_partition") as i32, record.number("_offset"));
        let at = (record.partition, record.offset, record.appended_at_ms);
        if let Some(before) = places.insert(place, at) {
            *shown += &format!("the row of {place:?} is at {before:?} and at {at:?}\n");
        }
        entries.push((place, found));
    }
    entries
}

fn per_kind(results: &Results<'_>) -> Vec<(Kind, OfKind)> {
    let rows = (results.rows)("SELECT * FROM per_kind");
    let entry = |found: &Value| {
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
    };
    rows.iter().map(entry).collect()
}

fn per_rest(results: &Results<'_>) -> Vec<(Rest, OfRest)> {
    let rows = (results.rows)("SELECT * FROM per_rest");
    let entry = |found: &Value| {
        let row = OfRest {
            n: found["n"].as_i64().unwrap(),
            total: found["total"].as_i64(),
        };
        let start_ms = millis(&found["window_start"]);
        ((start_ms, found["rest"].as_i64()), row)
    };
    rows.iter().map(entry).collect()
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
