//! The example, from HTTP to tables, through processes that are told to stop.
use std::collections::BTreeMap;
use std::io::Read as _;

use flate2::read::GzDecoder;
use serde_json::json;

use crate::example::assert_hours;
use crate::metrics::{documented, exposed};
use crate::program::{root, run};
use crate::roles::ground::{Ground, Role, check};

/// Events that are sent after the others so that every partition learns of a later time, and all windows close.
const LATER_EVENTS: usize = 200;

const HOURS: &str = "SELECT to_char(window_start AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS window_start,
    method, count, sum_bytes, with_bytes, min_bytes, max_bytes, errors, users, p95_bytes
    FROM clicks_hourly ORDER BY clicks_hourly.window_start, method";
const CLICKS: &str =
    "SELECT to_char(ts AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS ts, method, bytes
    FROM clicks_unique WHERE source IS DISTINCT FROM 'later'";

fn events() -> Vec<String> {
    let file = root().join("examples/web-analytics/clicks.ndjson.gz");
    let mut text = String::new();
    GzDecoder::new(std::fs::File::open(file).unwrap())
        .read_to_string(&mut text)
        .unwrap();
    let later = |_| {
        json!({"source": "later", "timestamp": "2015-06-01T00:00:00Z", "attributes": {"method": "GET"}}).to_string()
    };
    let events = text.lines().map(str::to_owned);
    events.chain((0..LATER_EVENTS).map(later)).collect()
}

async fn send(address: &str, events: &[String]) {
    let client = reqwest::Client::new();
    for events in events.chunks(500) {
        let request = client
            .post(format!("{address}/v1/events"))
            .header("Content-Type", "application/x-ndjson")
            .body(events.join("\n"));
        let answer = request.send().await.unwrap();
        let status = answer.status();
        assert_eq!(status, 202, "{}", answer.text().await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_gives_its_windows_through_provision_ingest_and_two_workers() {
    let ground = Ground::new(&root().join("examples/web-analytics"), "roles-web");
    let made = ground.provision();
    assert_eq!(made.code, 0, "{}", made.stderr);
    for text in [
        "topic roles-web.clicks was made with ",
        "topic roles-web.web-analytics.hourly.g1.partials was made with ",
        "clicks_hourly",
    ] {
        assert!(
            made.stdout.contains(text),
            "no {text:?} in:\n{}",
            made.stdout
        );
    }
    let again = ground.provision();
    assert_eq!(
        (again.code, again.stdout.as_str()),
        (0, "everything is as it has to be\n")
    );

    let workers = [ground.role("worker", &[]), ground.role("worker", &[])];
    for worker in &workers {
        let report = worker.ready().await;
        assert_eq!(
            check(&report, "assignment")["detail"],
            "2 of 2 inputs are assigned"
        );
        assert_eq!(check(&report, "sinks")["detail"], "1 of 1 answer");
        assert_eq!(worker.get("/healthz").await, (200, "ok\n".to_owned()));
    }
    let ingest = ground.role("ingest", &["--listen", "127.0.0.1:0"]);
    ingest.ready().await;
    send(&ingest.events(), &events()).await;

    ground
        .until("SELECT coalesce(sum(count), 0) FROM clicks_hourly", "6000")
        .await;
    let clicks = format!("{}", 6_000 + LATER_EVENTS);
    ground
        .until("SELECT count(*) FROM clicks_unique", &clicks)
        .await;
    assert_hours(&ground.rows(HOURS), &ground.rows(CLICKS));
    columns_are_those_of_dev(&ground);
    metrics_are_documented(&workers, &ingest).await;

    let groups = ground.groups("roles-web.");
    assert_eq!(groups.len(), 2, "{groups:?}");
    assert!(
        groups.iter().all(|(_, members)| *members == 2),
        "{groups:?}"
    );
    assert_eq!(ingest.stop(), 0);
    for worker in workers {
        assert_eq!(worker.stop(), 0);
    }
    let groups = ground.groups("roles-web.");
    assert!(
        groups.iter().all(|(_, members)| *members == 0),
        "{groups:?}"
    );
    assert_eq!(ground.open_transactions("roles-web."), []);
}

/// The same YAML gives tables with the same columns in one process.
fn columns_are_those_of_dev(ground: &Ground) {
    let specs = ground.path("specs");
    let document = run(&[
        "dev",
        &specs,
        "--send",
        "examples/web-analytics/clicks.ndjson.gz",
        "--until-idle",
        "-o",
        "json",
    ])
    .document();
    for table in ["clicks_hourly", "clicks_unique"] {
        let row = crate::program::rows(&document, table)[0]
            .as_object()
            .unwrap();
        let columns: Vec<&str> = row.keys().map(String::as_str).collect();
        let found = ground.sql(&format!(
            "SELECT column_name FROM information_schema.columns WHERE table_name = '{table}' AND (column_name NOT LIKE '\\_%' OR column_name = '_extra') ORDER BY ordinal_position"
        ));
        assert_eq!(found.lines().collect::<Vec<_>>(), columns);
    }
}

/// What the roles show together is what the page lists.
async fn metrics_are_documented(workers: &[Role], ingest: &Role) {
    let mut expected = documented();
    // A generator and an operator count for themselves, the tables of the example keep everything, and nothing is missing in it.
    expected.retain(|name, _| {
        let of_others = [
            "tidewheel_generate_",
            "tidewheel_operator_",
            "tidewheel_retention_",
            "tidewheel_step_not_recomputed_",
        ];
        !of_others.iter().any(|prefix| name.starts_with(prefix))
    });
    let mut found = BTreeMap::new();
    // Librdkafka reports, and the log is asked for lags, every few seconds.
    for _ in 0..1_200 {
        for role in workers.iter().chain([ingest]) {
            found.extend(exposed(&role.get("/metrics").await.1));
        }
        if found.len() >= expected.len() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(found, expected);
    let mut written = 0.0;
    for worker in workers {
        let text = worker.get("/metrics").await.1;
        let lines = text.lines().filter(|line| {
            line.starts_with("tidewheel_output_fates_total{")
                && line.contains("name=\"clicks_unique\"")
                && line.contains("fate=\"written\"")
        });
        let values = lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
        written += values.sum::<f64>();
    }
    assert_eq!(written, (6_000 + LATER_EVENTS) as f64);
    let (_, text) = ingest.get("/metrics").await;
    let accepted = text.lines().find(|line| {
        line.starts_with("tidewheel_ingest_events_total{") && line.contains("\"accepted\"")
    });
    assert!(
        accepted.is_some_and(|line| line.ends_with(" 6200")),
        "{accepted:?}"
    );
}
