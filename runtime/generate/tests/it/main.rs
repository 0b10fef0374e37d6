//! Generated events as whoever reads the log meets them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]
mod distributions;
mod events;
mod formats;
mod pace;
mod runner;
mod setup;
