//! One JSON document, written as it is read: memory does not grow with the tables.
use std::io::{self, Write};

use serde::Serialize;
use tidewheel_log::Log;

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
            Ok(serde_json::to_writer(&mut *out, &row)?)
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

fn item(out: &mut impl Write, index: usize, value: &impl Serialize) -> io::Result<()> {
    out.write_all(if index > 0 { b",\n " } else { b"\n " })?;
    Ok(serde_json::to_writer(out, value)?)
}

fn json(value: &impl Serialize) -> io::Result<String> {
    Ok(serde_json::to_string(value)?)
}
