//! What the process uses, as Linux tells it. Elsewhere these metrics are not there.
use std::fs;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{MetricFamily, MetricType};

use super::family::Declared;

/// Ticks of processor time in a second, the same on all machines that Linux has had for long.
const TICKS_PER_SECOND: f64 = 100.0;

const CPU: Declared = Declared {
    name: "process_cpu_seconds_total",
    help: "Processor time of the process, in the system too.",
    kind: MetricType::COUNTER,
    labels: &[],
};
const MEMORY: Declared = Declared {
    name: "process_resident_memory_bytes",
    help: "Memory of the process that is in use.",
    kind: MetricType::GAUGE,
    labels: &[],
};
const FILES: Declared = Declared {
    name: "process_open_fds",
    help: "Files and connections that are open.",
    kind: MetricType::GAUGE,
    labels: &[],
};

/// What the process uses.
pub(crate) struct ProcessMetrics {
    descs: Vec<Desc>,
}

impl ProcessMetrics {
    pub(crate) fn new() -> prometheus::Result<Self> {
        let descs = [CPU, MEMORY, FILES].iter().map(Declared::desc);
        Ok(Self {
            descs: descs.collect::<Result<_, _>>()?,
        })
    }
}

impl Collector for ProcessMetrics {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let files = fs::read_dir("/proc/self/fd").map(|open| open.count() as f64);
        [
            (CPU, cpu_seconds()),
            (MEMORY, resident_bytes()),
            (FILES, files.ok()),
        ]
        .into_iter()
        .filter_map(|(declared, value)| Some(declared.family(vec![declared.value(&[], value?)])))
        .collect()
    }
}

fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program, in parentheses, may hold anything. User and system time are the 12th and 13th field after it.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11);
    let user: f64 = times.next()?.parse().ok()?;
    let system: f64 = times.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

fn resident_bytes() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib * 1024.0)
}
