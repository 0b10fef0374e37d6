//! The cluster's own view of the file system: what its parts would write beside everybody else's goes to the cluster's folder.
//! Runs in a mount namespace of its own, with which all of this ends.
use std::{fs::Permissions, os::unix::fs::PermissionsExt, path::Path, process::Command};

use crate::cluster::{
    error::{ClusterError, io_at},
    place::Place,
    run::{make_folder, run, write},
};

/// Sockets, network namespaces and locks; and the logs of pods.
const OWN: [&str; 2] = ["/run", "/var/log"];
/// Settings of the machine's kernel that the kubelet insists on. It gets files of its own in their places, and the kernel keeps
/// what it has.
const SETTINGS: [&str; 6] = [
    "/proc/sys/kernel/keys/root_maxbytes",
    "/proc/sys/kernel/keys/root_maxkeys",
    "/proc/sys/kernel/panic",
    "/proc/sys/kernel/panic_on_oops",
    "/proc/sys/vm/overcommit_memory",
    "/proc/sys/vm/panic_on_oom",
];

/// Mounts it all.
pub(crate) fn make(place: &Place) -> Result<(), ClusterError> {
    let views = place.folder().join("views");
    for target in OWN {
        let own = views.join(file_name(target));
        make_folder(&own)?;
        mount(&["--bind"], &own, target)?;
    }
    // The state of the kubelet and of CNI has fixed paths in here. What is there already stays in sight: somebody's home may be.
    let (upper, work) = (views.join("var-lib"), views.join("work"));
    make_folder(&upper)?;
    make_folder(&work)?;
    let layers = format!(
        "lowerdir=/var/lib,upperdir={},workdir={}",
        upper.display(),
        work.display()
    );
    mount(
        &["-t", "overlay", "-o", &layers],
        Path::new("overlay"),
        "/var/lib",
    )?;
    for target in SETTINGS {
        let own = views.join(file_name(target));
        let value = std::fs::read_to_string(target).map_err(io_at("reading", Path::new(target)))?;
        write(&own, &value)?;
        mount(&["--bind"], &own, target)?;
    }
    temporary_folder(place)
}

/// `/var/log` is kept as `var-log`.
fn file_name(target: &str) -> String {
    target.trim_start_matches('/').replace('/', "-")
}

fn mount(options: &[&str], what: &Path, target: &str) -> Result<(), ClusterError> {
    let mut command = Command::new("mount");
    command.args(options).arg(what).arg(target);
    run(&mut command, &format!("mounting {target}")).map(drop)
}

/// Servers that are not root's make files there, too.
fn temporary_folder(place: &Place) -> Result<(), ClusterError> {
    let folder = place.temporary();
    make_folder(&folder)?;
    std::fs::set_permissions(&folder, Permissions::from_mode(0o1777))
        .map_err(io_at("opening to all", &folder))
}
