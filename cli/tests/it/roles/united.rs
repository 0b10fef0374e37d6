//! Two topics of somebody else's whose events are united by SQL, and counted together.
use std::path::Path;

use serde_json::{Value, json};

use crate::program::root;
use crate::roles::foreign::{Foreign, Out};
use crate::roles::ground::Ground;

const EVENTS: usize = 2_000;
/// The windows of the first hour, as the rows say.
const DIFFERENT: &str = "WITH found AS (SELECT window_start, visitor, views, seconds, of_app FROM by_visitor WHERE window_start < '2026-01-01T01:00:00Z'),
    wanted AS (SELECT date_trunc('minute', ts) AS window_start, visitor, count(*) AS views, sum(seconds) AS seconds, count(*) FILTER (WHERE channel = 'app') AS of_app
        FROM views WHERE ts < '2026-01-01T01:00:00Z' GROUP BY 1, 2)
    SELECT count(*), (SELECT count(*) FROM wanted) > 100 FROM ((TABLE found EXCEPT ALL TABLE wanted) UNION ALL (TABLE wanted EXCEPT ALL TABLE found)) AS d";

/// A time of the first hour: later events come later, but for some seconds.
fn time(index: usize) -> String {
    let second = (index * 3_000 / EVENTS).saturating_sub(index % 7);
    format!("2026-01-01T00:{:02}:{:02}Z", second / 60, second % 60)
}

fn out(id: &str, partition: Option<i32>, event: &Value) -> Out {
    Out {
        partition,
        key: Some(id.as_bytes().to_vec()),
        value: Some(event.to_string().into_bytes()),
        ..Out::default()
    }
}

fn page(index: usize) -> Out {
    let id = format!("page-{index}");
    let visitor = format!("visitor-{}", index % 5);
    let event = json!({"id": id, "ts": time(index), "visitor": visitor, "millis": index * 250});
    out(&id, None, &event)
}

fn screen(index: usize) -> Out {
    let id = format!("screen-{index}");
    let user = format!("visitor-{}", index % 4);
    let event = json!({"id": id, "at": time(index), "device": {"user": user}, "seconds": index as f64 / 4.0});
    out(&id, None, &event)
}

/// What lets every partition know that the hour is over.
fn ends(topic: &str, partitions: i32, time: &str) -> Vec<Out> {
    let end = |partition| {
        let id = format!("{topic}-end-{partition}");
        let event = json!({"id": id, "ts": time, "at": time});
        out(&id, Some(partition), &event)
    };
    (0..partitions).map(end).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_two_sources_are_counted_together_once_each() {
    let (namespace, pages, screens) = ("roles-united", "Site.pages", "App.screens");
    let specs = root().join(Path::new("cli/tests/it/specs/united"));
    let own = format!("namespace: {namespace}");
    let replaced = [
        ("namespace: web", own.as_str()),
        ("PAGES", pages),
        ("SCREENS", screens),
    ];
    let ground = Ground::with(&specs, &replaced);
    let foreign = Foreign::at(ground.kafka.bootstrap());
    foreign.make(pages, 2, &[]).await;
    foreign.make(screens, 3, &[]).await;
    assert_eq!(ground.provision().code, 0);
    let (first, second) = (ground.role("worker", &[]), ground.role("worker", &[]));
    let producer = foreign.producer(&[]);
    for half in [0..EVENTS / 2, EVENTS / 2..EVENTS] {
        producer.send(pages, &half.clone().map(page).collect::<Vec<_>>());
        let count = format!("{}", half.end);
        ground
            .until("SELECT count(*) FROM views WHERE channel = 'web'", &count)
            .await;
        // Pages alone end no window: the app has events of the same time to come.
        let emitted =
            "SELECT count(*) FROM by_visitor WHERE window_start >= '2026-01-01T00:30:00Z'";
        assert_eq!(ground.sql(emitted), "0");
        producer.send(screens, &half.map(screen).collect::<Vec<_>>());
        ground
            .until("SELECT count(*) FROM views WHERE channel = 'app'", &count)
            .await;
    }
    drop(first);
    for (topic, partitions) in [(pages, 2), (screens, 3)] {
        producer.send(topic, &ends(topic, partitions, "2026-01-01T02:00:00Z"));
    }
    ground.until(DIFFERENT, "0|t").await;
    let once = "SELECT count(*), count(DISTINCT id) FROM views WHERE ts < '2026-01-01T01:00:00Z'";
    assert_eq!(ground.sql(once), format!("{0}|{0}", 2 * EVENTS));
    assert_eq!(second.stop(), 0);
}
