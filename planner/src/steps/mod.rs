//! Steps: from their specs to programs.
pub(crate) mod aggregate;
pub(crate) mod call;
pub(crate) mod compile;
pub(crate) mod cut;
pub(crate) mod deduplicate;
pub(crate) mod merge;
pub(crate) mod over_windows;
pub(crate) mod read;
pub(crate) mod rows;
