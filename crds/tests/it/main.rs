//! Promises of the API, driven from outside.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

mod chart;
mod definitions;
mod durations;
mod reference;
mod remainders;
mod round_trip;
mod verdicts;
