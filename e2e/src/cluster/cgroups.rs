//! The cgroups of a cluster: everything that it runs is in them, so that it can be found and ended whoever started it.
use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use crate::cluster::{
    error::{ClusterError, io_at},
    place::Place,
    run::run,
};

/// How long the kernel may take to bury what was killed.
const DIES_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Beside those of pods, which the kubelet makes: in version 2 a group has processes or other groups.
const PARTS: &str = "parts";

/// Makes them, and returns those that the cluster's own processes are to be put in.
pub(crate) fn make(place: &Place) -> Result<Vec<PathBuf>, ClusterError> {
    let mut parts = Vec::new();
    for group in place.cgroups()? {
        let part = group.join(PARTS);
        for group in [&group, &part] {
            std::fs::create_dir_all(group).map_err(io_at("making", group))?;
            // A new one of `cpuset` in version 1 has no processors and no memory, and takes no processes until it has.
            for setting in ["cpuset.cpus", "cpuset.mems"] {
                inherit(group, setting)?;
            }
        }
        parts.push(part);
    }
    Ok(parts)
}

fn inherit(group: &Path, setting: &str) -> Result<(), ClusterError> {
    if group.join("cgroup.controllers").is_file() {
        // Version 2 does it by itself.
        return Ok(());
    }
    let (own, above) = (group.join(setting), group.join("..").join(setting));
    let Ok(value) = std::fs::read_to_string(above) else {
        return Ok(());
    };
    std::fs::write(&own, value.trim()).map_err(io_at("setting", &own))
}

/// Ends all processes in them and removes them. There may be none.
pub(crate) fn remove(place: &Place) -> Result<(), ClusterError> {
    let groups = place.cgroups()?;
    let deadline = Instant::now() + DIES_WITHIN;
    loop {
        let all: Vec<PathBuf> = groups
            .iter()
            .flat_map(|group| with_all_below(group))
            .collect();
        let mut processes: Vec<String> = all.iter().flat_map(|group| processes(group)).collect();
        processes.sort_unstable();
        processes.dedup();
        // From below: one that has others in it cannot be removed. What could not be is there in the next round.
        let gone = all.iter().rev().filter(|group| removed(group)).count();
        if gone == all.len() {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(ClusterError::Failed {
                doing: format!("ending the processes of {}", place.name()),
                said: format!("these are still there: {}", processes.join(", ")),
            });
        }
        signal("KILL", &processes)?;
        std::thread::sleep(LOOK_EVERY);
    }
}

/// The processes of a container; none where it does not run.
pub(crate) fn processes_of_container(place: &Place, id: &str) -> Result<Vec<String>, ClusterError> {
    let groups = place.cgroups()?;
    let all = groups.iter().flat_map(|group| with_all_below(group));
    let of_container = all.filter(|group| group.ends_with(id));
    let mut processes: Vec<String> = of_container.flat_map(|group| processes(&group)).collect();
    processes.sort_unstable();
    processes.dedup();
    Ok(processes)
}

/// A group and those in it, each before those that are in it; nothing where it is not there.
fn with_all_below(group: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(group) else {
        return Vec::new();
    };
    let is_group = |entry: &std::fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    let below = entries.flatten().filter(is_group);
    let below = below.flat_map(|entry| with_all_below(&entry.path()));
    std::iter::once(group.to_owned()).chain(below).collect()
}

/// The cluster's own processes, without those of pods.
pub(crate) fn processes_of(place: &Place) -> Result<Vec<String>, ClusterError> {
    let groups = place.cgroups()?.into_iter();
    Ok(groups
        .flat_map(|group| processes(&group.join(PARTS)))
        .collect())
}

fn processes(group: &Path) -> Vec<String> {
    let ids = std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    // 0 is a process that this one cannot see.
    ids.lines()
        .filter(|id| *id != "0")
        .map(str::to_owned)
        .collect()
}

fn removed(group: &Path) -> bool {
    match std::fs::remove_dir(group) {
        Ok(()) => true,
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

/// Sends them a signal, such as `KILL`, as far as they are there.
pub(crate) fn signal(signal: &str, processes: &[String]) -> Result<(), ClusterError> {
    if processes.is_empty() {
        return Ok(());
    }
    match run(
        Command::new("kill").args(["-s", signal]).args(processes),
        "sending processes a signal",
    ) {
        // Some have ended since.
        Err(ClusterError::Failed { .. }) => Ok(()),
        result => result.map(drop),
    }
}
