//! The binary as its users run it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]
mod check;
mod dead_letters;
mod earlier;
mod example;
mod existing_topic;
mod help;
mod hostile;
mod http;
mod json_columns;
mod kept;
mod killed;
mod metrics;
mod orders;
mod program;
mod replan;
mod roles;
mod several;
mod soak;
mod topics;
mod windows;
