//! From rows to PostgreSQL's binary COPY.
//!
//! A stream is a signature, then for each row the number of its fields and for each field its length and its bytes, then a mark of the end.
use crate::rows::{Rows, Typed, Values, uuid};

use super::numeric;

const SIGNATURE: &[u8] = b"PGCOPY\n\xFF\r\n\0\0\0\0\0\0\0\0\0";
const END: [u8; 2] = (-1_i16).to_be_bytes();
const NULL: [u8; 4] = (-1_i32).to_be_bytes();
/// The version of `jsonb` on the wire.
const JSONB: u8 = 1;
/// PostgreSQL counts from 2000-01-01.
const EPOCH_DAYS: i32 = 10_957;
const EPOCH_MICROS: i64 = EPOCH_DAYS as i64 * 86_400_000_000;

/// Bytes for COPY, row by row.
pub(super) struct Encoder {
    bytes: Vec<u8>,
}

impl Encoder {
    pub(super) fn new() -> Self {
        Self {
            bytes: SIGNATURE.to_vec(),
        }
    }

    /// Appends a row of the table.
    pub(super) fn push(&mut self, rows: &Rows<'_>, row: usize) {
        self.fields(rows.columns().len());
        for column in rows.columns() {
            self.field(column, row);
        }
    }

    /// Appends a row of the staging table: to be upserted, or to be deleted, of which only key and position matter.
    pub(super) fn push_staged(&mut self, rows: &Rows<'_>, row: usize, delete: bool) {
        self.fields(rows.columns().len() + 1);
        for column in rows.columns() {
            if delete && !column.identifies() {
                self.bytes.extend(NULL);
            } else {
                self.field(column, row);
            }
        }
        self.sized(&[u8::from(delete)]);
    }

    /// What was encoded since it was last taken.
    pub(super) fn take(&mut self) -> Vec<u8> {
        // What follows is about as long.
        let room = Vec::with_capacity(self.bytes.len());
        std::mem::replace(&mut self.bytes, room)
    }

    /// How many bytes wait to be taken.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Appends the end, and returns what was not taken yet.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.bytes.extend(END);
        self.bytes
    }

    fn fields(&mut self, count: usize) {
        self.bytes.extend((count as i16).to_be_bytes());
    }

    fn field(&mut self, column: &Values<'_>, row: usize) {
        if column.is_null(row) {
            self.bytes.extend(NULL);
            return;
        }
        match column.typed() {
            Typed::Text(array) => self.sized(array.value(row).as_bytes()),
            Typed::Json(array) => {
                let text = array.value(row).as_bytes();
                self.length(text.len() + 1);
                self.bytes.push(JSONB);
                self.bytes.extend(text);
            }
            Typed::Uuid(array) => match uuid(array.value(row)) {
                Some(bytes) => self.sized(&bytes),
                None => self.bytes.extend(NULL),
            },
            Typed::Integer(array) => self.sized(&array.value(row).to_be_bytes()),
            Typed::Double(array) => self.sized(&array.value(row).to_be_bytes()),
            Typed::Boolean(array) => self.sized(&[u8::from(array.value(row))]),
            Typed::Timestamp(array) => match array.value(row).checked_sub(EPOCH_MICROS) {
                Some(micros) => self.sized(&micros.to_be_bytes()),
                None => self.bytes.extend(NULL),
            },
            Typed::Date(array) => match array.value(row).checked_sub(EPOCH_DAYS) {
                Some(days) => self.sized(&days.to_be_bytes()),
                None => self.bytes.extend(NULL),
            },
            Typed::Numeric(array) => {
                let at = self.bytes.len();
                self.bytes.extend(NULL);
                numeric::encode(array.value(row), array.scale(), &mut self.bytes);
                let len = (self.bytes.len() - at - NULL.len()) as i32;
                self.bytes[at..at + NULL.len()].copy_from_slice(&len.to_be_bytes());
            }
        }
    }

    fn sized(&mut self, value: &[u8]) {
        self.length(value.len());
        self.bytes.extend(value);
    }

    fn length(&mut self, bytes: usize) {
        self.bytes.extend((bytes as i32).to_be_bytes());
    }
}
