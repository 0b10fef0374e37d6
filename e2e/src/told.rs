//! What tests tell whoever runs them, also when they pass.
use std::io::Write as _;

/// Says what a test has not tried, and why; `make test` repeats it at its end.
pub fn not_tried(what: &str) {
    tell(&format!("NOT TRIED: {what}\n"));
}

/// Says what a test has measured, a line for each; `make test` repeats them at its end. A line begins with what it is about and a
/// colon: the lines of one test are shown together.
pub fn measured(what: &str) {
    let lines: String = what
        .lines()
        .map(|line| format!("MEASURED: {line}\n"))
        .collect();
    tell(&lines);
}

/// Goes past the test's own output, which nobody sees of a test that passes, and does so in one piece: tests run side by side.
fn tell(lines: &str) {
    // Whoever has closed the standard error does not want to know.
    let _ = std::io::stderr().write_all(lines.as_bytes());
}
