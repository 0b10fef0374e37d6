//! The roles as a cluster runs them, on a real Kafka and a real PostgreSQL.
mod away;
mod ground;
mod in_one_process;
mod letters;
mod made;
mod web_analytics;
