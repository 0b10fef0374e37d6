//! The roles as a cluster runs them, on a real Kafka and a real PostgreSQL.
mod away;
mod dry_run;
mod ground;
mod grown;
mod in_one_process;
mod made;
mod moved;
mod retained;
mod web_analytics;
