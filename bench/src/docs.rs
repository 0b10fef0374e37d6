//! Reports in the documentation: each in its place between two marks, and what stands around them is left.
use std::fmt::Write as _;
use std::path::Path;

use crate::Failure;
use crate::figures::{Machine, Report, figure_text};

/// That a file has places for these reports, before anybody measures for hours.
///
/// # Errors
/// A file that cannot be read, or has no place for a report.
pub(crate) fn check(file: &Path, reports: &[&str]) -> Result<(), Failure> {
    let text = read(file)?;
    for report in reports {
        replaced(&text, report, "").ok_or_else(|| missing_place(file, report))?;
    }
    Ok(())
}

/// Puts reports in their places in a file.
///
/// # Errors
/// A file that cannot be read or written, or has no place for a report.
pub(crate) fn write(file: &Path, machine: &Machine, reports: &[Report]) -> Result<(), Failure> {
    let mut text = read(file)?;
    for report in reports {
        text = replaced(&text, &report.name, &markdown(machine, report))
            .ok_or_else(|| missing_place(file, &report.name))?;
    }
    std::fs::write(file, text)?;
    Ok(())
}

fn read(file: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(file);
    Ok(text.map_err(|error| format!("{}: {error}", file.display()))?)
}

fn marks(report: &str) -> [String; 2] {
    [
        format!("<!-- measured: {report} -->\n"),
        format!("<!-- end of {report} -->\n"),
    ]
}

fn missing_place(file: &Path, report: &str) -> String {
    let [begin, end] = marks(report);
    format!(
        "{} has no place for what was measured: write these two lines where it belongs\n{begin}{end}",
        file.display()
    )
}

/// `text` with another report between its marks; none where they are not there.
fn replaced(text: &str, report: &str, with: &str) -> Option<String> {
    let [begin, end] = marks(report);
    let (before, rest) = text.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}\n{with}\n{end}{after}"))
}

/// A report as Markdown, without an empty line at its end.
pub(crate) fn markdown(machine: &Machine, report: &Report) -> String {
    let mut text = format!("`{}` on {machine}: {}.\n", report.command, report.method);
    for table in &report.comparisons {
        let _ = write!(text, "\n| {} |", table.name);
        for column in &table.columns {
            let _ = write!(text, " {}, {} |", column.name, column.unit);
        }
        text.push_str("\n|---|");
        text.push_str(&"---|".repeat(table.columns.len()));
        for row in &table.rows {
            let _ = write!(text, "\n| {} |", row.name);
            for column in 0..table.columns.len() {
                let _ = write!(text, " {} |", row.text(column));
            }
        }
        text.push('\n');
    }
    if !report.figures.is_empty() {
        text.push_str("\n| | |\n|---|---|");
        for figure in &report.figures {
            let value = figure_text(figure.value);
            let _ = write!(text, "\n| {} | {value} {} |", figure.name, figure.unit);
        }
        text.push('\n');
    }
    if !report.settings.is_empty() {
        text.push_str("\n| | versions and settings |\n|---|---|");
        for setting in &report.settings {
            let _ = write!(text, "\n| {} | {} |", setting.of, setting.values);
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{check, markdown, replaced};
    use crate::Measurement;
    use crate::figures::{Column, Comparison, Machine, Report, Row};

    #[test]
    fn the_documentation_has_places_for_all_reports() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/benchmarks.md");
        check(&page, &Measurement::EACH.map(Measurement::name)).unwrap();
        let missing = check(&page, &["decode", "nothing"])
            .unwrap_err()
            .to_string();
        assert!(missing.contains("has no place"), "{missing}");
    }

    #[test]
    fn what_stands_around_a_report_is_left() {
        let text = "a\n<!-- measured: x -->\nold\n<!-- end of x -->\nb\n";
        let once = replaced(text, "x", "new\n").unwrap();
        assert_eq!(
            once,
            "a\n<!-- measured: x -->\n\nnew\n\n<!-- end of x -->\nb\n"
        );
        assert_eq!(replaced(&once, "x", "new\n"), Some(once.clone()));
        assert_eq!(replaced(&once, "y", "new\n"), None);
    }

    #[test]
    fn a_report_is_a_table_of_its_contenders() {
        let mut report = Report::new("x", "two ways".to_owned(), 7);
        report.comparisons.push(Comparison {
            name: "single".to_owned(),
            columns: vec![Column::new("rate", "events/s"), Column::new("CPU", "s")],
            rows: vec![Row {
                name: "ours".to_owned(),
                values: vec![Some(1_234_567.0), Some(1.5)],
            }],
        });
        report.set("ours", "0.1.0; threads: 2");
        let machine = Machine {
            cpu: "CPU".to_owned(),
            cores: 2,
            memory_gib: 24.0,
            kernel: "6.1".to_owned(),
            load: 0.25,
        };
        assert_eq!(
            markdown(&machine, &report),
            "`make bench BENCH=\"x --events 7\"` on CPU, 2 cores, 24 GiB, Linux 6.1, load 0.25 before it began: two ways.\n\
             \n| single | rate, events/s | CPU, s |\n|---|---|---|\n| ours | 1,234,567 | 1.50 |\n\
             \n| | versions and settings |\n|---|---|\n| ours | 0.1.0; threads: 2 |\n"
        );
    }
}
