//! What the log on Kafka promises, against a real broker.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

mod compaction;
mod contract;
mod cost;
mod groups;
mod outage;
mod secure;
mod setup;
mod takeover;
mod task;
