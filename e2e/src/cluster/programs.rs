//! The programs that a cluster is made of, and whether they are all there.
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    cache,
    cluster::{error::ClusterError, run::run},
};

/// What `scripts/servers.sh kubernetes` builds, in the cache.
const KUBERNETES: &str = "kubernetes-1.34.4";
/// Where programs are that only root runs; not every PATH has them.
const ROOTS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];
/// Where distributions put the plugins of CNI.
const PLUGIN_FOLDERS: [&str; 3] = ["/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"];
/// Those that pods get their network from.
const PLUGINS: [&str; 3] = ["bridge", "host-local", "loopback"];
/// Programs that are run by name, each with the Debian package that has it.
const NEEDED: [(&str, &str); 12] = [
    ("containerd", "containerd"),
    ("containerd-shim-runc-v2", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("nft", "nftables"),
    ("ip", "iproute2"),
    ("mount", "mount"),
    ("unshare", "util-linux"),
    ("setpriv", "util-linux"),
    ("setsid", "util-linux"),
    ("buildah", "buildah"),
    ("busybox", "busybox-static"),
];
/// Those that a cluster has for itself, as options of `unshare`.
pub(crate) const NAMESPACES: [&str; 4] = ["--net", "--mount", "--pid", "--ipc"];
const INSTALL: &str = "scripts/prerequisites.sh cluster, as root (make cluster and make test do)";

/// Where the programs are that are not simply in PATH.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    kubernetes: PathBuf,
    plugins: PathBuf,
}

impl Programs {
    /// Finds them.
    ///
    /// # Errors
    /// [`ClusterError::Missing`] where this machine or user cannot run a cluster; it names everything that is missing.
    pub(crate) fn find() -> Result<Self, ClusterError> {
        let kubernetes = cache::folder()?.join(KUBERNETES);
        let mut missing = Vec::new();
        for (program, package) in NEEDED {
            if which(program).is_none() {
                missing.push(format!("{program} (Debian's package {package})"));
            }
        }
        if !kubernetes.join("complete").is_file() {
            missing.push(format!("Kubernetes, in {}", kubernetes.display()));
        }
        let plugins = PLUGIN_FOLDERS.map(Path::new).into_iter();
        let plugins = plugins.into_iter().find(|folder| has_plugins(folder));
        if plugins.is_none() {
            let names = PLUGINS.join(", ");
            missing.push(format!(
                "the CNI plugins {names} (Debian's package containernetworking-plugins)"
            ));
        }
        check_machine()?;
        match plugins {
            Some(plugins) if missing.is_empty() => Ok(Self {
                kubernetes,
                plugins: plugins.to_owned(),
            }),
            _ => Err(ClusterError::Missing {
                what: missing.join("\n  missing: "),
                how: INSTALL.to_owned(),
            }),
        }
    }

    /// One of the programs of Kubernetes, by its own name; or etcd, coredns, helm.
    #[must_use]
    pub(crate) fn kubernetes(&self, name: &str) -> Command {
        Command::new(self.kubernetes.join(name))
    }

    /// Where those of Kubernetes are.
    pub(crate) fn folder(&self) -> &Path {
        &self.kubernetes
    }

    /// The first process of each pod.
    pub(crate) fn pause(&self) -> PathBuf {
        self.kubernetes.join("pause")
    }

    /// The folder of CNI's plugins.
    pub(crate) fn plugins(&self) -> &Path {
        &self.plugins
    }
}

/// One of the programs that are built, where they are.
pub(crate) fn built(name: &str) -> Option<PathBuf> {
    let program = cache::folder().ok()?.join(KUBERNETES).join(name);
    program.is_file().then_some(program)
}

/// A program for whoever uses a cluster, `kubectl` or `helm`: the one that is built, or the one in PATH.
pub(crate) fn client(name: &str) -> Option<PathBuf> {
    built(name).or_else(|| which(name))
}

/// Looks for what no package can give.
///
/// # Errors
/// [`ClusterError::Missing`] where this machine or user cannot run a cluster, whatever is installed.
pub(crate) fn check_machine() -> Result<(), ClusterError> {
    let Some(user) = user() else {
        return Err(ClusterError::Missing {
            what: "Linux, which runs a cluster's containers".to_owned(),
            how: "run this in a virtual machine with Linux".to_owned(),
        });
    };
    if user != "0" {
        return Err(ClusterError::Missing {
            what: "root's rights, for namespaces, mounts and cgroups".to_owned(),
            how: "run this as root: sudo -E make ...".to_owned(),
        });
    }
    if let Some(error) = which("unshare").and_then(|unshare| refused_namespaces(&unshare)) {
        return Err(ClusterError::Missing {
            what: format!("the right to make namespaces: {error}"),
            how: "run this as the machine's own root; in a container, one run with --privileged"
                .to_owned(),
        });
    }
    let file_systems = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let has_overlay = file_systems.lines().any(|line| line.ends_with("\toverlay"));
    if !has_overlay {
        return Err(ClusterError::Missing {
            what: "overlayfs in the kernel, for the file systems of containers".to_owned(),
            how: "modprobe overlay".to_owned(),
        });
    }
    Ok(())
}

/// Whether this process has the rights of root.
pub(crate) fn is_root() -> bool {
    user().is_some_and(|user| user == "0")
}

/// The number of the user whose rights this process has; none where there is no Linux to say so.
fn user() -> Option<String> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    ids.split_whitespace().nth(1).map(str::to_owned)
}

/// Why a cluster's namespaces cannot be made, where they cannot.
fn refused_namespaces(unshare: &Path) -> Option<ClusterError> {
    let mut command = Command::new(unshare);
    command.args(NAMESPACES);
    command.args(["--fork", "--mount-proc", "true"]);
    run(&mut command, "making some").err()
}

fn has_plugins(folder: &Path) -> bool {
    PLUGINS.iter().all(|plugin| folder.join(plugin).is_file())
}

/// Where a program is, in PATH or where root's are.
pub(crate) fn which(program: &str) -> Option<PathBuf> {
    folders()
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// PATH with the folders of root's programs.
pub(crate) fn path() -> OsString {
    // A folder whose name has a colon was not in PATH.
    std::env::join_paths(folders()).unwrap_or_default()
}

fn folders() -> impl Iterator<Item = PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.into_iter().chain(ROOTS.map(PathBuf::from))
}
