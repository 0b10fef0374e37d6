//! What accounts of the cluster have asked of the API server: it keeps a log of all requests of those that are not its own.
use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::cluster::{
    error::{ClusterError, io_at},
    place::Place,
    run::write,
};

/// Which requests are kept: those of pods and people who are not the administrator, without what was sent.
const POLICY: &str = "apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - {level: None, userGroups: [\"system:serviceaccounts:kube-system\"]}
  - {level: Metadata, userGroups: [\"system:serviceaccounts\"]}
  - {level: None}
";

/// A request that an account has made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete` ...
    pub verb: String,
    /// The group of the resource; empty for the core's, and where it was for no resource.
    pub group: String,
    /// The resource, with its subresource as in RBAC: `pods/status`; the path where it was for no resource.
    pub resource: String,
    /// The namespace; empty where it was for all of them, or for what has none.
    pub namespace: String,
    /// The name; empty where it was for all of them.
    pub name: String,
    /// The answer's HTTP status.
    pub status: u16,
}

impl Request {
    /// Whether it asks for a change, be it made or not.
    #[must_use]
    pub fn is_write(&self) -> bool {
        !["get", "list", "watch"].contains(&self.verb.as_str())
    }
}

/// A line of the log.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    #[serde(rename = "auditID")]
    id: String,
    verb: String,
    #[serde(rename = "requestURI")]
    path: String,
    user: User,
    object_ref: Option<Object>,
    response_status: Option<Status>,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Object {
    api_group: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Deserialize)]
struct Status {
    code: u16,
}

/// The API server's options for the log, whose files are in its folder.
pub(crate) fn options(folder: &Path) -> Result<[String; 2], ClusterError> {
    let policy = folder.join("audit-policy.yaml");
    write(&policy, POLICY)?;
    Ok([
        format!("--audit-policy-file={}", policy.display()),
        format!("--audit-log-path={}", log(folder).display()),
    ])
}

fn log(folder: &Path) -> PathBuf {
    folder.join("audit.log")
}

/// All requests of a service account, each once, in the order in which they were answered.
pub(crate) fn requests(
    place: &Place,
    namespace: &str,
    account: &str,
) -> Result<Vec<Request>, ClusterError> {
    let path = log(&place.part("kube-apiserver"));
    let text = std::fs::read_to_string(&path).map_err(io_at("reading", &path))?;
    let user = format!("system:serviceaccount:{namespace}:{account}");
    // A watch is told when it begins and when it ends; the last line may be half written.
    let mut told = HashSet::new();
    let events = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Event>(line).ok());
    Ok(events
        .filter(|event| event.user.username == user && told.insert(event.id.clone()))
        .map(Request::from)
        .collect())
}

impl From<Event> for Request {
    fn from(event: Event) -> Self {
        let object = event.object_ref.unwrap_or_default();
        let resource = match (object.resource, object.subresource) {
            (resource, _) if resource.is_empty() => event.path,
            (resource, of) if of.is_empty() => resource,
            (resource, of) => format!("{resource}/{of}"),
        };
        Self {
            verb: event.verb,
            group: object.api_group,
            resource,
            namespace: object.namespace,
            name: object.name,
            status: event.response_status.map_or(0, |status| status.code),
        }
    }
}
