//! API keys: kept as digests, compared in constant time.
use std::fmt;

use axum::http::{HeaderMap, header};
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};

type Digest = [u8; 32];

/// The API keys that open a source.
///
/// Only their SHA-256 digests are kept.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct ApiKeys {
    digests: Vec<Digest>,
}

/// A key that cannot be used. Never shows the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiKeyError {
    /// Nothing but white space.
    #[error("an API key is empty: remove it, or give it a value")]
    Empty,
    /// `sha256:` must be followed by the digest.
    #[error(
        "an API key begins with `sha256:` but is not followed by the 64 hex digits of the digest (`printf %s KEY | sha256sum`)"
    )]
    Digest,
    /// HTTP headers could never carry it.
    #[error(
        "an API key holds characters that an HTTP header cannot carry: use visible ASCII characters"
    )]
    Characters,
}

impl ApiKeys {
    /// Keys from their configuration: each is the key itself or `sha256:` and the hex digest of it.
    /// White space around a key is dropped, since files tend to end in a newline.
    ///
    /// # Errors
    /// The first key that cannot be used.
    pub fn parse<K: AsRef<str>>(keys: impl IntoIterator<Item = K>) -> Result<Self, ApiKeyError> {
        let mut digests = keys
            .into_iter()
            .map(|key| digest_of(key.as_ref().trim()))
            .collect::<Result<Vec<_>, _>>()?;
        digests.sort_unstable();
        digests.dedup();
        Ok(Self { digests })
    }

    pub(crate) fn digests(&self) -> &[Digest] {
        &self.digests
    }

    /// Which of the keys was presented. Takes as long for a wrong key as for any of the right ones.
    pub(crate) fn find(&self, presented: &Presented) -> Option<usize> {
        let (mut found, mut index) = (Choice::from(0), 0u64);
        for (candidate, digest) in (0u64..).zip(&self.digests) {
            let equal = digest.ct_eq(&presented.0);
            index.conditional_assign(&candidate, equal);
            found |= equal;
        }
        bool::from(found).then_some(index as usize)
    }
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKeys({})", self.digests.len())
    }
}

fn digest_of(key: &str) -> Result<Digest, ApiKeyError> {
    if key.is_empty() {
        return Err(ApiKeyError::Empty);
    }
    if let Some(hex) = key.strip_prefix("sha256:") {
        return parse_hex(hex).ok_or(ApiKeyError::Digest);
    }
    if !key
        .bytes()
        .all(|byte| byte.is_ascii_graphic() || byte == b' ')
    {
        return Err(ApiKeyError::Characters);
    }
    Ok(Sha256::digest(key).into())
}

fn parse_hex(hex: &str) -> Option<Digest> {
    let mut digest = Digest::default();
    if hex.len() != 2 * digest.len() || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, at) in digest.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(&hex[at..at + 2], 16).ok()?;
    }
    Some(digest)
}

/// The digest of the key that a request presented.
pub(crate) struct Presented(Digest);

impl Presented {
    /// `X-API-Key`, or else `Authorization: Bearer`.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let key = match headers.get("x-api-key") {
            Some(value) => value.as_bytes(),
            None => bearer(headers.get(header::AUTHORIZATION)?.as_bytes())?,
        };
        Some(Self(Sha256::digest(key.trim_ascii()).into()))
    }
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(b"Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn presented(name: &'static str, value: &str) -> Option<Presented> {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        Presented::from_headers(&headers)
    }

    #[test]
    fn plain_and_hashed_keys_open_and_others_do_not() {
        let hashed = "sha256:2BB80D537B1DA3E38BD30361AA855686BDE0EACD7162FEF6A25FE97BF527A25B"; // "secret"
        let keys = ApiKeys::parse(["plain\n", hashed]).unwrap();
        for key in ["plain", "secret"] {
            assert!(keys.find(&presented("x-api-key", key).unwrap()).is_some());
            assert!(
                keys.find(&presented("authorization", &format!("bearer {key}")).unwrap())
                    .is_some()
            );
        }
        for key in ["", "plai", "plain2", hashed] {
            assert!(keys.find(&presented("x-api-key", key).unwrap()).is_none());
        }
        assert!(presented("authorization", "Basic plain").is_none());
        assert!(
            ApiKeys::default()
                .find(&presented("x-api-key", "plain").unwrap())
                .is_none()
        );
    }

    #[test]
    fn different_keys_are_told_apart() {
        let keys = ApiKeys::parse(["a", "b", "c", "a"]).unwrap();
        let found: std::collections::BTreeSet<_> = ["a", "b", "c"]
            .map(|key| keys.find(&presented("x-api-key", key).unwrap()).unwrap())
            .into();
        assert_eq!(found.len(), 3);
        assert_eq!(keys.digests().len(), 3);
    }

    #[test]
    fn keys_that_cannot_work_are_refused_without_being_shown() {
        assert_eq!(ApiKeys::parse([" \n"]).unwrap_err(), ApiKeyError::Empty);
        assert_eq!(
            ApiKeys::parse(["sha256:abcd"]).unwrap_err(),
            ApiKeyError::Digest
        );
        assert_eq!(
            ApiKeys::parse(["sha256:+f".to_owned() + &"0".repeat(62)]).unwrap_err(),
            ApiKeyError::Digest
        );
        assert_eq!(
            ApiKeys::parse(["schlüssel"]).unwrap_err(),
            ApiKeyError::Characters
        );
        assert_eq!(
            format!("{:?}", ApiKeys::parse(["secret"]).unwrap()),
            "ApiKeys(1)"
        );
    }
}
