//! Peak memory while many events with many keys pass through the engine.
use std::time::Instant;

use crate::Failure;
use crate::engine::Engine;
use crate::events::Events;
use crate::figures::{Report, mib};
use crate::pipeline::{BY_USER, WINDOWS, plan};

const EVENTS: usize = 10_000_000;
const KEYS: u64 = 1_000_000;
const BATCH: usize = 8_192;
/// All events happen within this.
const SECONDS: u64 = 3_600;

pub(crate) fn measure(events: Option<usize>) -> Result<Report, Failure> {
    let events = events.unwrap_or(EVENTS);
    let per_second = (events as u64 / SECONDS).max(1);
    let plan = plan("Drop", 1, BY_USER, &[WINDOWS])?;
    let mut engine = Engine::new(&plan)?;
    let mut source = Events::new(2, KEYS, per_second);
    let before_bytes = resident("VmRSS")?;
    let (mut taken, mut state_bytes) = (0, 0);
    let begin = Instant::now();
    while taken < events {
        let count = BATCH.min(events - taken);
        let (_, records) = source.records(taken, count);
        engine.take(&records)?;
        state_bytes = state_bytes.max(engine.state_bytes());
        let million = taken / 1_000_000;
        taken += count;
        if taken / 1_000_000 > million {
            eprintln!(
                "memory: {} million events, {:.0} MiB resident, {:.0} MiB of window state, {:.0} s",
                taken / 1_000_000,
                mib(resident("VmRSS")?),
                mib(engine.state_bytes() as u64),
                begin.elapsed().as_secs_f64()
            );
        }
    }
    engine.close(source.now_ms())?;
    let seconds = begin.elapsed().as_secs_f64();
    let mut report = Report::new(
        "memory",
        format!(
            "{events} events of {KEYS} users in {} minutes of event time: decoded, deduplicated within 10 minutes, \
             windows of a minute by user; one task",
            SECONDS / 60
        ),
        events,
    );
    report.add("peak of resident memory", mib(resident("VmHWM")?), "MiB");
    report.add("of it before the first event", mib(before_bytes), "MiB");
    report.add(
        "most window state at a time",
        mib(state_bytes as u64),
        "MiB",
    );
    report.add("window rows written", engine.rows as f64, "rows");
    report.add(
        "rate, making the events included",
        events as f64 / seconds,
        "events/s",
    );
    Ok(report)
}

/// A field of `/proc/self/status` in bytes.
fn resident(name: &str) -> Result<u64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")
        .map_err(|error| format!("memory is read from /proc, on Linux: {error}"))?;
    let line = status
        .lines()
        .find(|line| line.starts_with(name))
        .ok_or("no such field in /proc/self/status")?;
    let kib: u64 = line
        .split_whitespace()
        .nth(1)
        .ok_or("no number in /proc/self/status")?
        .parse()?;
    Ok(kib * 1_024)
}
