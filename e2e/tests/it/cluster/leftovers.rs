//! What is left of a cluster on this machine, found without asking the code that makes clusters.
use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

/// Everything that can be found of a cluster of this name.
pub(crate) fn of(name: &str) -> Vec<String> {
    let mut found = Vec::new();
    let folder = Path::new("/var/cache/tidewheel/clusters").join(name);
    if folder.exists() {
        found.push(format!("folder {}", folder.display()));
    }
    find_groups(Path::new("/sys/fs/cgroup"), name, &mut found);
    for process in names_in(Path::new("/proc")) {
        if process.parse::<u32>() != Ok(std::process::id()) {
            for file in ["cgroup", "cmdline", "mounts"] {
                let path = format!("/proc/{process}/{file}");
                let text = fs::read(&path).unwrap_or_default();
                if contains(&text, name) {
                    found.push(path);
                }
            }
        }
    }
    found
}

/// Waits until nothing is found any more.
pub(crate) fn assert_none(name: &str) {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let found = of(name);
        if found.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "left of {name}: {found:#?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// What clusters could leave that has no name of theirs: links, network namespaces, folders of the kubelet and of CNI.
pub(crate) fn nameless() -> Vec<String> {
    let places = [
        "/sys/class/net",
        "/run/netns",
        "/run/containerd",
        "/var/lib/kubelet",
        "/var/lib/cni",
    ];
    let in_place = |place: &str| {
        let names = names_in(Path::new(place)).into_iter();
        names
            .map(|name| format!("{place}/{name}"))
            .collect::<Vec<_>>()
    };
    let mut all: Vec<String> = places.into_iter().flat_map(in_place).collect();
    all.extend(
        places
            .into_iter()
            .filter(|place| Path::new(place).exists())
            .map(str::to_owned),
    );
    all.sort_unstable();
    all
}

fn find_groups(folder: &Path, name: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let path = entry.path();
            if entry.file_name().to_string_lossy().contains(name) {
                found.push(format!("cgroup {}", path.display()));
            } else {
                find_groups(&path, name, found);
            }
        }
    }
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

fn contains(text: &[u8], name: &str) -> bool {
    text.windows(name.len()).any(|part| part == name.as_bytes())
}
