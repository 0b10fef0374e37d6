//! CSV (RFC 4180, with plain line ends): a block for each output.
use std::borrow::Cow;
use std::io::{self, Write};

use serde_json::Value;

use super::Shown;
use crate::failure::Failure;

/// Writes every row. With several outputs, a line `# pipeline output` stands before each, and an empty one between them.
pub(crate) async fn write(out: &mut impl Write, shown: &[Shown<'_>]) -> Result<(), Failure> {
    for (index, output) in shown.iter().enumerate() {
        if index > 0 {
            writeln!(out)?;
        }
        if shown.len() > 1 {
            writeln!(out, "# {} {}", output.pipeline(), output.output.name)?;
        }
        let names = super::table::column_names(output);
        line(out, names.iter().map(|name| Cow::Borrowed(name.as_str())))?;
        output
            .for_each_row(|row| line(out, row.values().map(text)))
            .await?;
    }
    Ok(())
}

/// A value as text; NULL is the empty text.
pub(super) fn text(value: &Value) -> Cow<'_, str> {
    match value {
        Value::Null => Cow::Borrowed(""),
        Value::String(text) => Cow::Borrowed(text),
        other => Cow::Owned(other.to_string()),
    }
}

fn line<'a>(out: &mut impl Write, values: impl Iterator<Item = Cow<'a, str>>) -> io::Result<()> {
    for (index, value) in values.enumerate() {
        if index > 0 {
            out.write_all(b",")?;
        }
        if value.contains(['"', ',', '\n', '\r']) {
            write!(out, "\"{}\"", value.replace('"', "\"\""))?;
        } else {
            out.write_all(value.as_bytes())?;
        }
    }
    out.write_all(b"\n")
}
