//! Events that keep coming while something happens.
use std::{
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{JoinHandle, sleep, spawn},
    time::{Duration, Instant},
};

use tidewheel_e2e::cluster::Cluster;

use super::{forwarded::Forwarded, shop::Shop};

/// Events of a request.
const EVENTS: u64 = 20;
/// How long a sender tries to get a request accepted.
const PATIENCE: Duration = Duration::from_secs(180);

/// A sender of events to the example's source, which sends a request again until it is accepted, as senders should.
pub(super) struct Flow {
    accepted: Arc<AtomicU64>,
    ends: Arc<AtomicBool>,
    sender: JoinHandle<()>,
}

impl Flow {
    /// Begins to send to a namespace in which the example's source is ready.
    pub(super) fn begin(shop: &Shop) -> Self {
        let (accepted, ends) = (
            Arc::new(AtomicU64::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let sender = spawn({
            let (cluster, namespace) = (shop.cluster, shop.name);
            let (accepted, ends) = (accepted.clone(), ends.clone());
            move || send(cluster, namespace, &accepted, &ends)
        });
        Self {
            accepted,
            ends,
            sender,
        }
    }

    /// Waits until this many more events than now have become rows.
    pub(super) fn until_rows_grow_by(&self, shop: &Shop, count: u64) {
        let wanted = rows(shop) + count;
        shop.until(&format!("{count} more rows are there"), || {
            assert!(!self.sender.is_finished(), "the sender has given up");
            rows(shop) >= wanted
        });
    }

    /// Ends it, and sees that every event that was accepted is a row, and counted in a window, exactly once.
    pub(super) fn end(self, shop: &Shop) {
        self.ends.store(true, Ordering::Relaxed);
        self.sender.join().unwrap();
        let accepted = self.accepted.load(Ordering::Relaxed);
        assert!(accepted > 0);
        shop.close_windows();
        let all = accepted + 60;
        shop.until(&format!("{all} rows are there"), || rows(shop) >= all);
        let found = shop.sql("SELECT count(*), count(DISTINCT event_id) FROM clicks_unique");
        assert_eq!(found, format!("{all}|{all}"));
        let counted = "SELECT sum(count) FROM clicks_hourly WHERE window_start < '2016-01-01'";
        shop.until("every window has closed", || {
            shop.sql(counted).parse().unwrap_or(0) >= accepted
        });
        assert_eq!(shop.sql(counted), accepted.to_string());
    }
}

fn rows(shop: &Shop) -> u64 {
    let count = shop.sql("SELECT count(*) FROM clicks_unique");
    count.parse().unwrap_or(0)
}

fn send(cluster: &Cluster, namespace: &str, accepted: &AtomicU64, ends: &AtomicBool) {
    let mut forwarded = None;
    while !ends.load(Ordering::Relaxed) {
        let first = accepted.load(Ordering::Relaxed);
        let body = events(first);
        let began = Instant::now();
        while !is_accepted(&mut forwarded, cluster, namespace, &body) {
            assert!(began.elapsed() < PATIENCE, "no event is accepted any more");
            forwarded = None;
            sleep(Duration::from_millis(200));
        }
        accepted.store(first + EVENTS, Ordering::Relaxed);
        sleep(Duration::from_millis(50));
    }
}

fn is_accepted(
    forwarded: &mut Option<Forwarded>,
    cluster: &Cluster,
    namespace: &str,
    body: &str,
) -> bool {
    if forwarded.is_none() {
        *forwarded = Forwarded::open(cluster, namespace, "service/clicks-ingest", 8080).ok();
    }
    let answer = forwarded
        .as_ref()
        .and_then(|forwarded| forwarded.post("/v1/events", "", body.as_bytes()).ok());
    answer.is_some_and(|answer| answer.starts_with("HTTP/1.1 202"))
}

/// Events, each with an id of its own: what is accepted twice is one row.
fn events(first: u64) -> String {
    let mut text = String::new();
    for number in first..first + EVENTS {
        let (minute, second) = (number / 60 % 60, number % 60);
        let hour = number / 3600 % 24;
        let time = format!("2015-05-17T{hour:02}:{minute:02}:{second:02}Z");
        let _ = writeln!(
            text,
            r#"{{"event_id": "00000000-0000-4000-8000-{number:012}", "timestamp": "{time}", "source": "flow", "attributes": {{"method": "GET", "code": 200}}}}"#
        );
    }
    text
}
