//! Seeded events of a web site, as JSON.
use std::fmt::Write as _;

use bytes::{Bytes, BytesMut};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tidewheel_log::Record;

/// When the first event happens: 2026-01-01T00:00:00Z, ms since the epoch.
pub(crate) const START_MS: i64 = 1_767_225_600_000;

const AGENT: &str = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/32.0.1700.77 Safari/537.36";
const METHODS: [&str; 4] = ["GET", "POST", "HEAD", "OPTIONS"];

/// Makes events one after the other.
#[derive(Debug)]
pub(crate) struct Events {
    random: ChaCha8Rng,
    keys: u64,
    made: u64,
    /// Events that happen in a second.
    per_second: u64,
    text: String,
}

impl Events {
    /// Events of `keys` users, `per_second` of them in a second of event time.
    pub(crate) fn new(seed: u64, keys: u64, per_second: u64) -> Self {
        Self {
            random: ChaCha8Rng::seed_from_u64(seed),
            keys,
            made: 0,
            per_second,
            text: String::new(),
        }
    }

    /// When the next event happens, ms.
    pub(crate) fn now_ms(&self) -> i64 {
        START_MS + (self.made * 1_000 / self.per_second) as i64
    }

    /// The next event: about 460 bytes, up to 5 s out of order, of which the source declares seven members and leaves three undeclared.
    pub(crate) fn next(&mut self) -> &str {
        let late_ms = self.random.random_range(0..5_000);
        let at_ms = (self.now_ms() - late_ms).max(START_MS);
        self.made += 1;
        self.at(at_ms)
    }

    /// An event that happens at a time of the first days of 2026, ms since the epoch.
    pub(crate) fn at(&mut self, at_ms: i64) -> &str {
        let (id, user) = (
            self.random.random::<u128>(),
            self.random.random_range(0..self.keys),
        );
        let method = METHODS[self.random.random_range(0..16usize).min(3)];
        let code = if self.random.random_ratio(1, 20) {
            404
        } else {
            200
        };
        let cents: u32 = self.random.random_range(100..100_000_000);
        self.text.clear();
        let id = format!("{id:032x}");
        // Writing to a String cannot fail.
        let _ = write!(
            self.text,
            r#"{{"event_id":"{}-{}-{}-{}-{}","source":"web","timestamp":"{}","page":"/presentations/{user}/images/kibana-search.png","#,
            &id[..8],
            &id[8..12],
            &id[12..16],
            &id[16..20],
            &id[20..],
            Rfc3339(at_ms),
        );
        let _ = write!(
            self.text,
            r#""attributes":{{"user_id":"user-{user}","metric":{}.{:02},"status":"{}","method":"{method}","code":{code}}},"#,
            cents / 100,
            cents % 100,
            if code == 200 { "ok" } else { "error" },
        );
        let _ = write!(
            self.text,
            r#""referrer":"http://semicomplete.com/presentations/logstash-monitorama-2013/","agent":"{AGENT}"}}"#
        );
        &self.text
    }

    /// The next `count` events in one buffer, a line each, and each event's part of it without the line's end.
    pub(crate) fn lines(&mut self, count: usize) -> (Bytes, Vec<Bytes>) {
        let mut buffer = BytesMut::with_capacity(count * 480);
        let mut ends = Vec::with_capacity(count);
        for _ in 0..count {
            buffer.extend_from_slice(self.next().as_bytes());
            ends.push(buffer.len());
            buffer.extend_from_slice(b"\n");
        }
        let buffer = buffer.freeze();
        let mut start = 0;
        let part = |end| {
            let event = buffer.slice(start..end);
            start = end + 1;
            event
        };
        let events = ends.into_iter().map(part).collect();
        (buffer, events)
    }

    /// The next `count` events as records from `first_offset` on that were appended just now; and the same in one buffer, a line each.
    pub(crate) fn records(&mut self, first_offset: usize, count: usize) -> (Bytes, Vec<Record>) {
        let (lines, events) = self.lines(count);
        let append_time_ms = self.now_ms();
        let record = |(offset, value)| Record {
            offset,
            append_time_ms,
            key: None,
            value: Some(value),
            headers: Vec::new(),
        };
        let records = (first_offset as i64..).zip(events).map(record).collect();
        (lines, records)
    }
}

/// A time of the first days of 2026 as RFC 3339.
struct Rfc3339(i64);

impl std::fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = self.0 - START_MS;
        let (day, hour, minute) = (1 + ms / 86_400_000, ms / 3_600_000 % 24, ms / 60_000 % 60);
        write!(
            f,
            "2026-01-{day:02}T{hour:02}:{minute:02}:{:02}.{:03}Z",
            ms / 1_000 % 60,
            ms % 1_000
        )
    }
}
