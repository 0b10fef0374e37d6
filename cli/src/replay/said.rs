//! What a replay does, in words.
use std::collections::BTreeMap;
use std::io::{self, Write as _};

use tidewheel_planner::plan::Plan;
use tidewheel_sinks::postgres::Replaced;
use tidewheel_worker::replay::{Replay, Why};

use super::tables::Tables;
use crate::view::text::{count, plural, rows, timestamp};

/// How many of the rows that cannot be stored are shown.
const SHOWN: usize = 3;

/// Says what is computed and read, and what is left as it is.
pub(super) fn what_is_done(plan: &Plan, replay: &Replay, tables: &Tables) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for replayed in replay.outputs() {
        let output = &plan.outputs[replayed.output];
        writeln!(
            out,
            "{}: {} from {} to {}, for table `{}` of Sink {}",
            output.name,
            windows(replayed.windows()),
            timestamp(*replayed.starts_ms.start()),
            timestamp(replayed.end_ms()),
            tables.shown(output),
            output.sink,
        )?;
    }
    for left in replay.untouched() {
        let why = match left.why {
            Why::Rows => "it has rows of events, each of them once",
            Why::Sessions => "it has sessions, which lie at no times of their own",
            Why::OverWindows => {
                "it has windows over windows, which are made of rows and not of events"
            }
            Why::Topic => "it goes to a topic, in which nothing can be replaced",
        };
        writeln!(out, "{}: left as it is, {why}", left.output)?;
    }
    let mut sources: BTreeMap<&str, (i64, u64)> = BTreeMap::new();
    for read in replay.reads() {
        let (offsets, partitions) = sources.entry(&read.source).or_default();
        *offsets += read.to - read.from;
        *partitions += u64::from(read.from < read.to);
    }
    for (source, (offsets, partitions)) in sources {
        let (offsets, s) = (count(offsets.unsigned_abs()), plural(partitions));
        writeln!(
            out,
            "{source}: {offsets} records of {partitions} partition{s} are read"
        )?;
    }
    out.flush()
}

/// Says what was written to the table of an output.
pub(super) fn what_was_written(output: &str, replaced: &Replaced) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{output}: wrote {} with {}, removed {} that no longer held",
        windows(replaced.windows),
        rows(replaced.rows),
        rows(replaced.removed),
    )?;
    let refused = replaced.refused.len();
    if refused > 0 {
        let some = &replaced.refused[..refused.min(SHOWN)];
        let left_out = rows(refused as u64);
        writeln!(
            out,
            "{output}: left out {left_out} that the table cannot hold: {}",
            some.join("; ")
        )?;
    }
    out.flush()
}

fn windows(n: u64) -> String {
    format!("{} window{}", count(n), plural(n))
}
