//! What is read of Secrets. Pure; no value is ever shown.
use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use sha2::{Digest as _, Sha256};

use crate::documents::hex;

/// A value of a Secret that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SecretError {
    #[error("there is no Secret `{name}` in the namespace: make it, and this goes on by itself")]
    NoSecret { name: String },
    #[error("the Secret `{name}` has no key `{key}`: add it, or name another one")]
    NoKey { name: String, key: String },
    #[error("the key `{key}` of the Secret `{name}` is not text")]
    NotText { name: String, key: String },
}

/// One value, as text without white space at its ends: files tend to end in a newline.
pub(crate) fn text(secret: Option<&Secret>, name: &str, key: &str) -> Result<String, SecretError> {
    let (name, key) = (name.to_owned(), key.to_owned());
    let Some(secret) = secret else {
        return Err(SecretError::NoSecret { name });
    };
    match secret.data.as_ref().and_then(|data| data.get(&key)) {
        None => Err(SecretError::NoKey { name, key }),
        Some(ByteString(value)) => match std::str::from_utf8(value) {
            Ok(text) => Ok(text.trim().to_owned()),
            Err(_) => Err(SecretError::NotText { name, key }),
        },
    }
}

/// All values, as properties of librdkafka have them: a PEM keeps its lines, a trailing newline is the editor's.
pub(crate) fn properties(secret: &Secret) -> Result<BTreeMap<String, String>, SecretError> {
    let values = secret
        .data
        .iter()
        .flatten()
        .map(|(key, ByteString(value))| {
            let text = std::str::from_utf8(value).map_err(|_| SecretError::NotText {
                name: secret.metadata.name.clone().unwrap_or_default(),
                key: key.clone(),
            })?;
            Ok((key.clone(), text.trim_end_matches(['\r', '\n']).to_owned()))
        });
    values.collect()
}

/// A digest of what Secrets hold, so that pods can be told that it has changed. It does not depend on the order in which they are given.
pub(crate) fn digest<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> String {
    let named = secrets
        .into_iter()
        .map(|secret| (secret.metadata.name.as_deref().unwrap_or_default(), secret));
    let named: BTreeMap<&str, &Secret> = named.collect();
    let mut digest = Sha256::new();
    // With its length before each, so that no two sets of values give the same bytes.
    let mut add = |bytes: &[u8]| {
        digest.update((bytes.len() as u64).to_be_bytes());
        digest.update(bytes);
    };
    for (name, secret) in named {
        add(name.as_bytes());
        let data = secret.data.iter().flatten();
        add(&(data.clone().count() as u64).to_be_bytes());
        for (key, ByteString(value)) in data {
            add(key.as_bytes());
            add(value);
        }
    }
    hex(&digest.finalize())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use serde_json::json;

    fn secret(name: &str, data: &[(&str, &str)]) -> Secret {
        let data = data
            .iter()
            .map(|(key, value)| ((*key).to_owned(), ByteString(value.as_bytes().to_vec())));
        Secret {
            data: Some(data.collect()),
            ..serde_json::from_value(json!({"metadata": {"name": name}})).unwrap()
        }
    }

    #[test]
    fn what_is_missing_is_named_and_no_value_is_shown() {
        let found = secret("warehouse", &[("dsn", "hunter2")]);
        let missing = text(Some(&found), "warehouse", "url")
            .unwrap_err()
            .to_string();
        assert!(
            missing.contains("no key `url`") && !missing.contains("hunter2"),
            "{missing}"
        );
        let missing = text(None, "warehouse", "url").unwrap_err().to_string();
        assert!(missing.contains("no Secret `warehouse`"), "{missing}");
        assert_eq!(
            text(Some(&secret("a", &[("url", "x\n")])), "a", "url").unwrap(),
            "x"
        );
    }

    #[test]
    fn the_digest_changes_with_every_value_and_not_with_the_order() {
        let (a, b) = (secret("a", &[("k", "v")]), secret("b", &[("k", "w")]));
        assert_eq!(digest([&a, &b]), digest([&b, &a]));
        let others = [
            secret("a", &[("k", "v2")]),
            secret("a", &[("kv", "")]),
            secret("a", &[("k", "v"), ("l", "")]),
            secret("ak", &[("", "v")]),
        ];
        for other in others {
            assert_ne!(
                digest([&other, &b]),
                digest([&a, &b]),
                "{:?}",
                other.metadata.name
            );
        }
    }
}
