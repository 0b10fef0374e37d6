//! The roles as a cluster runs them, on a real Kafka and a real PostgreSQL.
mod away;
pub(crate) mod ground;
mod in_one_process;
mod made;
pub(crate) mod mounted;
mod web_analytics;
