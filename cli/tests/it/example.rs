//! The examples give what they say.
use serde_json::Value;

use crate::program::{root, rows, run};

const PLAY: [&str; 6] = [
    "dev",
    "examples/web-analytics",
    "--send",
    "examples/web-analytics/clicks.ndjson.gz",
    "--until-idle",
    "-o",
];

#[test]
fn the_windows_of_the_example_equal_those_of_a_batch_query() {
    let document = run(&[&PLAY[..], &["json"]].concat()).document();
    let clicks = rows(&document, "clicks_unique");
    assert_hours(rows(&document, "clicks_hourly"), clicks);
    assert_eq!(clicks.len(), 6_000);
    assert!(
        document["ledgers"]
            .as_array()
            .unwrap()
            .iter()
            .all(|ledger| ledger["balanced"] == true)
    );
    assert_eq!(document["deadLetters"], Value::Array(vec![]));
}

/// The windows are those of the expected file; `clicks` are the events that went into them.
pub(crate) fn assert_hours(hours: &[Value], clicks: &[Value]) {
    let expected =
        std::fs::read_to_string(root().join("examples/web-analytics/clicks_hourly_expected.csv"))
            .unwrap();
    let expected: Vec<Vec<&str>> = expected
        .lines()
        .skip(1)
        .map(|line| line.split(',').collect())
        .collect();
    assert_eq!(hours.len(), expected.len());
    for line in expected {
        let [start, method, exact @ .., users, p95] = &line[..] else {
            panic!("{line:?}")
        };
        let row = hours
            .iter()
            .find(|row| row["window_start"] == *start && row["method"] == *method);
        let row = row.unwrap_or_else(|| panic!("no row for {line:?}"));
        let names = [
            "count",
            "sum_bytes",
            "with_bytes",
            "min_bytes",
            "max_bytes",
            "errors",
        ];
        for (name, value) in names.iter().zip(exact) {
            assert_eq!(row[name].as_f64(), value.parse().ok(), "{name} of {line:?}");
        }
        close(&row["users"], users, 0.03, 1.0);
        // Where values lie far apart, a sketch that is off by a few ranks is off by much more in value.
        let bytes = bytes_of(clicks, method, &start[..13]);
        let found = row["p95_bytes"].as_f64();
        assert_eq!(found.is_none(), p95.is_empty(), "{line:?}");
        if let Some(found) = found {
            let at_most = |limit: f64| {
                bytes.iter().filter(|&&value| value <= limit).count() as f64 / bytes.len() as f64
            };
            let highest = bytes.iter().copied().fold(f64::MIN, f64::max);
            assert!(
                at_most(found * (1.0 + 1e-9)) >= 0.90 && found <= highest,
                "{found} is no 95th percentile of {line:?}"
            );
        }
    }
}

/// What was sent in an hour (`2015-05-17T10`) by a method.
fn bytes_of(clicks: &[Value], method: &str, hour: &str) -> Vec<f64> {
    let within = clicks.iter().filter(|click| {
        click["method"] == *method && click["ts"].as_str().unwrap().starts_with(hour)
    });
    within.filter_map(|click| click["bytes"].as_f64()).collect()
}

fn close(found: &Value, expected: &str, relative: f64, absolute: f64) {
    let Ok(expected) = expected.parse::<f64>() else {
        return assert!(found.is_null(), "{found}");
    };
    let found = found.as_f64().unwrap();
    assert!(
        (found - expected).abs() <= absolute.max(expected.abs() * relative),
        "{found} is far from {expected}"
    );
}

#[test]
fn a_person_sees_windows_and_ledgers() {
    let ended = run(&[&PLAY[..], &["table", "--rows", "3"]].concat());
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    for text in [
        "web/web-analytics clicks_hourly",
        "window_start",
        "more: -o json",
        "clicks_hourly: balances",
        "6000 records",
    ] {
        assert!(
            ended.stdout.contains(text),
            "no {text:?} in:\n{}",
            ended.stdout
        );
    }
}

#[test]
fn csv_of_one_output_is_nothing_but_its_rows() {
    let ended = run(&[&PLAY[..], &["csv", "--output", "clicks_hourly"]].concat());
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let mut lines = ended.stdout.lines();
    assert_eq!(
        lines.next(),
        Some(
            "method,count,sum_bytes,with_bytes,min_bytes,max_bytes,errors,users,p95_bytes,window_start,window_end"
        )
    );
    assert!(lines.all(|line| line.split(',').count() == 11));
}

#[test]
fn every_example_is_good() {
    let mut count = 0;
    for folder in std::fs::read_dir(root().join("examples")).unwrap() {
        let ended = run(&["check", folder.unwrap().path().to_str().unwrap()]);
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
        count += 1;
    }
    assert!(count > 0);
}
