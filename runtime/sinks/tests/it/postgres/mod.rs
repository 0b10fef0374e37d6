//! What PostgreSQL alone can do to a sink.
mod concurrency;
mod lost_answers;
mod outages;
mod partitions;
mod pooler;
mod proxy;
mod refusals;
mod replaced;
mod table_changes;
mod tls;
