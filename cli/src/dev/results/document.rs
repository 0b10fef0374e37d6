//! One JSON document, written as it is read: memory does not grow with the tables.
use std::io::{self, Write};

use serde::Serialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use tidewheel_log::Log;
use tidewheel_planner::plan::{Column, ColumnType};
use tidewheel_sinks::embedded::Row;

use super::Shown;
use super::dead_letters::DeadLetter;
use super::ledgers::OutputLedger;
use crate::failure::Failure;

pub(crate) async fn write(
    out: &mut impl Write,
    log: &dyn Log,
    shown: &[Shown<'_>],
    ledgers: &[OutputLedger],
    dead_letters: &[DeadLetter],
) -> Result<(), Failure> {
    write!(out, "{{\"outputs\":[")?;
    for (index, shown) in shown.iter().enumerate() {
        let comma = if index > 0 { "," } else { "" };
        write!(
            out,
            "{comma}\n {{\"pipeline\":{},\"output\":{},\"rows\":[",
            json(&shown.pipeline())?,
            json(&shown.output.name)?
        )?;
        let mut separator = "\n  ";
        let writing = shown.for_each_row(|row| {
            out.write_all(separator.as_bytes())?;
            separator = ",\n  ";
            write_row(&mut *out, shown.output.columns(), &row)
        });
        writing.await?;
        write!(out, "]}}")?;
    }
    write!(out, "],\n\"ledgers\":[")?;
    for (index, ledger) in ledgers.iter().enumerate() {
        item(out, index, ledger)?;
    }
    write!(out, "],\n\"deadLetters\":[")?;
    for (index, letter) in dead_letters.iter().enumerate() {
        item(out, index, &letter.shown(log).await?)?;
    }
    writeln!(out, "]}}")?;
    Ok(())
}

/// A row as one object. What columns of JSON hold is written as it was kept: reading numbers and members would change them.
fn write_row(out: &mut impl Write, columns: &[Column], row: &Row) -> io::Result<()> {
    out.write_all(b"{")?;
    for (index, (name, value)) in row.iter().enumerate() {
        if index > 0 {
            out.write_all(b",")?;
        }
        serde_json::to_writer(&mut *out, name)?;
        out.write_all(b":")?;
        match value {
            Value::String(text) if is_json(columns, name) && is_valid(text) => {
                out.write_all(text.as_bytes())?;
            }
            other => serde_json::to_writer(&mut *out, other)?,
        }
    }
    out.write_all(b"}")
}

fn is_json(columns: &[Column], name: &str) -> bool {
    let mut columns = columns.iter();
    columns.any(|column| column.name == name && column.data_type == ColumnType::Json)
}

/// Whether it is JSON still: others can write to the table or topic too.
fn is_valid(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

fn item(out: &mut impl Write, index: usize, value: &impl Serialize) -> io::Result<()> {
    out.write_all(if index > 0 { b",\n " } else { b"\n " })?;
    Ok(serde_json::to_writer(out, value)?)
}

fn json(value: &impl Serialize) -> io::Result<String> {
    Ok(serde_json::to_string(value)?)
}
