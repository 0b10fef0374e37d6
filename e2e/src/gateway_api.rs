//! The kinds of the Gateway API, as clusters have them that let people in by a Gateway.
use std::path::PathBuf;

use crate::{cache, server::ServerError};

/// What `scripts/servers.sh` puts into the cache.
const GATEWAY_API: &str = "gateway-api-v1.7.0";

/// The folder with the kinds.
///
/// # Errors
/// [`ServerError::NotInstalled`] where they are not there.
pub fn kinds() -> Result<PathBuf, ServerError> {
    cache::installed(GATEWAY_API, "kinds")
}
