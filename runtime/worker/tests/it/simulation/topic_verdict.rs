//! Compares what stands in the topics of outputs with what the oracle says: every row once, and of windows the newest of each key.
use std::collections::BTreeMap;

use bytes::Bytes;
use futures::executor::block_on;
use serde_json::{Map, Value};
use tidewheel_log::{Log, Record};

use super::cluster::Cluster;
use super::history::History;
use super::oracle::{Fate, Row};
use super::scenario::SOURCES;
use super::verdict::{Verdicts, decided, row_of, same};
use super::window_verdict::{sorted, staying_windows, window_of};
use crate::fixture::{header, read_all};

/// A row of the topic of rows: source and partition that it came from, offset, ordinal, generation, and what it says.
type Sent = ((usize, i32), i64, i64, i64, Row);

fn records(cluster: &Cluster, output: &str) -> Vec<Record> {
    let mut outputs = cluster.plan.outputs.iter();
    let output = outputs.find(|planned| planned.name == output).unwrap();
    let topic = &output.topic().unwrap().name;
    let partitions = block_on(cluster.log.topic(topic))
        .unwrap()
        .unwrap()
        .partitions;
    (0..partitions)
        .flat_map(|partition| block_on(read_all(&cluster.log, topic, partition)))
        .collect()
}

fn number(record: &Record, name: &str) -> i64 {
    header(record, name).unwrap().parse().unwrap()
}

fn object(record: &Record) -> Option<Map<String, Value>> {
    let value = record.value.as_ref()?;
    let mut object: Map<String, Value> = serde_json::from_slice(value).unwrap();
    // A number is what its digits say; this reader of JSON may miss the last one.
    if object.get("a").is_some_and(Value::is_number) {
        let text = std::str::from_utf8(value).unwrap();
        let digits = text.split(r#""a":"#).nth(1).unwrap();
        let digits = digits.split(',').next().unwrap();
        object.insert("a".to_owned(), digits.parse::<f64>().unwrap().into());
    }
    Some(object)
}

/// Every row stands in its topic once: whatever failed, was fenced or done again.
pub(crate) fn check_sent(cluster: &Cluster, history: &History, verdicts: &Verdicts) {
    let mut expected: Vec<Sent> = Vec::new();
    for (task, revision, stored, judged) in decided(history, verdicts) {
        let Fate::Rows(rows) = judged.fate_for("sent") else {
            continue;
        };
        let generation = history.allotment(revision).outputs["sent"].number;
        expected.extend((0..).zip(rows).map(|(ordinal, row)| {
            // A topic takes what tables refuse.
            let row = Row {
                refused: false,
                ..row.clone()
            };
            (history.tasks[task], stored.offset, ordinal, generation, row)
        }));
    }
    let mut actual: Vec<Sent> = Vec::new();
    for record in records(cluster, "sent") {
        let row = object(&record).unwrap();
        let id = row["id"].as_str().unwrap();
        assert_eq!(record.key.as_deref(), Some(id.as_bytes()));
        let source = SOURCES.iter().position(|name| id[..1] == name[..1]);
        let task = (source.unwrap(), number(&record, "_partition") as i32);
        let offset = number(&record, "_offset");
        let row = row_of(&row, &cluster.events[&(task.0, task.1, offset)].kind);
        let (ordinal, generation) = (number(&record, "_ordinal"), number(&record, "_generation"));
        actual.push((task, offset, ordinal, generation, row));
    }
    let place = |sent: &Sent| (sent.0, sent.1, sent.2);
    expected.sort_by_key(place);
    actual.sort_by_key(place);
    same("rows of a topic", &expected, &actual);
}

/// The newest record of each key is the window's row, and no row was written twice.
pub(crate) fn check_told(cluster: &Cluster, history: &History, verdicts: &Verdicts) {
    let mut newest: BTreeMap<Bytes, Map<String, Value>> = BTreeMap::new();
    let mut last: BTreeMap<Bytes, (i64, i64, i64)> = BTreeMap::new();
    for record in records(cluster, "told") {
        let key = record.key.clone().unwrap();
        let Some(row) = object(&record) else {
            newest.remove(&key);
            continue;
        };
        let position = ["_generation", "_offset", "_revision"].map(|name| number(&record, name));
        let position = (position[0], position[1], position[2]);
        let before = last.insert(key.clone(), position);
        assert!(
            before.is_none_or(|(generation, offset, revision)| {
                generation < position.0 || (offset < position.1 && revision < position.2)
            }),
            "{key:?} was written at {before:?}, and again at {position:?}"
        );
        newest.insert(key, row);
    }
    let staying = staying_windows(cluster, history, verdicts);
    let found: Vec<_> = newest.into_values().collect();
    let found = staying.unknown.known(sorted(&found, window_of));
    let expected = staying.rows.into_iter();
    let expected = expected.filter_map(|(key, (_, (row, _)))| Some((key, row.row()?)));
    same("windows of a topic", &expected.collect::<Vec<_>>(), &found);
}
