//! What a sender sends.
use std::fmt;

use serde_json::json;

use super::scenario::{FUTURE_MS, OUT_OF_ORDER_MS, SOURCES};
use super::world::World;

/// An event as its sender meant it; the judge never looks at bytes.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) ts_ms: i64,
    pub(crate) kind: Option<&'static str>,
    pub(crate) n: Option<i64>,
    /// A multiple of an eighth, so that sums are exact in any order.
    pub(crate) x: Option<f64>,
    pub(crate) raw: Option<&'static str>,
    pub(crate) d: Option<i64>,
    pub(crate) tags: Option<&'static str>,
    pub(crate) flaw: Option<Flaw>,
    /// That it sends a dead letter again.
    pub(crate) again: Option<Again>,
}

/// An event that sends a dead letter again.
#[derive(Debug, Clone)]
pub(crate) struct Again {
    pub(crate) to: To,
    /// When the events were appended that it repeats.
    pub(crate) repeats_ms: Vec<i64>,
}

/// Whom an event is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum To {
    Everybody,
    /// An output of rows, or an aggregate step.
    One(&'static str),
    /// Another pipeline.
    Nobody,
}

/// What makes an event undecodable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    NoValue,
    Truncated,
    NoTime,
    TextForNumber,
}

impl Flaw {
    /// The word that its dead letter has to carry.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::NoValue => "Empty",
            Self::Truncated => "Malformed",
            Self::NoTime => "Missing",
            Self::TextForNumber => "WrongType",
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.flaw {
            Some(flaw) => write!(f, "{} that cannot be read ({})", self.id, flaw.reason()),
            None => write!(
                f,
                "{} kind {:?} n {:?} x {:?} raw {:?} d {:?} tags {:?}",
                self.id, self.kind, self.n, self.x, self.raw, self.d, self.tags
            ),
        }
    }
}

impl Event {
    /// An event for a partition of a source, and how far its time is behind when it is sent, ms.
    pub(crate) fn draw(
        world: &World,
        (source, partition): (usize, i32),
        number: usize,
    ) -> (Self, i64) {
        let behind_ms = match world.below(20) {
            0 => world.between(OUT_OF_ORDER_MS, 60_000),
            1 | 2 => world.between(0, 20_000),
            3 => -world.between(0, FUTURE_MS),
            4 => -world.between(FUTURE_MS - 1, FUTURE_MS + 20_000),
            _ => world.between(0, OUT_OF_ORDER_MS),
        };
        let flaw = world.chance(0.06).then(|| {
            *world.pick(&[
                Flaw::NoValue,
                Flaw::Truncated,
                Flaw::NoTime,
                Flaw::TextForNumber,
            ])
        });
        let event = Self {
            id: format!("{}{partition}-{number}", &SOURCES[source][..1]),
            ts_ms: 0,
            kind: *world.pick(&[
                Some("a"),
                Some("a"),
                Some("b"),
                Some("c"),
                Some("skip"),
                None,
            ]),
            n: world.chance(0.9).then(|| world.between(-5, 20)),
            x: world
                .chance(0.8)
                .then(|| world.between(-80, 80) as f64 / 8.0),
            raw: *world.pick(&[
                None,
                Some("1"),
                Some("-7"),
                Some("40"),
                Some("12"),
                Some("3"),
                Some("8"),
                Some("x"),
            ]),
            d: if world.chance(0.05) {
                Some(0)
            } else {
                *world.pick(&[None, Some(1), Some(3), Some(-4), Some(10)])
            },
            tags: *world.pick(&[None, Some("p"), Some("p"), Some("p,q"), Some("q,p,q")]),
            flaw,
            again: None,
        };
        (event, behind_ms)
    }

    pub(crate) fn to(&self) -> To {
        self.again.as_ref().map_or(To::Everybody, |again| again.to)
    }

    pub(crate) fn value(&self) -> Option<bytes::Bytes> {
        let mut object = json!({
            "id": self.id, "ts": self.ts_ms, "kind": self.kind, "n": self.n, "x": self.x, "raw": self.raw, "d": self.d, "tags": self.tags,
            "unknown": {"nested": [1, 2]},
        });
        match self.flaw {
            Some(Flaw::NoValue) => return None,
            Some(Flaw::NoTime) => object.as_object_mut().unwrap().remove("ts"),
            Some(Flaw::TextForNumber) => object
                .as_object_mut()
                .unwrap()
                .insert("n".to_owned(), "many".into()),
            Some(Flaw::Truncated) | None => None,
        };
        let mut text = object.to_string();
        if self.flaw == Some(Flaw::Truncated) {
            text.truncate(text.len() / 2);
        }
        Some(text.into())
    }
}
