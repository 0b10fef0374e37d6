//! Reproducible measurements, each as a ratio within one run.
fn main() {}
