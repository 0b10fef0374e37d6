//! The administrator's side of Kafka and PostgreSQL: topics, tables, offsets and lag.
pub mod postgres;
