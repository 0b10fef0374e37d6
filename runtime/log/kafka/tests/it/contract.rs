//! The contract that all logs keep.
tidewheel_log_contract::promises!(crate::setup::shared());
