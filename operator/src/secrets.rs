//! What is read of Secrets. Pure; no value is ever shown.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use sha2::{Digest as _, Sha256};

use crate::children::KafkaAccess;
use crate::documents::{hash, hex};

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

/// What is used of Secrets, by their names: some of their keys, or all where there is none.
pub(crate) type Used = BTreeMap<String, BTreeSet<String>>;

/// A digest of what is `used` of those Secrets that are there, so that pods can be told that it has changed.
///
/// Pods are read by many who may not read Secrets, and passwords can be guessed: so each Secret's `uid` is in it, which is chance and is read
/// with the Secret alone. It stays for as long as the Secret does, so no pod rolls because the operator was started again.
fn digest(used: &Used, find: impl Fn(&str) -> Option<Arc<Secret>>) -> String {
    let mut digest = Sha256::new();
    // With its length before each, so that no two sets of values give the same bytes.
    let mut add = |bytes: &[u8]| {
        digest.update((bytes.len() as u64).to_be_bytes());
        digest.update(bytes);
    };
    for (name, keys) in used {
        let Some(secret) = find(name) else {
            continue;
        };
        add(secret
            .metadata
            .uid
            .as_deref()
            .unwrap_or_default()
            .as_bytes());
        add(name.as_bytes());
        let data = secret.data.iter().flatten();
        let data = data.filter(|(key, _)| keys.is_empty() || keys.contains(*key));
        add(&(data.clone().count() as u64).to_be_bytes());
        for (key, ByteString(value)) in data {
            add(key.as_bytes());
            add(value);
        }
    }
    hex(&digest.finalize())
}

/// A digest of how pods reach what they use: these Secrets, and Kafka.
pub(crate) fn ways(
    used: &Used,
    find: impl Fn(&str) -> Option<Arc<Secret>>,
    kafka: &KafkaAccess,
) -> String {
    hash(format!("{} {kafka:?}", digest(used, find)).as_bytes())
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

    /// The digest of what is used of some Secrets.
    fn of(used: &[(&str, &[&str])], secrets: &[&Secret]) -> String {
        let keys = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect();
        let used = used.iter();
        let used: Used = used
            .map(|(name, used)| ((*name).to_owned(), keys(used)))
            .collect();
        let find = |name: &str| {
            let mut secrets = secrets.iter();
            let found = secrets.find(|secret| secret.metadata.name.as_deref() == Some(name));
            found.map(|found| Arc::new((*found).clone()))
        };
        digest(&used, find)
    }

    #[test]
    fn the_digest_changes_with_every_value_that_is_used_and_with_no_other() {
        let (a, b) = (
            secret("a", &[("k", "v"), ("l", "w")]),
            secret("b", &[("k", "w")]),
        );
        let one = of(&[("a", &["k"])], &[&a, &b]);
        assert_eq!(of(&[("a", &["k"])], &[&a]), one);
        let unrelated = secret("a", &[("k", "v"), ("l", "another"), ("m", "more")]);
        assert_eq!(of(&[("a", &["k"])], &[&unrelated]), one);
        let all = of(&[("a", &[]), ("b", &[])], &[&a, &b]);
        let others = [
            of(&[("a", &["k"])], &[&secret("a", &[("k", "v2")])]),
            of(&[("a", &["k"])], &[&secret("a", &[("l", "w")])]),
            of(&[("a", &["k"])], &[]),
            of(&[("a", &[])], &[&a]),
            of(&[("a", &[]), ("b", &[])], &[&unrelated, &b]),
            of(&[("a", &[])], &[&secret("a", &[("kv", "")])]),
        ];
        for (index, other) in others.iter().enumerate() {
            assert!(![&one, &all].contains(&other), "{index}");
            assert!(!others[..index].contains(other), "{index}");
        }
    }

    #[test]
    fn who_guesses_a_value_cannot_tell_that_it_is_right() {
        let plain = secret("a", &[("k", "hunter2")]);
        let mut kept = plain.clone();
        kept.metadata.uid = Some("5e2f3c1a-0000-4000-8000-000000000000".to_owned());
        let used = [("a", &["k"][..])];
        assert_ne!(of(&used, &[&plain]), of(&used, &[&kept]));
        // Whoever asks again is told the same.
        assert_eq!(of(&used, &[&kept]), of(&used, &[&kept.clone()]));
    }
}
