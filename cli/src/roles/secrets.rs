//! Secrets: `DIR/<secret>/<key>`, as Kubernetes mounts them, and `kind: Secret` documents among the files.
//!
//! A mounted file is read each time its value is asked for, so that a password which was changed holds for the next connection.
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidewheel_planner::resource::{ResourceSet, SecretData};

/// Largest value that is read, bytes: what a Secret of Kubernetes can hold.
const MAX_VALUE_BYTES: u64 = 1 << 20;

/// Where the values of Secrets come from. Clones share everything.
#[derive(Debug, Clone, Default)]
pub(crate) struct Secrets {
    folder: Option<PathBuf>,
    documents: Arc<BTreeMap<(String, String), SecretData>>,
}

/// A Secret that cannot be used. Never shows a value.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretError {
    #[error("there is no Secret `{name}` of the namespace `{namespace}`: {hint}")]
    NoSecret {
        namespace: String,
        name: String,
        hint: String,
    },
    #[error(
        "the Secret `{name}` of the namespace `{namespace}` has no key `{key}`: add it, or name another in `secretRef`"
    )]
    NoKey {
        namespace: String,
        name: String,
        key: String,
    },
    #[error("{path} cannot be read: {error}", path = path.display())]
    Unreadable { path: PathBuf, error: io::Error },
    #[error("{path} is larger than {MAX_VALUE_BYTES} bytes: it is no value of a Secret", path = path.display())]
    TooLarge { path: PathBuf },
    #[error("the key `{key}` of the Secret `{name}` is not text")]
    NotText { name: String, key: String },
}

impl Secrets {
    /// The Secrets of `folder`, which win, and those of `set`.
    pub(crate) fn new(folder: Option<PathBuf>, set: &ResourceSet) -> Self {
        let document = |secret: &tidewheel_planner::resource::Resource<SecretData>| {
            let place = (secret.id.namespace.clone(), secret.id.name.clone());
            (place, secret.spec.clone())
        };
        Self {
            folder,
            documents: Arc::new(set.secrets.iter().map(document).collect()),
        }
    }

    /// All values of a Secret.
    pub(crate) fn all(&self, namespace: &str, name: &str) -> Result<SecretData, SecretError> {
        if let Some(values) = self.mounted(name)? {
            return Ok(SecretData { values });
        }
        let place = (namespace.to_owned(), name.to_owned());
        self.documents.get(&place).cloned().ok_or_else(|| {
            let hint = match &self.folder {
                Some(folder) => format!(
                    "mount it at {}, or add a document with `kind: Secret`",
                    folder.join(name).display()
                ),
                None => "name a folder of mounted Secrets with --secrets, or add a document with `kind: Secret`".to_owned(),
            };
            SecretError::NoSecret {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                hint,
            }
        })
    }

    /// One value of a Secret, as text without white space at its ends: files tend to end in a newline.
    pub(crate) fn text(
        &self,
        namespace: &str,
        name: &str,
        key: &str,
    ) -> Result<String, SecretError> {
        let values = self.all(namespace, name)?.values;
        let value = values.get(key).ok_or_else(|| SecretError::NoKey {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            key: key.to_owned(),
        })?;
        match std::str::from_utf8(value) {
            Ok(text) => Ok(text.trim().to_owned()),
            Err(_) => Err(SecretError::NotText {
                name: name.to_owned(),
                key: key.to_owned(),
            }),
        }
    }

    fn mounted(&self, name: &str) -> Result<Option<BTreeMap<String, Vec<u8>>>, SecretError> {
        let Some(folder) = &self.folder else {
            return Ok(None);
        };
        let secret = folder.join(name);
        if secret.is_dir() {
            values_of_folder(&secret).map(Some)
        } else {
            Ok(None)
        }
    }
}

/// The files of a mounted Secret with what they hold. Names with a leading dot are Kubernetes' own: it swaps them when the Secret changes.
pub(crate) fn values_of_folder(folder: &Path) -> Result<BTreeMap<String, Vec<u8>>, SecretError> {
    let unreadable = |path: &Path, error| SecretError::Unreadable {
        path: path.to_owned(),
        error,
    };
    let mut values = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(|error| unreadable(folder, error))? {
        let path = entry.map_err(|error| unreadable(folder, error))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let metadata = fs::metadata(&path).map_err(|error| unreadable(&path, error))?;
        if name.starts_with('.') || !metadata.is_file() {
            continue;
        }
        if metadata.len() > MAX_VALUE_BYTES {
            return Err(SecretError::TooLarge { path });
        }
        let value = fs::read(&path).map_err(|error| unreadable(&path, error))?;
        values.insert(name.into_owned(), value);
    }
    Ok(values)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const DOCUMENT: &str = "apiVersion: v1\nkind: Secret\nmetadata: {name: warehouse, namespace: web}\nstringData: {url: 'postgres://from-the-document'}\n";

    fn set() -> ResourceSet {
        tidewheel_planner::load::load_texts([("secret.yaml", DOCUMENT)]).set
    }

    #[test]
    fn a_mounted_value_wins_and_is_read_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let secrets = Secrets::new(Some(folder.path().to_owned()), &set());
        let url = || secrets.text("web", "warehouse", "url").unwrap();
        assert_eq!(url(), "postgres://from-the-document");

        let mounted = folder.path().join("warehouse");
        fs::create_dir_all(mounted.join("..2026_01_01")).unwrap();
        fs::write(mounted.join("url"), "postgres://mounted\n").unwrap();
        assert_eq!(url(), "postgres://mounted");
        fs::write(mounted.join("url"), "postgres://rotated").unwrap();
        assert_eq!(url(), "postgres://rotated");
    }

    #[test]
    fn what_is_missing_is_named_with_a_way_out() {
        let secrets = Secrets::new(None, &set());
        let error = secrets.text("web", "other", "url").unwrap_err().to_string();
        assert!(
            error.contains("`other`") && error.contains("--secrets"),
            "{error}"
        );
        let error = secrets
            .text("web", "warehouse", "dsn")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("no key `dsn`") && !error.contains("postgres"),
            "{error}"
        );
    }
}
