//! Promises of the worker, held against the embedded log and embedded tables.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

mod end_to_end;
mod fixture;
mod generations;
mod refusals;
mod simulation;
mod starts;
