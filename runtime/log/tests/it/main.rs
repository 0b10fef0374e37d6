//! What the embedded log promises, in memory and in a folder.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

mod compaction;
mod contract;
mod disk_full;
mod folder;
mod format;
mod groups;
mod killed;
mod model;
mod reading;
mod recovery;
mod setup;
mod transactions;
