//! What becomes of data when the resource is deleted that it belongs to.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What becomes of data when the resource is deleted that it belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// It stays. A resource of the same name that is made again goes on with it.
    #[default]
    Retain,
    /// It is deleted too.
    Delete,
}

impl DeletionPolicy {
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
