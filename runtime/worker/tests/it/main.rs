//! Promises of the worker, held against embedded tables, the embedded log and Kafka.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

mod around;
mod beside;
mod chains;
mod end_to_end;
mod fixture;
mod generations;
mod markers;
mod on_kafka;
mod refusals;
mod replay;
mod schemas;
mod simulation;
mod starts;
