//! Steps: from their specs to programs.
pub(crate) mod aggregate;
pub(crate) mod call;
pub(crate) mod compile;
pub(crate) mod deduplicate;
pub(crate) mod rows;
