//! How tools print what they have found.
use std::io::{self, Write};

use clap::ValueEnum;
use serde::Serialize;

/// How something is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Table,
    /// One document on stdout
    Json,
}

/// Writes a document for programs.
pub(crate) fn write_json(out: &mut impl Write, document: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, document)?;
    writeln!(out)
}
