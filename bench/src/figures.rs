//! What was measured, for people and for programs.
use serde::{Deserialize, Serialize};

use crate::Failure;

/// The figures of one measurement.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Report {
    /// What was measured.
    pub(crate) name: String,
    /// How, in a sentence.
    pub(crate) method: String,
    /// The command that repeats it.
    pub(crate) command: String,
    pub(crate) figures: Vec<Figure>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) unit: String,
}

/// A document of reports, with the machine that they were made on.
#[derive(Debug, Serialize, Deserialize)]
struct Document {
    machine: Machine,
    reports: Vec<Report>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Machine {
    cpu: String,
    cores: usize,
    memory_gib: f64,
    kernel: String,
}

impl Report {
    /// An empty report of a measurement of so many events.
    pub(crate) fn new(name: &str, method: String, events: usize) -> Self {
        Self {
            name: name.to_owned(),
            method,
            command: format!("make bench BENCH=\"{name} --events {events}\""),
            figures: Vec::new(),
        }
    }

    /// How many times as fast as `base` something is: the median over rounds, both in seconds by round.
    pub(crate) fn add_ratio(&mut self, name: &str, base: &[f64], seconds: &[f64]) {
        let ratios = base.iter().zip(seconds).map(|(base, other)| base / other);
        self.add(name, median(ratios.collect()), "");
    }

    /// Events per second, by the median of the rounds' seconds.
    pub(crate) fn add_rate(&mut self, name: &str, events: usize, seconds: &[f64]) {
        self.add(name, events as f64 / median(seconds.to_vec()), "events/s");
    }

    /// The middle of what rounds have shown.
    pub(crate) fn add_median(&mut self, name: String, values: Vec<f64>, unit: &str) {
        self.add(name, median(values), unit);
    }

    pub(crate) fn add(&mut self, name: impl Into<String>, value: f64, unit: &str) {
        self.figures.push(Figure {
            name: name.into(),
            value,
            unit: unit.to_owned(),
        });
    }
}

/// Prints reports: tables, or one JSON document.
pub(crate) fn print(reports: &[Report], json: bool) -> Result<(), Failure> {
    let machine = Machine::read();
    if json {
        let document = Document {
            machine,
            reports: reports.to_vec(),
        };
        println!("{}", serde_json::to_string_pretty(&document)?);
        return Ok(());
    }
    println!(
        "{}, {} cores, {:.0} GiB, Linux {}",
        machine.cpu, machine.cores, machine.memory_gib, machine.kernel
    );
    for report in reports {
        println!("\n{}: {}\n  {}", report.name, report.method, report.command);
        let width = report
            .figures
            .iter()
            .map(|figure| figure.name.len())
            .max()
            .unwrap_or(0);
        for figure in &report.figures {
            println!(
                "  {:width$}  {:>12} {}",
                figure.name,
                figure.text(),
                figure.unit
            );
        }
    }
    Ok(())
}

/// The first report of a JSON document.
pub(crate) fn first_of(document: &[u8]) -> Result<Report, Failure> {
    let document: Document = serde_json::from_slice(document)?;
    document
        .reports
        .into_iter()
        .next()
        .ok_or_else(|| "there is no report".into())
}

impl Figure {
    fn text(&self) -> String {
        match self.value {
            large if large >= 1_000.0 => thousands(large as u64),
            small => format!("{small:.2}"),
        }
    }
}

/// `1234567` as `1,234,567`.
fn thousands(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The middle of several measurements.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

impl Machine {
    fn read() -> Self {
        let field = |file: &str, name: &str| -> Option<String> {
            let text = std::fs::read_to_string(file).ok()?;
            let line = text.lines().find(|line| line.starts_with(name))?.to_owned();
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let memory_kib = field("/proc/meminfo", "MemTotal")
            .and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            cpu: field("/proc/cpuinfo", "model name")
                .unwrap_or_else(|| "unknown processor".to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gib: memory_kib.unwrap_or(0.0) / 1024.0 / 1024.0,
            kernel: kernel.trim().to_owned(),
        }
    }
}
