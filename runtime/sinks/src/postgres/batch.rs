//! A change as a table takes it: which rows go in, which keys go out, and what is refused before anybody is asked.
use std::collections::BTreeSet;

use arrow::array::RecordBatch;
use tidewheel_planner::plan::{Table, TableKind};

use super::encode::Encoder;
use crate::{Change, rows::Rows};

/// About what is sent at a time.
const PIECE_BYTES: usize = 1 << 18;

/// A change.
pub(super) struct Batch<'a> {
    /// Appended, or upserted.
    rows: Option<Rows<'a>>,
    /// Windows to delete.
    deletes: Option<Rows<'a>>,
    windows: bool,
    /// Rows that can be stored as far as we can tell.
    pub(super) accepted: Vec<usize>,
    /// The others, and why.
    pub(super) refused: Vec<(usize, String)>,
}

/// A row of a window that is to be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gone {
    /// One of the change's deletes.
    Deleted(usize),
    /// One of the rows that would have replaced it, which was refused.
    Refused(usize),
}

impl<'a> Batch<'a> {
    /// Says what is not as planned.
    pub(super) fn new(table: &'a Table, change: &'a Change) -> Result<Self, String> {
        let windows = matches!(table.kind, TableKind::Windows { .. });
        let (rows, deletes) = match (change, windows) {
            (Change::Nothing, _) => (None, None),
            (Change::Append(batch), false) => (read(table, batch)?, None),
            (Change::Windows { upserts, deletes }, true) => {
                (read(table, upserts)?, read(table, deletes)?)
            }
            (Change::Append(_), true) => {
                return Err("rows came for a table of windows".to_owned());
            }
            (Change::Windows { .. }, false) => {
                return Err("windows came for a table of rows".to_owned());
            }
        };
        let mut batch = Self {
            rows,
            deletes,
            windows,
            accepted: Vec::new(),
            refused: Vec::new(),
        };
        if let Some(rows) = &batch.rows {
            (batch.accepted, batch.refused) = rows.divided();
        }
        Ok(batch)
    }

    /// What has to go besides what is put in: what the change says, and what the table has of the keys of refused rows.
    pub(super) fn gone(&self, refused: &[(usize, String)]) -> Vec<Gone> {
        if !self.windows {
            return Vec::new();
        }
        let deleted = 0..self.deletes.as_ref().map_or(0, Rows::len);
        let deleted = deleted.map(Gone::Deleted);
        let refused = refused.iter().map(|(row, _)| Gone::Refused(*row));
        // A key that cannot be stored is not there.
        deleted
            .chain(refused)
            .filter(|gone| {
                self.at(*gone).is_some_and(|(rows, row)| {
                    let mut key = rows.key();
                    key.all(|column| column.is_null(row) || column.refusal(row).is_none())
                })
            })
            .collect()
    }

    /// Which key columns are NULL, for each combination that occurs.
    pub(super) fn null_patterns(&self, gone: &[Gone]) -> Vec<Vec<bool>> {
        let patterns: BTreeSet<Vec<bool>> = gone
            .iter()
            .filter_map(|gone| self.at(*gone))
            .map(|(rows, row)| rows.key().map(|column| column.is_null(row)).collect())
            .collect();
        patterns.into_iter().collect()
    }

    /// The COPY of rows that go in and of keys that go out, in pieces.
    pub(super) fn pieces<'b>(
        &'b self,
        rows: &'b [usize],
        gone: &'b [Gone],
    ) -> impl Iterator<Item = Vec<u8>> + Send + use<'a, 'b> {
        let rows = rows.iter().map(|row| Item::Row(*row));
        let items = rows.chain(gone.iter().map(|gone| Item::Gone(*gone)));
        Pieces {
            batch: self,
            items,
            encoder: Some(Encoder::new()),
        }
    }

    fn at(&self, gone: Gone) -> Option<(&Rows<'a>, usize)> {
        match gone {
            Gone::Deleted(row) => Some((self.deletes.as_ref()?, row)),
            Gone::Refused(row) => Some((self.rows.as_ref()?, row)),
        }
    }

    fn encode(&self, item: Item, encoder: &mut Encoder) {
        match item {
            Item::Row(row) => match &self.rows {
                Some(rows) if self.windows => encoder.push_staged(rows, row, false),
                Some(rows) => encoder.push(rows, row),
                None => {}
            },
            Item::Gone(gone) => {
                if let Some((rows, row)) = self.at(gone) {
                    encoder.push_staged(rows, row, true);
                }
            }
        }
    }
}

fn read<'a>(table: &'a Table, batch: &'a RecordBatch) -> Result<Option<Rows<'a>>, String> {
    Rows::new(table, batch).map(Some)
}

/// What one row of a COPY is.
#[derive(Clone, Copy)]
enum Item {
    Row(usize),
    Gone(Gone),
}

struct Pieces<'a, 'b, I> {
    batch: &'b Batch<'a>,
    items: I,
    /// None after the end.
    encoder: Option<Encoder>,
}

impl<I: Iterator<Item = Item>> Iterator for Pieces<'_, '_, I> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let encoder = self.encoder.as_mut()?;
        for item in self.items.by_ref() {
            self.batch.encode(item, encoder);
            if encoder.len() >= PIECE_BYTES {
                return Some(encoder.take());
            }
        }
        self.encoder.take().map(Encoder::finish)
    }
}
