//! Where a registry is, and what it wants to be shown.
use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::Uri;
use hyper::header::HeaderValue;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Keys of a Secret for a registry.
const USERNAME: &str = "username";
const PASSWORD: &str = "password";
const AUTHORITY: &str = "ca.crt";
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";

/// Where a registry is, and what it wants to be shown. Its `Debug` shows no secret.
#[derive(Clone)]
pub struct Access {
    url: String,
    username: Option<String>,
    password: Option<String>,
    authority: Option<Vec<u8>>,
    certificate: Option<(Vec<u8>, Vec<u8>)>,
}

/// A registry that cannot be asked as it is described.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// Not a URL.
    #[error(
        "`{0}` is no address of a schema registry: write http://HOST:PORT or https://HOST:PORT"
    )]
    Url(String),
    /// A value of the Secret cannot be used.
    #[error("the key `{key}` of its Secret {reason}")]
    Secret {
        /// The key.
        key: &'static str,
        /// What is wrong with its value.
        reason: String,
    },
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

impl Access {
    /// A registry that wants to be shown nothing.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            username: None,
            password: None,
            authority: None,
            certificate: None,
        }
    }

    /// With what a Secret holds: `username` and `password`, `ca.crt` (who has signed the registry's certificate; otherwise the public
    /// authorities), `tls.crt` and `tls.key` (a certificate to show).
    ///
    /// # Errors
    /// One of a pair is missing, or a text is none.
    pub fn with_secret(mut self, values: &BTreeMap<String, Vec<u8>>) -> Result<Self, AccessError> {
        let text = |key: &'static str| {
            let value = values.get(key).map(|value| {
                let text = std::str::from_utf8(value).map_err(|_| wrong(key, "is no text"));
                Ok(text?.trim_end_matches(['\r', '\n']).to_owned())
            });
            value.transpose()
        };
        (self.username, self.password) = (text(USERNAME)?, text(PASSWORD)?);
        self.authority = values.get(AUTHORITY).cloned();
        let pair = (values.get(CERTIFICATE), values.get(KEY));
        self.certificate = match pair {
            (Some(certificate), Some(key)) => Some((certificate.clone(), key.clone())),
            (None, None) => None,
            (Some(_), None) => return Err(wrong(KEY, "is missing: `tls.crt` is there")),
            (None, Some(_)) => return Err(wrong(CERTIFICATE, "is missing: `tls.key` is there")),
        };
        if self.password.is_some() && self.username.is_none() {
            return Err(wrong(USERNAME, "is missing: `password` is there"));
        }
        Ok(self)
    }

    /// The address, without a slash at its end.
    pub(crate) fn base(&self) -> Result<String, AccessError> {
        let wrong = || AccessError::Url(self.url.clone());
        let uri: Uri = self.url.parse().map_err(|_| wrong())?;
        let is_known = matches!(uri.scheme_str(), Some("http" | "https"));
        if !is_known || uri.host().is_none_or(str::is_empty) || uri.query().is_some() {
            return Err(wrong());
        }
        Ok(self.url.trim_end_matches('/').to_owned())
    }

    /// What the header `authorization` says.
    pub(crate) fn authorization(&self) -> Result<Option<HeaderValue>, AccessError> {
        let Some(username) = &self.username else {
            return Ok(None);
        };
        let password = self.password.as_deref().unwrap_or_default();
        let pair = STANDARD.encode(format!("{username}:{password}"));
        let value = HeaderValue::from_str(&format!("Basic {pair}"));
        let mut value = value.map_err(|error| wrong(USERNAME, error.to_string()))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    /// Whom to believe, and what to show.
    pub(crate) fn tls(&self) -> Result<ClientConfig, AccessError> {
        let mut roots = RootCertStore::empty();
        match &self.authority {
            None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
            Some(pem) => {
                for certificate in certificates(pem, AUTHORITY)? {
                    let added = roots.add(certificate);
                    added.map_err(|error| wrong(AUTHORITY, error.to_string()))?;
                }
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong(AUTHORITY, error.to_string()))?
            .with_root_certificates(roots);
        match &self.certificate {
            None => Ok(config.with_no_client_auth()),
            Some((certificate, key)) => {
                let key = PrivateKeyDer::from_pem_slice(key)
                    .map_err(|error| wrong(KEY, error.to_string()))?;
                config
                    .with_client_auth_cert(certificates(certificate, CERTIFICATE)?, key)
                    .map_err(|error| wrong(CERTIFICATE, error.to_string()))
            }
        }
    }
}

fn certificates(
    pem: &[u8],
    key: &'static str,
) -> Result<Vec<CertificateDer<'static>>, AccessError> {
    let read = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let read = read.map_err(|error| wrong(key, error.to_string()))?;
    if read.is_empty() {
        return Err(wrong(key, "holds no certificate in PEM"));
    }
    Ok(read)
}

fn wrong(key: &'static str, reason: impl Into<String>) -> AccessError {
    AccessError::Secret {
        key,
        reason: reason.into(),
    }
}
