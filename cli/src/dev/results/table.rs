//! Tables for people.
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::ops::ControlFlow;

use serde_json::Value;
use tidewheel_planner::plan::TableKind;

use super::Shown;
use super::csv::text;
use super::dead_letters::DeadLetter;
use super::ledgers::{OutputLedger, StageLedger};
use crate::aligned::{self, Cell};
use crate::failure::Failure;

/// Rows that are shown unless asked otherwise: windows are what one came for, events are many.
const WINDOW_ROWS: usize = 200;
const EVENT_ROWS: usize = 5;
/// Values longer than this are cut, characters.
const CELL_CHARS: usize = 40;

pub(crate) async fn write(
    out: &mut impl Write,
    shown: &[Shown<'_>],
    ledgers: &[OutputLedger],
    dead_letters: &[DeadLetter],
    limit: Option<usize>,
) -> Result<(), Failure> {
    for output in shown {
        let limit = limit.unwrap_or(match output.output.kind() {
            TableKind::Windows { .. } => WINDOW_ROWS,
            TableKind::Rows => EVENT_ROWS,
        });
        write_output(out, output, limit).await?;
    }
    for ledger in ledgers {
        write_ledger(out, ledger)?;
    }
    write_dead_letters(out, dead_letters)?;
    Ok(())
}

/// The columns that a table shows: ours are left out.
pub(super) fn column_names(shown: &Shown<'_>) -> Vec<String> {
    let columns = shown
        .output
        .columns()
        .iter()
        .map(|column| column.name.clone());
    columns
        .filter(|name| !name.starts_with('_') || name == tidewheel_decode::EXTRA_COLUMN)
        .collect()
}

async fn write_output(
    out: &mut impl Write,
    shown: &Shown<'_>,
    limit: usize,
) -> Result<(), Failure> {
    let names = column_names(shown);
    let mut cells: Vec<Vec<Cell>> = vec![names.iter().map(|name| Cell::whole(name)).collect()];
    let count = shown.count().await?;
    let mut rows = 0;
    let reading = shown.visit(|row| {
        if rows == limit {
            return ControlFlow::Break(());
        }
        rows += 1;
        cells.push(row.values().map(cell).collect());
        ControlFlow::Continue(())
    });
    reading.await?;
    let plural = if count == 1 { "row" } else { "rows" };
    writeln!(
        out,
        "{} {}  ({count} {plural})",
        shown.pipeline(),
        shown.output.name
    )?;
    // A number's heading stands over its digits.
    for column in 0..names.len() {
        let is_number = cells
            .iter()
            .skip(1)
            .any(|row| row.get(column).is_some_and(|cell| cell.right));
        if let Some(heading) = cells[0].get_mut(column) {
            heading.right = is_number;
        }
    }
    aligned::write(out, &cells)?;
    let left = count.saturating_sub(rows as u64);
    if left > 0 {
        writeln!(
            out,
            "  ... and {left} more: -o json or -o csv prints every row, --rows COUNT more of them"
        )?;
    }
    Ok(writeln!(out)?)
}

fn cell(value: &Value) -> Cell {
    let cell = Cell::cut(&text(value), CELL_CHARS);
    if value.is_number() {
        cell.at_the_right()
    } else {
        cell
    }
}

fn write_ledger(out: &mut impl Write, ledger: &OutputLedger) -> io::Result<()> {
    let verdict = if ledger.balanced {
        "balances"
    } else {
        "DOES NOT BALANCE"
    };
    writeln!(
        out,
        "ledger of {} {}: {verdict}",
        ledger.pipeline, ledger.output
    )?;
    let (into, unit) = if ledger.stage2.is_some() {
        ("went into windows", "records")
    } else {
        ("written", "records")
    };
    write_stage(out, &ledger.stage1, unit, into)?;
    if let Some(stage2) = &ledger.stage2 {
        write_stage(out, stage2, "rows in windows", "written")?;
    }
    Ok(())
}

fn write_stage(
    out: &mut impl Write,
    stage: &StageLedger,
    unit: &str,
    into: &str,
) -> io::Result<()> {
    let mut fates = vec![format!("{} {into}", stage.written)];
    fates.extend(
        stage
            .filtered
            .iter()
            .map(|(step, count)| format!("{count} filtered by {step}")),
    );
    let plain = [
        (stage.tombstone, "tombstones"),
        (stage.duplicate, "duplicate"),
        (stage.late, "late and dropped"),
        (stage.earlier_generation, "of an earlier generation"),
        (stage.skipped, "sent again for others"),
        (stage.lost, "lost: deleted before they were read"),
    ];
    fates.extend(
        plain
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, fate)| format!("{count} {fate}")),
    );
    fates.extend(
        stage
            .dead_lettered
            .iter()
            .map(|(reason, count)| format!("{count} dead letters ({reason})")),
    );
    if stage.in_flight > 0 {
        fates.push(format!("{} in open windows", stage.in_flight));
    }
    writeln!(out, "  {} {unit} = {}", stage.read, fates.join(" + "))
}

fn write_dead_letters(out: &mut impl Write, letters: &[DeadLetter]) -> io::Result<()> {
    let mut by_reason: BTreeMap<(&str, &str), (usize, &DeadLetter)> = BTreeMap::new();
    for letter in letters {
        by_reason
            .entry((&letter.pipeline, &letter.letter.reason))
            .or_insert((0, letter))
            .0 += 1;
    }
    for ((pipeline, reason), (count, first)) in by_reason {
        let first = &first.letter;
        let place = format!("{}/{} at {}", first.input, first.partition, first.offset);
        writeln!(
            out,
            "dead letters of {pipeline}: {count} {reason}, the first from {place}: {}",
            first.message
        )?;
    }
    Ok(())
}
