//! What tests leave out on a machine that does not let them try it.
use std::io::Write as _;

/// Says what a test has not tried, and why; `make test` repeats it at its end. It goes past the test's own output, which nobody
/// sees of a test that passes.
pub fn not_tried(what: &str) {
    // Whoever has closed the standard error does not want to know.
    let _ = writeln!(std::io::stderr(), "NOT TRIED: {what}");
}
