//! The servers that other tests rely on.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

mod charts;
mod cluster;
mod kafka;
mod operator;
mod postgres;
