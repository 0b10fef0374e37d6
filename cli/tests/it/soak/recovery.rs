//! How long it took until everything went on, by the kind of fault.
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Times of one kind of fault.
#[derive(Default)]
struct Times {
    /// From the fault until every task had committed something new, ms.
    first_ms: Vec<i64>,
    /// Until the tasks of the source had read everything that was there by then, ms.
    all_ms: Vec<i64>,
}

/// The times of all kinds.
#[derive(Default)]
pub(crate) struct Recoveries(BTreeMap<String, Times>);

impl Recoveries {
    pub(crate) fn add(&mut self, fault: &str, first: Duration, all: Duration) {
        let times = self.0.entry(fault.to_owned()).or_default();
        let ms = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        times.first_ms.push(ms(first));
        times.all_ms.push(ms(all));
    }
}

fn summary(ms: &[i64]) -> String {
    let mut sorted = ms.to_vec();
    sorted.sort_unstable();
    let seconds = |ms: i64| ms as f64 / 1_000.0;
    let (median, largest) = (sorted[sorted.len() / 2], sorted[sorted.len() - 1]);
    format!("{:>8.1} {:>8.1}", seconds(median), seconds(largest))
}

impl fmt::Display for Recoveries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<65}        every task commits (s)  everything read (s)\n{:<65} times   median  longest     median  longest",
            "time to recover", "from"
        )?;
        for (fault, times) in &self.0 {
            let (first, all) = (summary(&times.first_ms), summary(&times.all_ms));
            writeln!(f, "{fault:<65} {:>5} {first}   {all}", times.first_ms.len())?;
        }
        Ok(())
    }
}
