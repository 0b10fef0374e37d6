//! Windows of every kind give what a plain computation over the rows gives.
use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::program::{rows, run};

const HOUR_MS: i64 = 3_600_000;

fn millis(time: &Value) -> i64 {
    let time: DateTime<Utc> = time.as_str().unwrap().parse().unwrap();
    time.timestamp_millis()
}

/// Requests, bytes where there are any, and errors.
type Figures = (i64, Option<f64>, i64);

fn add((requests, bytes, errors): &mut Figures, request: &Value) {
    *requests += 1;
    if let Some(more) = request["bytes"].as_f64() {
        *bytes = Some(bytes.unwrap_or_default() + more);
    }
    *errors += i64::from(request["code"].as_i64().is_some_and(|code| code >= 400));
}

fn figures(row: &Value) -> Figures {
    let number = |name: &str| row[name].as_i64().unwrap();
    (number("requests"), row["bytes"].as_f64(), number("errors"))
}

#[test]
fn the_windows_of_the_example_equal_a_plain_computation() {
    let document = run(&[
        "dev",
        "examples/windows",
        "--send",
        "examples/web-analytics/clicks.ndjson.gz",
        "--until-idle",
        "-o",
        "json",
    ])
    .document();
    assert_eq!(document["deadLetters"], json!([]));
    let requests = rows(&document, "requests");
    assert_eq!(requests.len(), 6_000);
    hopping(&document, requests);
    let ledgers = document["ledgers"].as_array().unwrap();
    assert!(ledgers.iter().all(|ledger| ledger["balanced"] == true));
}

fn hopping(document: &Value, requests: &[Value]) {
    let mut expected: BTreeMap<(i64, String), Figures> = BTreeMap::new();
    for request in requests {
        let last_hour = millis(&request["ts"]).div_euclid(HOUR_MS);
        for hour in last_hour - 5..=last_hour {
            let group = (
                hour * HOUR_MS,
                request["method"].as_str().unwrap().to_owned(),
            );
            add(expected.entry(group).or_default(), request);
        }
    }
    let found = rows(document, "last_six_hours").iter();
    let found = found.map(|row| {
        let start_ms = millis(&row["window_start"]);
        assert_eq!(millis(&row["window_end"]), start_ms + 6 * HOUR_MS);
        let group = (start_ms, row["method"].as_str().unwrap().to_owned());
        (group, figures(row))
    });
    assert_eq!(found.collect::<BTreeMap<_, _>>(), expected);
}
