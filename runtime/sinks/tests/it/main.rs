//! What the sinks promise, seen from outside.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

mod crashes;
mod example;
mod fencing;
mod fixture;
mod postgres;
mod rows;
mod server;
mod tables;
mod types;
mod windows;
