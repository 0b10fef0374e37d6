//! Certificates: an authority, what it signed for the server, and an authority that has nothing to do with it.
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::server::{ServerError, io};

/// What clients need to reach the server by TLS. Its certificate is for `localhost` alone, not for `127.0.0.1`.
#[derive(Debug, Clone)]
pub struct Tls {
    /// PEM file of the authority that signed the server's certificate; for `sslrootcert`.
    pub authority: PathBuf,
    /// PEM file of an authority that signed nothing.
    pub other_authority: PathBuf,
}

/// Where the server finds its certificate.
pub(crate) fn certificate(folder: &Path) -> PathBuf {
    folder.join("server.crt")
}

/// Where the server finds its key.
pub(crate) fn key(folder: &Path) -> PathBuf {
    folder.join("server.key")
}

/// Makes all of them.
pub(crate) fn make(folder: &Path) -> Result<Tls, ServerError> {
    let authority = authority()?;
    let server = KeyPair::generate()?;
    let signed =
        CertificateParams::new(vec!["localhost".to_owned()])?.signed_by(&server, &authority)?;
    let tls = Tls {
        authority: folder.join("authority.crt"),
        other_authority: folder.join("other-authority.crt"),
    };
    let other = self::authority()?;
    for (path, text) in [
        (certificate(folder), signed.pem()),
        (key(folder), server.serialize_pem()),
        (tls.authority.clone(), authority.pem()),
        (tls.other_authority.clone(), other.pem()),
    ] {
        std::fs::write(path, text).map_err(io("keeping a certificate"))?;
    }
    restrict(&key(folder))?;
    Ok(tls)
}

fn authority() -> Result<CertifiedIssuer<'static, KeyPair>, rcgen::Error> {
    let mut parameters = CertificateParams::new(Vec::new())?;
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(parameters, KeyPair::generate()?)
}

/// PostgreSQL refuses a key that others can read.
fn restrict(key: &Path) -> Result<(), ServerError> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(key, std::fs::Permissions::from_mode(0o600))
        .map_err(io("protecting the server's key"))
}
