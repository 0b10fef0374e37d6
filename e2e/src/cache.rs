//! Where everything is kept that is fetched or built once.
use std::path::PathBuf;

use crate::server::ServerError;

/// The folder of this user, as `make` and the scripts choose it.
///
/// # Errors
/// [`ServerError::NotInstalled`] where no variable says where it could be.
pub fn folder() -> Result<PathBuf, ServerError> {
    let variable = |name| {
        let value = std::env::var_os(name).filter(|value| !value.is_empty());
        value.map(PathBuf::from)
    };
    variable("TIDEWHEEL_CACHE")
        .or_else(|| Some(variable("XDG_CACHE_HOME")?.join("tidewheel")))
        .or_else(|| Some(variable("HOME")?.join(".cache/tidewheel")))
        .ok_or_else(|| ServerError::NotInstalled {
            what: "none of TIDEWHEEL_CACHE, XDG_CACHE_HOME and HOME is set".to_owned(),
        })
}

/// A file or folder of what `scripts/servers.sh` has put into the folder `what`, all of it.
pub(crate) fn installed(what: &str, file: &str) -> Result<PathBuf, ServerError> {
    let folder = folder()?.join(what);
    let path = folder.join(file);
    if folder.join("complete").is_file() && path.exists() {
        return Ok(path);
    }
    Err(ServerError::NotInstalled {
        what: format!("there is no {}", path.display()),
    })
}
