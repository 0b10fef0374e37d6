//! The roles as a cluster runs them, on a real Kafka and a real PostgreSQL.
mod away;
mod faults;
mod ground;
mod in_one_process;
mod made;
mod web_analytics;
