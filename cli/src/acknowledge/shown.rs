//! What waits, and what was acknowledged, as people and programs are shown it.
use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;
use tidewheel_engine::wire::acknowledgement::Missing;

use super::waiting::Waits;
use crate::aligned::{self, Cell};
use crate::view::text::timestamp;

/// What waits, as JSON has it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ShownWaits<'a> {
    hash: &'a str,
    /// A source, or an aggregate step.
    input: &'a str,
    partition: i32,
    since: String,
    acknowledged: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    offsets: Option<ShownOffsets>,
    /// Outputs whose sink has lost its progress, and the offset that each had come to.
    #[serde(skip_serializing_if = "Option::is_none")]
    outputs: Option<&'a BTreeMap<String, i64>>,
}

/// Offsets that are gone.
#[derive(Debug, Serialize)]
struct ShownOffsets {
    first: i64,
    last: i64,
    count: i64,
}

/// As JSON has it; `acknowledged`: all of it was just now.
pub(super) fn for_programs(all: &[Waits], acknowledged: bool) -> Vec<ShownWaits<'_>> {
    let shown = all.iter().map(ShownWaits::new);
    shown
        .map(|shown| ShownWaits {
            acknowledged: acknowledged || shown.acknowledged,
            ..shown
        })
        .collect()
}

impl<'a> ShownWaits<'a> {
    fn new(waits: &'a Waits) -> Self {
        let (offsets, outputs) = match &waits.missing {
            Missing::Offsets { from, to } => {
                let offsets = ShownOffsets {
                    first: *from,
                    last: to - 1,
                    count: to - from,
                };
                (Some(offsets), None)
            }
            Missing::Progress { outputs } => (None, Some(outputs)),
        };
        Self {
            hash: &waits.hash,
            input: &waits.place.input,
            partition: waits.place.partition,
            since: timestamp(waits.since_ms),
            acknowledged: waits.is_acknowledged,
            offsets,
            outputs,
        }
    }
}

/// Writes what waits, and how to go on.
pub(super) fn write_list(out: &mut impl Write, all: &[Waits]) -> io::Result<()> {
    if all.is_empty() {
        return writeln!(out, "nothing waits to be acknowledged");
    }
    let headings = aligned::headings(["HASH", "SINCE", "TASK", "ACKNOWLEDGED", "WHAT IS GONE"]);
    let rows = all.iter().map(|waits| {
        let acknowledged = if waits.is_acknowledged { "yes" } else { "no" };
        vec![
            Cell::whole(&waits.hash),
            Cell::whole(&timestamp(waits.since_ms)),
            Cell::whole(&task(waits)),
            Cell::whole(acknowledged),
            Cell::whole(&gone(waits)),
        ]
    });
    let rows: Vec<Vec<Cell>> = [headings].into_iter().chain(rows).collect();
    aligned::write(out, &rows)?;
    if all.iter().any(|waits| !waits.is_of_outputs()) {
        writeln!(
            out,
            "Events come back from nowhere, but their senders may have them. To go on without, run this again with --hash HASH: they count as lost."
        )?;
    }
    if all.iter().any(Waits::is_of_outputs) {
        writeln!(
            out,
            "Progress comes back with a backup of the database. To go on without, run this again with --hash HASH and --refill, with the tables empty, to write again what is still there; or with --as-it-is to write what comes from now on."
        )?;
    }
    Ok(())
}

/// Writes what was acknowledged, and what follows.
pub(super) fn write_acknowledged(
    out: &mut impl Write,
    chosen: &[Waits],
    refill: bool,
) -> io::Result<()> {
    for waits in chosen {
        let goes_on = match (&waits.missing, refill) {
            (Missing::Offsets { to, .. }, _) => format!("goes on at offset {to}"),
            (Missing::Progress { .. }, true) => "fills its outputs again".to_owned(),
            (Missing::Progress { .. }, false) => "goes on with its outputs as they are".to_owned(),
        };
        let (hash, task, gone) = (&waits.hash, task(waits), gone(waits));
        writeln!(out, "acknowledged {hash}: {task} {goes_on} ({gone})")?;
    }
    writeln!(
        out,
        "Workers that run go on within seconds, others once they are started."
    )
}

fn task(waits: &Waits) -> String {
    format!("{}/{}", waits.place.input, waits.place.partition)
}

fn gone(waits: &Waits) -> String {
    match &waits.missing {
        Missing::Offsets { from, to } => {
            let of = waits.generation.map_or("", |_| " of its partials");
            let count = to - from;
            let were = if count == 1 { "it was" } else { "they were" };
            format!(
                "offsets {from} to {}{of}, {count} in all: deleted before {were} read",
                to - 1
            )
        }
        Missing::Progress { outputs } => {
            let outputs: Vec<&str> = outputs.keys().map(String::as_str).collect();
            format!("the progress of {} in its Sink", outputs.join(", "))
        }
    }
}
