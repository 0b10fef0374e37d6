//! The planner from outside: YAML in, plans or problems out.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

mod aggregates;
mod arithmetic;
mod cases;
mod fingerprints;
mod generations;
mod hostile;
mod loading;
mod plans;
mod problems;
