//! The roles as a cluster runs them, on a real Kafka and a real PostgreSQL.
mod away;
mod ground;
mod made;
mod web_analytics;
