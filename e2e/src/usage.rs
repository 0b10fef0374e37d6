//! What a process takes of the machine. Linux only.
use std::{path::Path, time::Duration};

/// `USER_HZ`: the kernel counts in these for whoever asks, on every architecture that Kafka runs on.
const TICKS_PER_SECOND: u32 = 100;

/// What a process has used so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Processor time of it and of its children, those that have ended included.
    pub cpu: Duration,
    /// The most memory that it had at once, bytes; its children's is not in it.
    pub peak_bytes: u64,
}

impl Usage {
    /// Of a process; none where it is not there.
    #[must_use]
    pub fn of(process: u32) -> Option<Self> {
        let own = ticks(process)?;
        let children = children(process).into_iter().filter_map(ticks);
        Some(Self {
            cpu: Duration::from_secs(1) * (own + children.sum::<u32>()) / TICKS_PER_SECOND,
            peak_bytes: peak_kib(process)? * 1024,
        })
    }
}

/// The direct children of a process.
pub(crate) fn children(process: u32) -> Vec<u32> {
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let is_child = |id: &u32| {
        let parent = stat(*id).and_then(|fields| fields.get(1)?.parse::<u32>().ok());
        parent == Some(process)
    };
    let id = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    processes
        .flatten()
        .filter_map(id)
        .filter(is_child)
        .collect()
}

/// Processor time of a process and of those of its children that it has waited for.
fn ticks(process: u32) -> Option<u32> {
    let fields = stat(process)?;
    let times = fields.get(11..15)?.iter();
    Some(times.filter_map(|time| time.parse::<u32>().ok()).sum())
}

/// What `/proc/ID/stat` says from the state on: `ID (NAME) STATE PARENT ...`, where a name may hold anything.
fn stat(process: u32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(") ")?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

fn peak_kib(process: u32) -> Option<u64> {
    let file = Path::new("/proc").join(process.to_string()).join("status");
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}
