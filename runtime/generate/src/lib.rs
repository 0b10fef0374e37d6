//! Made-up events at a declared rate, the same ones for the same seed.
//!
//! ```text
//!  EventSource.generator ──▶ Generator ──▶ Checker ──▶ Producer::commit ──▶ topic of the source
//!                            seed, index    schema,     events and position ──▶ topic of positions
//!                               ▲           key         in one transaction
//!                  Pacer: which events are due
//! ```
//!
//! Event number `n` depends on the seed, on `n` and on the time it is made for, and on nothing else: not on the machine, nor on the
//! rate, nor on where making began. So [`Generator::seek`] goes on anywhere at no cost, and [`Runner`], which commits its position
//! together with the events, neither loses nor repeats one when it is killed.
//!
//! The declaration that the events were made by stands beside the position. Under another one the numbers go on, so that no id comes
//! twice, and the declared count begins anew.
//!
//! ```
//! use serde_json::json;
//! use tidewheel_crds::{EventSourceSpec, Kind, admitted};
//! use tidewheel_generate::Generator;
//!
//! let spec: EventSourceSpec = serde_json::from_value(admitted(Kind::EventSource, &json!({
//!     "schema": {"fields": [
//!         {"name": "ts", "type": "timestamp", "required": true},
//!         {"name": "user_id", "type": "text", "path": "user.id"},
//!     ]},
//!     "eventTime": {"field": "ts"},
//!     "generator": {"eventsPerSecond": 100, "count": 2, "seed": 7, "fields": [
//!         {"field": "ts", "time": {}},
//!         {"field": "user_id", "constant": {"value": "u1"}},
//!     ]},
//! })))?;
//! let mut generator = Generator::new(&spec)?;
//! let event = generator.next(1_767_225_600_000);
//! assert_eq!(event.as_deref(), Some(&br#"{"ts":"2026-01-01T00:00:00.000Z","user":{"id":"u1"}}"#[..]));
//! assert!(generator.next(1_767_225_600_010).is_some());
//! assert!(generator.next(1_767_225_600_020).is_none(), "two were asked for");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
mod declaration;
mod error;
mod event;
mod generator;
mod pace;
mod position;
mod runner;
mod value;

pub use error::{GeneratorError, RunnerError};
pub use generator::Generator;
pub use pace::Pacer;
pub use runner::{Ended, Runner, Step};
