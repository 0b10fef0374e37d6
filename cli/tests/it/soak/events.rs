//! Events with everything that can be wrong with them.
use std::collections::VecDeque;

use rand::Rng as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};

/// Of how many events the last ones are remembered, so that some come again: within the horizon of the deduplication, and beyond it.
const REMEMBERED: usize = 12_000;
/// How many of them are within it for sure.
const RECENT: usize = 2_000;
/// How far events are behind for the most part, ms: no more than `maxOutOfOrder`.
const OUT_OF_ORDER_MS: i64 = 10_000;
const KINDS: [&str; 12] = [
    "a", "a", "a", "b", "b", "c", "d", "e", "f", "g", "noise", "ü",
];
const NOTES: [&str; 5] = ["x", "xy", "xyz", "a longer note", "refuse"];

/// An event for the topic.
pub(crate) struct Event {
    pub(crate) number: usize,
    pub(crate) key: String,
    pub(crate) value: Option<String>,
}

/// Draws events.
pub(crate) struct Events {
    random: StdRng,
    next: usize,
    recent: VecDeque<Meant>,
}

/// What a sender meant.
#[derive(Debug, Clone)]
struct Meant {
    number: usize,
    ts_ms: i64,
    kind: Option<&'static str>,
    value: Option<i64>,
    per: Option<i64>,
    note: Option<&'static str>,
}

impl Events {
    pub(crate) fn new(random: StdRng) -> Self {
        Self {
            random,
            next: 0,
            recent: VecDeque::new(),
        }
    }

    /// The next event, sent when event time is `now_ms`.
    pub(crate) fn draw(&mut self, now_ms: i64) -> Event {
        let meant = if !self.recent.is_empty() && self.chance(0.08) {
            self.again()
        } else {
            self.another(now_ms)
        };
        let key = format!("e{}", meant.number);
        let value = self.written(&meant);
        Event {
            number: meant.number,
            key,
            value,
        }
    }

    /// An event that has no effect but to tell of a later time.
    pub(crate) fn last(&mut self, now_ms: i64) -> Event {
        self.next += 1;
        let key = format!("e{}", self.next);
        let value = json!({"id": key, "ts": now_ms, "kind": "noise"}).to_string();
        Event {
            number: self.next,
            key,
            value: Some(value),
        }
    }

    fn another(&mut self, now_ms: i64) -> Meant {
        self.next += 1;
        let behind_ms = match self.random.random_range(0..100) {
            0 => self.random.random_range(OUT_OF_ORDER_MS..400_000),
            1..5 => self.random.random_range(OUT_OF_ORDER_MS..150_000),
            5..15 => self.random.random_range(0..40_000),
            _ => self.random.random_range(0..OUT_OF_ORDER_MS),
        };
        let far_ahead = self.chance(0.003);
        let meant = Meant {
            number: self.next,
            // A hundred years ahead.
            ts_ms: now_ms - behind_ms + if far_ahead { 3_155_760_000_000 } else { 0 },
            kind: self.one_of(&KINDS, 0.95),
            value: self
                .chance(0.9)
                .then(|| self.random.random_range(-50..1_000)),
            per: match self.random.random_range(0..200) {
                0 => Some(0),
                1..20 => None,
                _ => Some(self.random.random_range(1..8)),
            },
            note: if self.chance(0.005) {
                Some("refuse")
            } else {
                self.one_of(&NOTES[..4], 0.9)
            },
        };
        self.recent.push_back(meant.clone());
        if self.recent.len() > REMEMBERED {
            self.recent.pop_front();
        }
        meant
    }

    /// One of before, sometimes with another value.
    fn again(&mut self) -> Meant {
        let reach = if self.chance(0.7) { RECENT } else { REMEMBERED };
        let back = self.random.random_range(0..reach.min(self.recent.len()));
        let mut meant = self.recent[self.recent.len() - 1 - back].clone();
        if self.chance(0.3) {
            meant.value = Some(self.random.random_range(2_000..3_000));
        }
        meant
    }

    fn written(&mut self, meant: &Meant) -> Option<String> {
        let id = format!("e{}", meant.number);
        let ts = if self.chance(0.3) {
            let time = chrono::DateTime::from_timestamp_millis(meant.ts_ms).unwrap();
            json!(time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
        } else {
            json!(meant.ts_ms)
        };
        let mut object = json!({
            "id": id, "ts": ts, "kind": meant.kind, "value": meant.value, "per": meant.per, "note": meant.note, "more": [1, {"x": 2}],
        });
        match self.random.random_range(0..300) {
            0 => return None,
            1 => return Some("[1, 2]".to_owned()),
            2 => object["value"] = json!("many"),
            3 => drop(object.as_object_mut().unwrap().remove("ts")),
            4 => object["id"] = Value::Null,
            5 => {
                let text = object.to_string();
                return Some(text.chars().take(text.chars().count() / 2).collect());
            }
            _ => {}
        }
        Some(object.to_string())
    }

    fn chance(&mut self, probability: f64) -> bool {
        self.random.random_bool(probability)
    }

    fn one_of(&mut self, all: &[&'static str], probability: f64) -> Option<&'static str> {
        let index = self.random.random_range(0..all.len());
        self.chance(probability).then(|| all[index])
    }
}
