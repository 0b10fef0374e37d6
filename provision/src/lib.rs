//! The administrator's side of Kafka and PostgreSQL: topics and tables, as plans need them.
//!
//! ```text
//!  planner::topics ──▶ settings: what is declared of each ──┐
//!                                                           ├─▶ Topics::ensure: made, grown, brought in line, or left alone
//!  the cluster: partitions, replicas, configuration ────────┘
//!
//!  outputs of a plan ──▶ postgres::tables_of ──▶ postgres::provision: made, adopted, extended, or refused by name
//! ```
pub mod kafka;
pub mod postgres;
