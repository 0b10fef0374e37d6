//! The roles as a cluster runs them, on a real Kafka and a real PostgreSQL.
mod away;
mod existing_topic;
mod foreign;
mod ground;
mod in_one_process;
mod letters;
mod made;
mod newer_groups;
mod topics;
mod web_analytics;
