//! What the decoder promises to those who send events and those who read columns.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

mod avro;
mod batches;
mod cloud_events;
mod fixture;
mod framed;
mod hostile;
mod oracle;
mod parts;
mod protobuf;
mod refusals;
mod schemas;
mod splitting;
mod types;
mod unknown_members;
