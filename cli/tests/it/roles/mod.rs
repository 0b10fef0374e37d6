//! The roles as a cluster runs them, on a real Kafka and a real PostgreSQL.
mod away;
mod cloud_events;
mod dry_run;
mod existing_topic;
mod faults;
mod foreign;
pub(crate) mod ground;
mod grown;
mod in_one_process;
mod letters;
mod made;
pub(crate) mod mounted;
mod moved;
mod newer_groups;
mod permissions;
mod retained;
mod topics;
mod web_analytics;
