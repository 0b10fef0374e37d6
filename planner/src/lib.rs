//! Specs to a typed plan, or errors that name the line and the fix.
pub mod plan;
