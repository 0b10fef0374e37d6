//! Who is who in a cluster: an authority, what it signed for each part, and the files by which each finds the API server.
use std::{
    fs::Permissions,
    net::IpAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, SanType,
};

use crate::cluster::{
    error::{ClusterError, io_at},
    network::{API_SERVICE, NODE},
    run,
};

/// The node's name.
pub(crate) const NODE_NAME: &str = "tidewheel";
/// What the API server is called in pods.
const API_NAMES: [&str; 5] = [
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
    "localhost",
];

/// The cluster's authority, and where its files are.
pub(crate) struct Identities {
    authority: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
    /// Where the API server is, on the node and on the machine outside.
    url: String,
}

impl Identities {
    /// Makes an authority and the files of the API server.
    pub(crate) fn make(folder: PathBuf, api_port: u16) -> Result<Self, ClusterError> {
        let mut parameters = named("tidewheel-cluster", None)?;
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let identities = Self {
            authority: CertifiedIssuer::self_signed(parameters, KeyPair::generate()?)?,
            folder,
            url: format!("https://127.0.0.1:{api_port}"),
        };
        identities.keep("authority.crt", &identities.authority.pem())?;
        identities.keep_api_server()?;
        identities.keep_client("kubelet-client", "kube-apiserver", Some("system:masters"))?;
        let tokens = KeyPair::generate()?;
        identities.keep("tokens.key", &tokens.serialize_pem())?;
        identities.keep("tokens.pub", &tokens.public_key_pem())?;
        Ok(identities)
    }

    /// A file of the authority's folder.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Makes the kubeconfig of a user.
    pub(crate) fn kubeconfig(
        &self,
        user: &str,
        group: Option<&str>,
        path: &Path,
    ) -> Result<(), ClusterError> {
        let (certificate, key) = self.client(user, group)?;
        let text = format!(
            "apiVersion: v1
kind: Config
current-context: tidewheel
contexts: [{{name: tidewheel, context: {{cluster: tidewheel, user: tidewheel}}}}]
clusters:
  - name: tidewheel
    cluster: {{server: \"{}\", certificate-authority-data: {}}}
users:
  - name: tidewheel
    user: {{client-certificate-data: {}, client-key-data: {}}}
",
            self.url,
            STANDARD.encode(self.authority.pem()),
            STANDARD.encode(certificate),
            STANDARD.encode(key)
        );
        keep(path, &text)
    }

    fn keep_api_server(&self) -> Result<(), ClusterError> {
        let key = KeyPair::generate()?;
        let mut parameters = CertificateParams::new(API_NAMES.map(str::to_owned))?;
        parameters
            .distinguished_name
            .push(DnType::CommonName, "kube-apiserver");
        for address in [NODE, API_SERVICE, [127, 0, 0, 1].into()] {
            let name = SanType::IpAddress(IpAddr::V4(address));
            parameters.subject_alt_names.push(name);
        }
        let certificate = parameters.signed_by(&key, &self.authority)?;
        self.keep("api-server.crt", &certificate.pem())?;
        self.keep("api-server.key", &key.serialize_pem())
    }

    fn keep_client(&self, name: &str, user: &str, group: Option<&str>) -> Result<(), ClusterError> {
        let (certificate, key) = self.client(user, group)?;
        self.keep(&format!("{name}.crt"), &certificate)?;
        self.keep(&format!("{name}.key"), &key)
    }

    /// A user's certificate and key.
    fn client(&self, user: &str, group: Option<&str>) -> Result<(String, String), ClusterError> {
        let key = KeyPair::generate()?;
        let mut parameters = named(user, group)?;
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = parameters.signed_by(&key, &self.authority)?;
        Ok((certificate.pem(), key.serialize_pem()))
    }

    fn keep(&self, name: &str, text: &str) -> Result<(), ClusterError> {
        keep(&self.file(name), text)
    }
}

fn named(user: &str, group: Option<&str>) -> Result<CertificateParams, ClusterError> {
    let mut parameters = CertificateParams::new(Vec::new())?;
    parameters.distinguished_name.push(DnType::CommonName, user);
    if let Some(group) = group {
        parameters
            .distinguished_name
            .push(DnType::OrganizationName, group);
    }
    Ok(parameters)
}

/// For root's eyes only.
fn keep(path: &Path, text: &str) -> Result<(), ClusterError> {
    run::write(path, "")?;
    std::fs::set_permissions(path, Permissions::from_mode(0o600))
        .map_err(io_at("protecting", path))?;
    run::write(path, text)
}
