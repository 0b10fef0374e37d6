//! Promises of the ingestion API, kept over real sockets.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

mod accept;
mod cloud_events;
mod connections;
mod cors;
mod keys;
mod limits;
mod operations;
mod outage;
mod refuse;
mod shutdown;
mod sources;
mod support;
