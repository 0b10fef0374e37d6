//! Columns of text, one beneath the other.
use std::io::{self, Write};

/// One value.
pub(crate) struct Cell {
    text: String,
    /// Whether it stands at the right: a number.
    pub(crate) right: bool,
}

impl Cell {
    /// A text, in one line and cut to `chars`.
    pub(crate) fn cut(text: &str, chars: usize) -> Self {
        let mut cut: String = one_line(text).take(chars).collect();
        if text.chars().nth(chars).is_some() {
            cut.pop();
            cut.push('…');
        }
        Self {
            text: cut,
            right: false,
        }
    }

    /// A text, in one line.
    pub(crate) fn whole(text: &str) -> Self {
        Self::cut(text, usize::MAX)
    }

    /// The same, at the right.
    pub(crate) fn at_the_right(self) -> Self {
        Self {
            right: true,
            ..self
        }
    }
}

/// The characters of a text, in one line.
pub(crate) fn one_line(text: &str) -> impl Iterator<Item = char> {
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(printable)
}

/// Headings as a row.
pub(crate) fn headings<const COLUMNS: usize>(headings: [&str; COLUMNS]) -> Vec<Cell> {
    headings.map(Cell::whole).into()
}

/// Writes rows so that their columns stand beneath each other.
pub(crate) fn write(out: &mut impl Write, rows: &[Vec<Cell>]) -> io::Result<()> {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.text.chars().count())
            .max()
    };
    let widths: Vec<usize> = (0..columns)
        .map(|column| width(column).unwrap_or_default())
        .collect();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let padding = " ".repeat(width.saturating_sub(cell.text.chars().count()));
            line.push_str("  ");
            if cell.right {
                line.push_str(&padding);
            }
            line.push_str(&cell.text);
            if !cell.right {
                line.push_str(&padding);
            }
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}
