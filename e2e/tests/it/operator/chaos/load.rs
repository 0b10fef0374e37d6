//! A client that sends numbered events at a steady rate, and each request again until it is accepted.
use std::{
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{JoinHandle, sleep, spawn},
    time::{Duration, Instant, SystemTime},
};

use rand::{Rng, SeedableRng, rngs::StdRng};

use super::super::forwarded::post;

/// Events in a second.
const RATE: u64 = 2_000;
/// Events of a request.
const EVENTS: u64 = 100;
/// By how much events are out of order at most, ms.
const DISORDER_MS: u64 = 5_000;
/// How long an answer may take before the request is sent again.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);
const SENT_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// How long a request is sent again.
const PATIENCE: Duration = Duration::from_secs(300);

/// The client.
pub(super) struct Load {
    shared: Arc<Shared>,
    client: JoinHandle<u64>,
}

#[derive(Default)]
struct Shared {
    created: AtomicU64,
    accepted: AtomicU64,
    ends: AtomicBool,
}

/// What the client has done.
pub(super) struct Sent {
    /// Those numbered from 0 up to this have been accepted.
    pub(super) events: u64,
    /// How often it had to send a request again.
    pub(super) again: u64,
}

impl Load {
    pub(super) fn begin(port: u16) -> Self {
        let shared = Arc::new(Shared::default());
        let client = spawn({
            let shared = shared.clone();
            move || send(port, &shared)
        });
        Self { shared, client }
    }

    /// How many events there were so far.
    pub(super) fn created(&self) -> u64 {
        self.shared.created.load(Ordering::SeqCst)
    }

    /// How many of them have been accepted.
    pub(super) fn accepted(&self) -> u64 {
        assert!(!self.client.is_finished(), "the client has given up");
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// How many events there are within such a time.
    pub(super) const fn in_time(&self, time: Duration) -> u64 {
        time.as_millis() as u64 * RATE / 1_000
    }

    /// Ends it when all is accepted.
    pub(super) fn end(self) -> Sent {
        self.shared.ends.store(true, Ordering::SeqCst);
        let again = self.client.join().unwrap();
        Sent {
            events: self.shared.accepted.load(Ordering::SeqCst),
            again,
        }
    }
}

/// Returns how often a request was sent again.
fn send(port: u16, shared: &Shared) -> u64 {
    let mut random = StdRng::seed_from_u64(0);
    let mut again = 0;
    let every = Duration::from_millis(1_000 * EVENTS / RATE);
    let mut due = Instant::now();
    while !shared.ends.load(Ordering::SeqCst) {
        sleep(due.saturating_duration_since(Instant::now()));
        // What could not be sent in its time is not made up for: a client with twice the rate would be another load.
        due = due.max(Instant::now()) + every;
        let first = shared.created.fetch_add(EVENTS, Ordering::SeqCst);
        let body = body(first, &mut random);
        let began = Instant::now();
        while !is_accepted(port, &body) {
            assert!(began.elapsed() < PATIENCE, "nothing is accepted any more");
            again += 1;
            sleep(SENT_AGAIN_AFTER);
        }
        shared.accepted.fetch_add(EVENTS, Ordering::SeqCst);
    }
    again
}

fn is_accepted(port: u16, body: &str) -> bool {
    let answer = post(port, ANSWERED_WITHIN, "/v1/events", "", body.as_bytes());
    answer.is_ok_and(|answer| answer.starts_with("HTTP/1.1 202"))
}

fn body(first: u64, random: &mut StdRng) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now_ms = now.unwrap().as_millis() as u64;
    let mut body = String::new();
    for number in first..first + EVENTS {
        let happened_ms = now_ms - random.random_range(0..DISORDER_MS);
        let kind = random.random_range(0..10);
        let _ = writeln!(
            body,
            r#"{{"event_id": "00000000-0000-4000-8000-{number:012}", "number": {number}, "ts": {happened_ms}, "kind": "kind-{kind}"}}"#
        );
    }
    body
}
