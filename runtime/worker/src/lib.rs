//! Runs a plan's tasks over a log and sinks.
