//! Windows of every kind give what a plain computation over the rows gives.
use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
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
    sessions(&document, requests);
    over_windows(&document, requests);
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

fn sessions(document: &Value, requests: &[Value]) {
    let mut by_visitor: BTreeMap<&str, Vec<(i64, &Value)>> = BTreeMap::new();
    for request in requests {
        let visitor = by_visitor.entry(request["user_id"].as_str().unwrap());
        visitor.or_default().push((millis(&request["ts"]), request));
    }
    let mut expected = BTreeMap::new();
    for (visitor, mut requests) in by_visitor {
        requests.sort_by_key(|(ts_ms, _)| *ts_ms);
        for visit in requests.chunk_by(|a, b| b.0 - a.0 < HOUR_MS / 2) {
            let mut figures = Figures::default();
            visit
                .iter()
                .for_each(|(_, request)| add(&mut figures, request));
            let end_ms = visit[visit.len() - 1].0 + HOUR_MS / 2;
            expected.insert((visit[0].0, visitor.to_owned()), (end_ms, figures));
        }
    }
    let found = rows(document, "visits").iter().map(|row| {
        let visitor = row["user_id"].as_str().unwrap().to_owned();
        let key = (millis(&row["window_start"]), visitor);
        (key, (millis(&row["window_end"]), figures(row)))
    });
    assert_eq!(found.collect::<BTreeMap<_, _>>(), expected);
}

/// Hours are made of minutes, not of requests.
fn over_windows(document: &Value, requests: &[Value]) {
    let mut minutes: BTreeMap<(i64, String), i64> = BTreeMap::new();
    for request in requests {
        let minute = millis(&request["ts"]).div_euclid(MINUTE_MS);
        let method = request["method"].as_str().unwrap().to_owned();
        *minutes.entry((minute, method)).or_default() += 1;
    }
    let mut expected: BTreeMap<(i64, String), Vec<i64>> = BTreeMap::new();
    for ((minute, method), requests) in &minutes {
        let hour = (minute.div_euclid(60), method.clone());
        expected.entry(hour).or_default().push(*requests);
    }
    let found: BTreeMap<_, _> = rows(document, "per_hour")
        .iter()
        .map(|row| {
            let hour = millis(&row["window_start"]).div_euclid(HOUR_MS);
            let method = row["method"].as_str().unwrap().to_owned();
            let number = |name: &str| row[name].as_i64().unwrap();
            let mean = row["mean_minute"].as_f64().unwrap();
            let figures = [
                number("busiest_minute"),
                number("requests"),
                number("minutes"),
            ];
            ((hour, method), (figures, mean))
        })
        .collect();
    let expected: BTreeMap<_, _> = expected
        .into_iter()
        .map(|(hour, minutes)| {
            let (most, sum, count) = (
                minutes.iter().max().copied().unwrap(),
                minutes.iter().sum::<i64>(),
                minutes.len(),
            );
            (hour, ([most, sum, count as i64], sum as f64 / count as f64))
        })
        .collect();
    assert!(found.len() > 10);
    assert_eq!(found, expected);
    assert_eq!(rows(document, "per_minute").len(), minutes.len());
}

const UNITED: &str = "
apiVersion: tidewheel.dev/v1alpha1
kind: EventSource
metadata: {name: web}
spec:
  schema: {fields: [{name: id, type: bigint, required: true}, {name: ts, type: timestamp, required: true}, {name: kind, type: text}, {name: price, type: bigint}]}
  eventTime: {field: ts, maxOutOfOrder: 30s}
  key: [id]
  topic: {partitions: 3}
  http: {}
---
apiVersion: tidewheel.dev/v1alpha1
kind: EventSource
metadata: {name: app}
spec:
  schema: {fields: [{name: id, type: bigint, required: true}, {name: at, type: timestamp, required: true}, {name: cents, type: bigint}]}
  eventTime: {field: at, maxOutOfOrder: 30s}
  key: [id]
  topic: {partitions: 2}
  http: {}
---
apiVersion: tidewheel.dev/v1alpha1
kind: Sink
metadata: {name: warehouse}
spec: {postgres: {connection: {secretRef: {name: warehouse, key: url}}}}
---
apiVersion: tidewheel.dev/v1alpha1
kind: Pipeline
metadata: {name: united}
spec:
  sources: [{name: web}, {name: app}]
  steps:
    - name: sales
      sql: SELECT id, ts, kind, price * 100 AS cents FROM web UNION ALL SELECT id, at AS ts, 'app' AS kind, cents FROM app
    - name: minutes
      aggregate: {window: {tumbling: 1m}, sql: 'SELECT kind, count(*) AS n, sum(cents) AS cents FROM sales GROUP BY kind'}
    - name: recent
      aggregate: {window: {hopping: {size: 5m, every: 2m}}, sql: 'SELECT kind, count(*) AS n, sum(cents) AS cents FROM sales GROUP BY kind'}
    - name: total
      aggregate: {window: {hopping: {size: 10m, every: 1m}}, late: {policy: Drop}, sql: 'SELECT count(*) AS n, sum(cents) AS cents FROM sales'}
    - name: web_hours
      aggregate: {window: {tumbling: 1h}, sql: 'SELECT kind, count(*) AS n, sum(price) * 100 AS cents FROM web GROUP BY kind'}
  outputs:
    - {name: minutes, from: minutes, postgres: {sink: warehouse}}
    - {name: recent, from: recent, postgres: {sink: warehouse}}
    - {name: total, from: total, postgres: {sink: warehouse}}
    - {name: web_hours, from: web_hours, postgres: {sink: warehouse}}
";

/// Time in ms, kind, cents.
type Sale = (i64, &'static str, i64);

/// Sales of both sources over three hours, each at most 30 s behind those before it.
fn sales() -> (Vec<Sale>, Vec<Sale>) {
    let mut random = StdRng::seed_from_u64(7);
    let mut of = |kinds: &'static [&'static str], count: i64| -> Vec<Sale> {
        let sale = |n: i64| {
            let ts_ms = START_MS + n * 3 * HOUR_MS / count - random.random_range(0..30_000);
            let kind = kinds[random.random_range(0..kinds.len())];
            (ts_ms, kind, random.random_range(0..50) * 100)
        };
        (0..count).map(sale).collect()
    };
    (of(&["shirt", "shoe", "hat"], 900), of(&["app"], 400))
}

/// 2026-01-01T00:10:00Z.
const START_MS: i64 = 1_767_226_200_000;
const MINUTE_MS: i64 = 60_000;

/// Count and cents by window and kind, sale by sale.
fn plain<'a>(
    sales: impl Iterator<Item = &'a Sale>,
    (size_ms, every_ms): (i64, i64),
    by_kind: bool,
) -> BTreeMap<(i64, Option<String>), (i64, i64)> {
    let mut windows = BTreeMap::new();
    for (ts_ms, kind, cents) in sales {
        let mut start_ms = ts_ms.div_euclid(every_ms) * every_ms;
        while *ts_ms < start_ms + size_ms {
            let kind = by_kind.then(|| (*kind).to_owned());
            let totals: &mut (i64, i64) = windows.entry((start_ms, kind)).or_default();
            *totals = (totals.0 + 1, totals.1 + cents);
            start_ms -= every_ms;
        }
    }
    windows
}

#[test]
fn several_window_steps_over_several_sources_equal_a_plain_computation() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, lines: &str| {
        let file = folder.path().join(name);
        std::fs::write(&file, lines).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let (web, app) = sales();
    let web_line = |(id, (ts, kind, cents)): (usize, &Sale)| {
        json!({"id": id, "ts": ts, "kind": kind, "price": cents / 100}).to_string() + "\n"
    };
    let app_line = |(id, (at, _, cents)): (usize, &Sale)| {
        json!({"id": id, "at": at, "cents": cents}).to_string() + "\n"
    };
    let specs = write("united.yaml", UNITED);
    let web_file = write(
        "web",
        &web.iter().enumerate().map(web_line).collect::<String>(),
    );
    let app_file = write(
        "app",
        &app.iter().enumerate().map(app_line).collect::<String>(),
    );
    let sends = [format!("web={web_file}"), format!("app={app_file}")];
    let mut args = vec!["dev", &specs, "--until-idle", "-o", "json"];
    sends.iter().for_each(|send| args.extend(["--send", send]));
    let document = run(&args).document();
    assert_eq!(document["deadLetters"], json!([]));
    let both = || web.iter().chain(&app);
    let of = |size: i64, every: i64| (size * MINUTE_MS, every * MINUTE_MS);
    for (output, expected) in [
        ("minutes", plain(both(), of(1, 1), true)),
        ("recent", plain(both(), of(5, 2), true)),
        ("total", plain(both(), of(10, 1), false)),
        ("web_hours", plain(web.iter(), of(60, 60), true)),
    ] {
        let found = rows(&document, output).iter().map(|row| {
            let number = |name: &str| row[name].as_i64().unwrap();
            let kind = row["kind"].as_str().map(str::to_owned);
            (
                (millis(&row["window_start"]), kind),
                (number("n"), number("cents")),
            )
        });
        assert_eq!(found.collect::<BTreeMap<_, _>>(), expected, "{output}");
    }
    let ledgers = document["ledgers"].as_array().unwrap();
    assert!(ledgers.iter().all(|ledger| ledger["balanced"] == true));
}
