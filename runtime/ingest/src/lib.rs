//! The HTTP ingestion API: JSON events in, acknowledged records in the log out.
//!
//! ```text
//!  connection ──▶ key, limits ──▶ body ──▶ split ──▶ check, ids, message key ──▶ Log::append ──▶ answer
//!   deadlines      401 415 429    408 413   400       refused: index, field,        503            202 207 400
//!                                 503                 reason
//! ```
//!
//! An answer in the 200s is sent only after the log has acknowledged every event that it calls accepted. Memory is bounded by
//! [`IngestSettings::max_in_flight_bytes`] whatever clients do: each request pays for what it holds as it grows.
//!
//! ```no_run
//! # async fn run(log: std::sync::Arc<dyn tidewheel_log::Log>, sources: Vec<tidewheel_ingest::Source>) -> Result<(), Box<dyn std::error::Error>> {
//! use tidewheel_ingest::{Ingest, IngestSettings, listen};
//!
//! let ingest = Ingest::new(IngestSettings::default(), log, &prometheus::Registry::new())?;
//! ingest.replace(sources)?;
//! let listener = listen(([127, 0, 0, 1], 8080).into())?;
//! let drained = ingest.serve(listener, async { /* a signal */ }).await;
//! assert_eq!(drained.cut_off, 0);
//! # Ok(())
//! # }
//! ```
//!
//! [`Checker`] is the part without HTTP: whoever feeds the log otherwise uses it to the same effect.
mod answer;
mod body;
mod check;
mod cloud_events;
mod events;
mod fill;
mod ingest;
mod keys;
mod listen;
mod log_probe;
mod memory;
mod metrics;
mod object;
mod operations;
mod rate;
mod refusal;
mod request_id;
mod serve;
mod settings;
mod source;
mod waiting;

pub use check::{Checked, Checker, GeneratedValue, RefusedEvent};
pub use ingest::{Ingest, IngestError};
pub use keys::{ApiKeyError, ApiKeys};
pub use listen::listen;
pub use log_probe::LogProbe;
pub use operations::{Check, Readiness, operations_router, serve_operations};
pub use serve::Drained;
pub use settings::{IngestSettings, MAX_REFUSED_LISTED, READ_BUFFER_BYTES};
pub use source::{Source, SourceError};
