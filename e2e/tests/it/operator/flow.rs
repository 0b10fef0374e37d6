//! Events that keep coming while something happens.
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{JoinHandle, sleep, spawn},
    time::{Duration, Instant},
};

use tidewheel_e2e::measured;

use super::{sender::Sender, shop::Shop};

/// Events of a request.
const EVENTS: u64 = 20;
/// How much later than the last one an event says that it happened, s.
const STEP: u64 = 5;
/// The codes of events, in turn.
const CODES: [u32; 5] = [200, 404, 500, 200, 301];
/// How far into an hour the time stands still when it is stopped, s: the hour before is final by then, and has been for so long that
/// nothing is late any more.
const STOPS_AT: u64 = 1200;
/// How long the time may take to get there.
const PATIENCE: Duration = Duration::from_secs(240);

/// A sender of events to the example's source, which sends a request again until it is accepted, as senders should.
pub(super) struct Flow {
    sent: Arc<Mutex<Sent>>,
    sender: JoinHandle<Sender>,
}

/// What has been accepted, and what is wanted of the sender.
#[derive(Default)]
struct Sent {
    events: u64,
    /// When the newest event happened, s after the first.
    time: u64,
    /// Whether the time of events stands still as soon as it is far enough into an hour.
    stops: bool,
    ends: bool,
    hours: BTreeMap<String, Hour>,
}

/// What happened in an hour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Hour {
    pub(super) events: u64,
    /// With a code of 400 or more.
    pub(super) errors: u64,
    /// With a code of 500 or more.
    pub(super) failures: u64,
}

/// A window of the table: how many events, and how many errors.
pub(super) type Window = (u64, u64);

impl Flow {
    /// Begins to send to a namespace in which the example's source is ready.
    pub(super) fn begin(shop: &Shop) -> Self {
        Self::by(Sender::outside(shop))
    }

    /// The same from a pod, by the Service.
    pub(super) fn begin_inside(shop: &Shop) -> Self {
        Self::by(Sender::inside(shop))
    }

    fn by(mut sender: Sender) -> Self {
        let sent = Arc::new(Mutex::new(Sent::default()));
        let sender = spawn({
            let sent = sent.clone();
            move || {
                loop {
                    // Not within the condition of a loop, which would hold the lock for all of its turn.
                    let request = next(&lock(&sent));
                    let Some(request) = request else {
                        return sender;
                    };
                    let events: Vec<String> = request.iter().map(Event::json).collect();
                    sender.send(&events);
                    lock(&sent).take(&request);
                    sleep(Duration::from_millis(50));
                }
            }
        });
        Self { sent, sender }
    }

    /// Waits until this many more events than now have become rows.
    pub(super) fn until_rows_grow_by(&self, shop: &Shop, count: u64) {
        let wanted = rows(shop) + count;
        shop.until(&format!("{count} more rows"), || {
            assert!(!self.sender.is_finished(), "the sender has given up");
            rows(shop) >= wanted
        });
    }

    /// Waits until this many more events than now have been accepted.
    pub(super) fn until_accepted_grows_by(&self, shop: &Shop, count: u64) {
        let wanted = lock(&self.sent).events + count;
        shop.until(&format!("{count} more events accepted"), || {
            assert!(!self.sender.is_finished(), "the sender has given up");
            lock(&self.sent).events >= wanted
        });
    }

    /// Lets the time of events stand still in the middle of an hour, after two that have ended, and waits until that is so. Events go on
    /// coming, all from the same moment, and no window ends.
    pub(super) fn stop_time(&self) {
        let began = Instant::now();
        lock(&self.sent).stops = true;
        let state = || {
            let sent = lock(&self.sent);
            (sent.time, sent.events)
        };
        let mut before = state();
        loop {
            let now = state();
            // What was on its way when it was stopped may be later.
            if is_stop(now.0) && now.0 == before.0 {
                if now.1 > before.1 + EVENTS {
                    return;
                }
            } else {
                before = now;
            }
            assert!(!self.sender.is_finished(), "the sender has given up");
            assert!(began.elapsed() < PATIENCE, "no two hours have ended");
            sleep(Duration::from_millis(100));
        }
    }

    pub(super) fn let_time_go_on(&self) {
        lock(&self.sent).stops = false;
    }

    /// The hours that have ended while the [time stands still](Self::stop_time).
    pub(super) fn ended_hours(&self) -> BTreeMap<String, Hour> {
        let sent = lock(&self.sent);
        let now = hour_of(sent.time);
        let ended = sent.hours.iter().filter(|(hour, _)| **hour < now);
        ended.map(|(hour, of)| (hour.clone(), *of)).collect()
    }

    /// Ends it, and sees that every event that was accepted is a row, and counted in its window, exactly once.
    pub(super) fn end(self, shop: &Shop) {
        self.end_where(shop, |_, hour| vec![hour.errors]);
    }

    /// As [`Self::end`], where the window of an hour has one of these numbers of errors.
    pub(super) fn end_where(self, shop: &Shop, errors: impl Fn(&str, &Hour) -> Vec<u64>) {
        lock(&self.sent).ends = true;
        let sender = self.sender.join().unwrap();
        let sent = lock(&self.sent);
        assert!(sent.events > 0);
        measured(&format!(
            "{}: {} events sent; requests sent again: {}",
            shop.name, sent.events, sender.again
        ));
        shop.close_windows();
        let all = sent.events + 60;
        shop.until(&format!("all {all} rows"), || rows(shop) >= all);
        let found = shop.sql("SELECT count(*), count(DISTINCT event_id) FROM clicks_unique");
        assert_eq!(found, format!("{all}|{all}"));
        shop.until(&format!("all {} windows", sent.hours.len()), || {
            windows(shop).len() >= sent.hours.len()
        });
        let found = windows(shop);
        assert!(found.keys().eq(sent.hours.keys()), "{found:?}");
        for ((start, hour), (events, found)) in sent.hours.iter().zip(found.values()) {
            assert_eq!(*events, hour.events, "{start}");
            let errors = errors(start, hour);
            assert!(
                errors.contains(found),
                "{start}: {found} errors, not {errors:?}"
            );
        }
    }
}

impl Sent {
    /// The time of the next event after this one.
    fn advance(&self, time: u64) -> u64 {
        if self.stops && is_stop(time) {
            time
        } else {
            time + STEP
        }
    }

    fn take(&mut self, request: &[Event]) {
        for event in request {
            self.events += 1;
            self.time = event.time;
            let hour = self.hours.entry(hour_of(event.time)).or_default();
            hour.events += 1;
            hour.errors += u64::from(event.code() >= 400);
            hour.failures += u64::from(event.code() >= 500);
        }
    }
}

/// An event with an id of its own: what is accepted twice is one row.
struct Event {
    number: u64,
    /// When it happened, s after the first.
    time: u64,
}

impl Event {
    fn code(&self) -> u32 {
        CODES[(self.number % CODES.len() as u64) as usize]
    }

    fn json(&self) -> String {
        format!(
            r#"{{"event_id": "00000000-0000-4000-8000-{:012}", "timestamp": "{}", "source": "flow", "attributes": {{"method": "GET", "code": {}}}}}"#,
            self.number,
            moment(self.time),
            self.code()
        )
    }
}

/// The next request; none where there is to be no other.
fn next(sent: &Sent) -> Option<Vec<Event>> {
    let mut time = sent.time;
    let mut event = |number| {
        time = sent.advance(time);
        Event { number, time }
    };
    (!sent.ends).then(|| {
        (sent.events..sent.events + EVENTS)
            .map(&mut event)
            .collect()
    })
}

/// Whether time may stand still there: two hours have ended, and the next one is well under way.
const fn is_stop(time: u64) -> bool {
    time > 2 * 3600 && time % 3600 >= STOPS_AT
}

fn lock(sent: &Mutex<Sent>) -> MutexGuard<'_, Sent> {
    sent.lock().unwrap_or_else(PoisonError::into_inner)
}

/// So many seconds after the first event, which is in 2015: before the example's events that close windows.
fn moment(seconds: u64) -> String {
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let mut day = 17 + seconds / 86_400;
    let lengths = (5..).zip([31, 30, 31, 31, 30, 31, 30, 31]);
    for (month, length) in lengths {
        if day <= length {
            return format!("2015-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z");
        }
        day -= length;
    }
    panic!("events have come to the end of their year");
}

fn hour_of(seconds: u64) -> String {
    moment(seconds - seconds % 3600)
}

fn rows(shop: &Shop) -> u64 {
    let count = shop.sql("SELECT count(*) FROM clicks_unique");
    count.parse().unwrap_or(0)
}

/// The windows of events that flowed.
pub(super) fn windows(shop: &Shop) -> BTreeMap<String, Window> {
    let found = shop.sql(
        "SELECT to_char(window_start AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), count, errors \
         FROM clicks_hourly WHERE window_start < '2016-01-01'",
    );
    let window = |line: &str| {
        let columns: Vec<&str> = line.split('|').collect();
        let number = |column: &str| column.parse().unwrap();
        (
            columns[0].to_owned(),
            (number(columns[1]), number(columns[2])),
        )
    };
    found.lines().map(window).collect()
}

#[test]
fn events_go_on_over_days_and_months() {
    assert_eq!(moment(0), "2015-05-17T00:00:00Z");
    assert_eq!(moment(14 * 86_400 + 3_661), "2015-05-31T01:01:01Z");
    assert_eq!(moment(15 * 86_400), "2015-06-01T00:00:00Z");
    assert_eq!(moment(45 * 86_400), "2015-07-01T00:00:00Z");
    assert_eq!(moment(228 * 86_400), "2015-12-31T00:00:00Z");
}
