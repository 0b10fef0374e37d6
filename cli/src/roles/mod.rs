//! The roles that a cluster runs. Each reads resolved specs and the environment, serves its probes and metrics, and ends cleanly when told to.
mod generate;
mod ingest;
mod kafka;
mod operations;
mod secrets;
mod specs;
mod worker;
