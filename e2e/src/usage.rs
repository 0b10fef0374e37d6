//! What processes take of the machine. Linux only.
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

    /// Of a process and of everything that it has started, directly or not; none where it is not there. The peak is the sum of
    /// what each had at its own peak: memory that they share is in it more than once.
    #[must_use]
    pub fn of_tree(process: u32) -> Option<Self> {
        let root = ticks(process)?;
        let below = descendants(process);
        let all = root + below.iter().copied().filter_map(ticks).sum::<u32>();
        let peaks = below.into_iter().chain([process]).filter_map(peak_kib);
        Some(Self {
            cpu: Duration::from_secs(1) * all / TICKS_PER_SECOND,
            peak_bytes: peaks.sum::<u64>() * 1024,
        })
    }
}

/// Processor time that anybody has had on this machine since it started, all cores together; on a virtual one also what it was
/// not given when it wanted it. None where the system does not say.
#[must_use]
pub fn machine_cpu() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    let fields: Vec<u64> = text
        .lines()
        .next()?
        .split_whitespace()
        .skip(1)
        .filter_map(|field| field.parse().ok())
        .collect();
    let [
        user,
        nice,
        system,
        _idle,
        _waiting,
        irq,
        softirq,
        stolen,
        ..,
    ] = *fields
    else {
        return None;
    };
    let ticks = user + nice + system + irq + softirq + stolen;
    Some(Duration::from_millis(
        ticks * 1_000 / u64::from(TICKS_PER_SECOND),
    ))
}

/// Every process that a process has started, directly or not, as far as they live.
#[must_use]
pub fn descendants(process: u32) -> Vec<u32> {
    let all = with_parents();
    let mut found = vec![process];
    let mut looked = 0;
    while let Some(&next) = found.get(looked) {
        let children = all.iter().filter(|(_, parent)| *parent == next);
        found.extend(children.map(|(id, _)| id));
        looked += 1;
    }
    found.split_off(1)
}

/// The direct children of a process.
pub(crate) fn children(process: u32) -> Vec<u32> {
    let children = with_parents().into_iter();
    children
        .filter(|(_, parent)| *parent == process)
        .map(|(id, _)| id)
        .collect()
}

/// Every process of the machine, with the one that has started it.
fn with_parents() -> Vec<(u32, u32)> {
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let with_parent = |entry: std::fs::DirEntry| {
        let id = entry.file_name().to_str()?.parse().ok()?;
        Some((id, stat(id)?.get(1)?.parse().ok()?))
    };
    processes.flatten().filter_map(with_parent).collect()
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

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::{Usage, descendants, machine_cpu};

    #[test]
    fn what_children_of_children_use_is_part_of_a_tree() {
        let mut child = Command::new("sh")
            .args(["-c", "sh -c 'i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo done; read wait; :'; :"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = child.stdout.take().unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(said), &mut line).unwrap();
        let below = descendants(child.id());
        assert_eq!(below.len(), 1, "{below:?}");
        let (tree, inner) = (
            Usage::of_tree(child.id()).unwrap(),
            Usage::of(below[0]).unwrap(),
        );
        assert!(!inner.cpu.is_zero());
        assert!(tree.cpu >= inner.cpu, "{tree:?} {inner:?}");
        assert!(tree.peak_bytes > inner.peak_bytes, "{tree:?} {inner:?}");
        assert!(machine_cpu().unwrap() >= tree.cpu);
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(Usage::of_tree(child.id()), None);
    }
}
