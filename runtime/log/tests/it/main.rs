//! What the embedded log promises, in memory and in a folder.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

mod groups;
mod reading;
mod setup;
mod transactions;
