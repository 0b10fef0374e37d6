//! What Prometheus sees, beside what ingestion counts itself. `docs/metrics.md` lists every metric; a test compares.
mod family;
mod kafka;
mod process;
mod worker;

pub(crate) use family::Declared;
pub(crate) use kafka::KafkaMetrics;
pub(crate) use process::ProcessMetrics;
pub(crate) use worker::WorkerMetrics;
