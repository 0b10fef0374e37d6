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
    /// Contenders beside each other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) comparisons: Vec<Comparison>,
    /// Versions and settings of whatever took part.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) settings: Vec<Setting>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) unit: String,
}

/// A table: a row for each contender.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Comparison {
    /// The work.
    pub(crate) name: String,
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: Vec<Row>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) unit: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    /// A value for each column, where there is one.
    pub(crate) values: Vec<Option<f64>>,
}

/// What something was run with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Setting {
    pub(crate) of: String,
    pub(crate) values: String,
}

impl Row {
    /// The value of a column as people read it; a dash where there is none.
    pub(crate) fn text(&self, column: usize) -> String {
        let value = self.values.get(column).copied().flatten();
        value.map_or_else(|| "-".to_owned(), figure_text)
    }
}

impl Column {
    pub(crate) fn new(name: &str, unit: &str) -> Self {
        Self {
            name: name.to_owned(),
            unit: unit.to_owned(),
        }
    }
}

impl From<(&str, &str)> for Column {
    /// A name and a unit.
    fn from((name, unit): (&str, &str)) -> Self {
        Self::new(name, unit)
    }
}

/// A document of reports, with the machine that they were made on.
#[derive(Debug, Serialize, Deserialize)]
struct Document {
    machine: Machine,
    reports: Vec<Report>,
}

/// What was measured on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) memory_gib: f64,
    pub(crate) kernel: String,
    /// How many processes wanted a core on average, in the minute before the measurements began.
    pub(crate) load: f64,
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}, {} cores, {:.0} GiB, Linux {}, load {:.2} before it began",
            self.cpu, self.cores, self.memory_gib, self.kernel, self.load
        )
    }
}

impl Report {
    /// An empty report of a measurement of so many events.
    pub(crate) fn new(name: &str, method: String, events: usize) -> Self {
        Self {
            name: name.to_owned(),
            method,
            command: format!("make bench BENCH=\"{name} --events {events}\""),
            figures: Vec::new(),
            comparisons: Vec::new(),
            settings: Vec::new(),
        }
    }

    /// The same, of a measurement of so many rounds.
    pub(crate) fn of_rounds(name: &str, method: String, events: usize, rounds: usize) -> Self {
        Self {
            command: format!("make bench BENCH=\"{name} --events {events} --rounds {rounds}\""),
            ..Self::new(name, method, events)
        }
    }

    /// Says what something was run with.
    pub(crate) fn set(&mut self, of: &str, values: impl Into<String>) {
        self.settings.push(Setting {
            of: of.to_owned(),
            values: values.into(),
        });
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

/// Bytes in MiB.
pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}

/// Prints reports: tables, or one JSON document.
pub(crate) fn print(machine: &Machine, reports: &[Report], json: bool) -> Result<(), Failure> {
    if json {
        let document = Document {
            machine: machine.clone(),
            reports: reports.to_vec(),
        };
        println!("{}", serde_json::to_string_pretty(&document)?);
        return Ok(());
    }
    println!("{machine}");
    for report in reports {
        println!("\n{}: {}\n  {}", report.name, report.method, report.command);
        for comparison in &report.comparisons {
            print!("\n{}", comparison.table());
        }
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
                figure_text(figure.value),
                figure.unit
            );
        }
        for setting in &report.settings {
            println!("  {}: {}", setting.of, setting.values);
        }
    }
    Ok(())
}

impl Comparison {
    /// For a terminal: names on the left, figures on the right, two lines above each column.
    fn table(&self) -> String {
        let names = self.rows.iter().map(|row| row.name.chars().count());
        let first = names.chain([self.name.chars().count()]).max().unwrap_or(0);
        let mut lines = vec![
            format!("  {:first$}", self.name),
            format!("  {:first$}", ""),
        ];
        let rows = self.rows.iter().map(|row| format!("  {:first$}", row.name));
        lines.extend(rows);
        for (index, column) in self.columns.iter().enumerate() {
            let cells: Vec<String> = [column.name.clone(), column.unit.clone()]
                .into_iter()
                .chain(self.rows.iter().map(|row| row.text(index)))
                .collect();
            let width = cells.iter().map(String::len).max().unwrap_or(0);
            for (line, cell) in lines.iter_mut().zip(cells) {
                line.push_str(&format!("  {cell:>width$}"));
            }
        }
        lines.join("\n") + "\n"
    }
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

/// A figure as people read it: three digits that count, and all those before the point.
pub(crate) fn figure_text(value: f64) -> String {
    match value.abs() {
        large if large >= 1_000.0 => thousands(value as u64),
        large if large >= 100.0 => format!("{value:.0}"),
        large if large >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
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
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

impl Machine {
    pub(crate) fn read() -> Self {
        let field = |file: &str, name: &str| -> Option<String> {
            let text = std::fs::read_to_string(file).ok()?;
            let line = text.lines().find(|line| line.starts_with(name))?.to_owned();
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let memory_kib = field("/proc/meminfo", "MemTotal")
            .and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
        let load = std::fs::read_to_string("/proc/loadavg").ok();
        let load = load.and_then(|text| text.split(' ').next()?.parse().ok());
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            cpu: field("/proc/cpuinfo", "model name")
                .unwrap_or_else(|| "unknown processor".to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gib: memory_kib.unwrap_or(0.0) / 1024.0 / 1024.0,
            kernel: kernel.trim().to_owned(),
            load: load.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Column, Comparison, Row, figure_text};

    #[test]
    fn figures_have_three_digits_that_count() {
        let texts = [1_234_567.8, 999.6, 45.67, 3.456, 0.0].map(figure_text);
        assert_eq!(texts, ["1,234,567", "1000", "45.7", "3.46", "0.00"]);
    }

    #[test]
    fn columns_stand_below_each_other() {
        let row = |name: &str, rate, cpu| Row {
            name: name.to_owned(),
            values: vec![Some(rate), cpu],
        };
        let comparison = Comparison {
            name: "windows".to_owned(),
            columns: vec![Column::new("rate", "events/s"), Column::new("CPU", "s")],
            rows: vec![
                row("ours", 1_000_000.0, Some(1.0)),
                row("somebody else", 20.0, None),
            ],
        };
        let lines = [
            "  windows             rate   CPU",
            "                  events/s     s",
            "  ours           1,000,000  1.00",
            "  somebody else       20.0     -",
            "",
        ];
        assert_eq!(comparison.table(), lines.join("\n"));
    }
}
