//! What `tidewheel dev` shows while it runs: a live view on a terminal, status lines elsewhere.
//!
//! ```text
//!  collect ──▶ Snapshot ──▶ Model ──┬─▶ screen (a terminal)
//!  worker, ingest,  plain    rates  └─▶ lines (anything else)
//!  tables           data
//! ```
//!
//! Whoever runs the pipelines collects a [`Snapshot`] a few times a second and sends it to [`run()`].
pub(crate) mod collect;
mod lines;
mod model;
mod run;
pub(crate) mod sample;
mod screen;
mod snapshot;
#[cfg(test)]
mod tests;
pub(crate) mod text;

pub(crate) use run::{draws, run};
pub(crate) use snapshot::{Database, HttpSource, Snapshot, SourceCounts};
