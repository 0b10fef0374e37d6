//! The tidewheel binary: every role, and the tools for people.
fn main() {}
