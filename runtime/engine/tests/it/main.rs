//! What the engine promises, driven from outside: records in, effects out.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

mod acknowledged;
mod added_partitions;
mod aggregates;
mod avro;
mod catching_up;
mod cloud_events;
mod existing_topic;
mod fixture;
mod formats;
mod hopping;
mod idleness;
mod isolation;
mod lateness;
mod over_windows;
mod protobuf;
mod recovery;
mod refusals;
mod sent_again;
mod sessions;
mod ties;
mod topic_outputs;
