//! The administrator's side of Kafka: topics, as plans need them.
//!
//! ```text
//!  planner::topics ──▶ settings: what is declared of each ──┐
//!                                                           ├─▶ Topics::ensure: made, grown, brought in line, or left alone
//!  the cluster: partitions, replicas, configuration ────────┘
//! ```
pub mod kafka;
