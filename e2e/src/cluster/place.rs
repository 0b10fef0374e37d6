//! Where a cluster is: its name, its folder, its cgroups.
use std::path::{Path, PathBuf};

use crate::{
    cache,
    cluster::{
        cgroups,
        error::{ClusterError, io_at},
        programs,
        way::Way,
    },
};

/// Where all clusters of root have their folders. Whoever runs PostgreSQL must be able to enter it, which a home's cache does not allow.
const OF_ROOT: &str = "/var/cache/tidewheel/clusters";
/// Where the system shows cgroups: one hierarchy (version 2), or a folder for each (version 1).
const CGROUPS: &str = "/sys/fs/cgroup";
const PREFIX: &str = "tidewheel-";
/// Sockets are in the folder, and their paths may have 107 bytes.
const LONGEST_NAME: usize = 20;

/// The place of a cluster, whether there is one or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    name: String,
    /// Where the folders of all clusters are.
    all: PathBuf,
}

impl Place {
    /// Of the cluster of this name.
    ///
    /// # Errors
    /// [`ClusterError::Name`] where no cluster can be called that, [`ClusterError::Server`] for a user without a home.
    pub fn new(name: &str) -> Result<Self, ClusterError> {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.is_empty() || name.len() > LONGEST_NAME || !name.bytes().all(fits) {
            let name = name.to_owned();
            return Err(ClusterError::Name { name });
        }
        let name = name.to_owned();
        let all = all()?;
        Ok(Self { name, all })
    }

    /// The cluster's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Everything that the cluster keeps is in here.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.all.join(&self.name)
    }

    /// Where all clusters of this user have their folders.
    pub(crate) fn all_folders(&self) -> &Path {
        &self.all
    }

    /// For `KUBECONFIG`: the cluster's administrator, from this machine.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder().join("kubeconfig")
    }

    /// Addresses and the like, as lines of `NAME=VALUE` that a shell can read.
    #[must_use]
    pub fn environment(&self) -> PathBuf {
        self.folder().join("environment")
    }

    /// Where a part of the cluster has its data and its log.
    #[must_use]
    pub fn part(&self, part: &str) -> PathBuf {
        self.folder().join("parts").join(part)
    }

    /// Where the logs are of what runs on this machine for the cluster: a pattern of paths.
    #[must_use]
    pub fn logs(&self, way: Way) -> String {
        let parts = match way {
            Way::Packages => self.part("*"),
            Way::Kind => self.temporary().join("*"),
        };
        parts.join("server.log").display().to_string()
    }

    /// For temporary files of the cluster's processes.
    pub(crate) fn temporary(&self) -> PathBuf {
        self.folder().join("tmp")
    }

    /// The socket by which connections get into the cluster's network.
    pub(crate) fn relay(&self) -> PathBuf {
        self.folder().join("relay.sock")
    }

    /// The namespace of its network, for `nsenter`.
    ///
    /// # Errors
    /// [`ClusterError::Failed`] where it does not run.
    pub(crate) fn network(&self) -> Result<PathBuf, ClusterError> {
        let own = Path::new("/proc/self/ns/net");
        let own = std::fs::read_link(own).map_err(io_at("reading", own))?;
        let processes = cgroups::processes_of(self)?.into_iter();
        let mut networks = processes
            .map(|process| PathBuf::from(format!("/proc/{process}/ns/net")))
            .filter(|network| std::fs::read_link(network).is_ok_and(|network| network != own));
        networks.next().ok_or_else(|| ClusterError::Failed {
            doing: format!("looking for the network of {}", self.name),
            said: "none of its processes is there".to_owned(),
        })
    }

    /// The path of its cgroup in every hierarchy, for those who name it from the hierarchy's root.
    pub(crate) fn cgroup(&self) -> String {
        format!("{PREFIX}{}", self.name)
    }

    /// Its cgroups, one in each hierarchy, whether they are there or not.
    pub(crate) fn cgroups(&self) -> Result<Vec<PathBuf>, ClusterError> {
        let group = |hierarchy: PathBuf| hierarchy.join(self.cgroup());
        Ok(hierarchies()?.into_iter().map(group).collect())
    }

    /// All places where something is left of a cluster, or where there is one.
    pub(crate) fn all() -> Result<Vec<Self>, ClusterError> {
        let mut names = entries(&all()?)?;
        for hierarchy in hierarchies()? {
            let groups = entries(&hierarchy)?;
            let ours = groups.iter().filter_map(|name| name.strip_prefix(PREFIX));
            names.extend(ours.map(str::to_owned));
        }
        names.sort_unstable();
        names.dedup();
        Ok(names
            .iter()
            .filter_map(|name| Self::new(name).ok())
            .collect())
    }
}

/// Where all clusters of this user have their folders. Those of others than root, which kind makes, are in the user's cache.
fn all() -> Result<PathBuf, ClusterError> {
    if programs::is_root() {
        return Ok(PathBuf::from(OF_ROOT));
    }
    Ok(cache::folder()?.join("clusters"))
}

/// The roots of all hierarchies of cgroups in which clusters of this user can have some.
fn hierarchies() -> Result<Vec<PathBuf>, ClusterError> {
    if !programs::is_root() {
        // What others find there is root's, of clusters whose folders are elsewhere.
        return Ok(Vec::new());
    }
    let root = Path::new(CGROUPS);
    if root.join("cgroup.procs").is_file() {
        return Ok(vec![root.to_owned()]);
    }
    let hierarchies = entries(root)?.into_iter().map(|name| root.join(name));
    // Some have a second name, which is a link.
    let hierarchies =
        hierarchies.filter(|path| !path.is_symlink() && path.join("cgroup.procs").is_file());
    Ok(hierarchies.collect())
}

/// The names of what is in a folder; nothing where there is none.
fn entries(folder: &Path) -> Result<Vec<String>, ClusterError> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io_at("reading", folder)(error)),
    };
    let names = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok());
    Ok(names.collect())
}
