//! The rows of a batch as every sink sees them: typed columns in the order of the table, and which rows cannot be stored.
use std::collections::BTreeMap;

use arrow::{
    array::{
        Array, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, RecordBatch,
        StringArray, TimestampMicrosecondArray,
    },
    datatypes::{DataType, TimeUnit},
};
use tidewheel_planner::plan::{ColumnType, Table};
use uuid::{Uuid, fmt::Hyphenated};

use crate::time;

/// A little less than the limit of both SQLite and PostgreSQL for a text or a row; the rest is for the row's other columns.
const TEXT_LIMIT_BYTES: usize = 900_000_000;

/// The rows of a batch.
pub(crate) struct Rows<'a> {
    columns: Vec<Values<'a>>,
    key: Vec<usize>,
    len: usize,
}

/// One column.
pub(crate) struct Values<'a> {
    name: &'a str,
    nullable: bool,
    /// Whether it is part of the key or one of our columns.
    identifies: bool,
    array: &'a dyn Array,
    typed: Typed<'a>,
}

/// The values of a column.
pub(crate) enum Typed<'a> {
    Text(&'a StringArray),
    Uuid(&'a StringArray),
    Json(&'a StringArray),
    Integer(&'a Int64Array),
    Double(&'a Float64Array),
    Boolean(&'a BooleanArray),
    Timestamp(&'a TimestampMicrosecondArray),
    Numeric(&'a Decimal128Array),
    Date(&'a Date32Array),
}

impl<'a> Rows<'a> {
    /// The rows of `batch`, whose columns must be those of `table`; says which is not.
    pub(crate) fn new(table: &'a Table, batch: &'a RecordBatch) -> Result<Self, String> {
        if batch.num_columns() != table.columns.len() {
            return Err(format!(
                "{} columns came where {} are planned",
                batch.num_columns(),
                table.columns.len()
            ));
        }
        let columns = table
            .columns
            .iter()
            .zip(batch.columns())
            .map(|(column, array)| {
                let typed = typed(column.data_type, array.as_ref()).ok_or_else(|| {
                    format!(
                        "column `{}` came as {} where {:?} is planned",
                        column.name,
                        array.data_type(),
                        column.data_type
                    )
                })?;
                Ok(Values {
                    name: &column.name,
                    nullable: column.nullable,
                    identifies: table.key().contains(&column.name)
                        || table
                            .kind
                            .position_columns()
                            .contains(&column.name.as_str()),
                    array: array.as_ref(),
                    typed,
                })
            });
        let columns = columns.collect::<Result<Vec<_>, String>>()?;
        let place = |name: &String| table.columns.iter().position(|column| column.name == *name);
        Ok(Self {
            columns,
            key: table.key().iter().filter_map(place).collect(),
            len: batch.num_rows(),
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The columns, in the order of the table.
    pub(crate) fn columns(&self) -> &[Values<'a>] {
        &self.columns
    }

    /// The columns that identify a row of windows; none for other rows.
    pub(crate) fn key(&self) -> impl Iterator<Item = &Values<'a>> {
        self.key.iter().map(|column| &self.columns[*column])
    }

    /// The rows that can be stored, as far as we can tell, and the others, with why they cannot.
    pub(crate) fn divided(&self) -> (Vec<usize>, Vec<(usize, String)>) {
        let mut refusals: BTreeMap<usize, String> = BTreeMap::new();
        for column in self.columns.iter().filter(|column| !column.is_sound()) {
            for row in 0..self.len {
                if let Some(reason) = column.refusal(row) {
                    refusals.entry(row).or_insert(reason);
                }
            }
        }
        let accepted = (0..self.len).filter(|row| !refusals.contains_key(row));
        (accepted.collect(), refusals.into_iter().collect())
    }

    /// The value of a column of ours; zero where it is none of the planned ones.
    pub(crate) fn position(&self, name: &str, row: usize) -> i64 {
        let column = self.columns.iter().find(|column| column.name == name);
        match column.map(|column| &column.typed) {
            Some(Typed::Integer(array)) => array.value(row),
            _ => 0,
        }
    }
}

fn typed(data_type: ColumnType, array: &dyn Array) -> Option<Typed<'_>> {
    let any = array.as_any();
    match (data_type, array.data_type()) {
        (ColumnType::Text, DataType::Utf8) => any.downcast_ref().map(Typed::Text),
        (ColumnType::Uuid, DataType::Utf8) => any.downcast_ref().map(Typed::Uuid),
        (ColumnType::Json, DataType::Utf8) => any.downcast_ref().map(Typed::Json),
        (ColumnType::Bigint, DataType::Int64) => any.downcast_ref().map(Typed::Integer),
        (ColumnType::Double, DataType::Float64) => any.downcast_ref().map(Typed::Double),
        (ColumnType::Boolean, DataType::Boolean) => any.downcast_ref().map(Typed::Boolean),
        (ColumnType::Timestamp, DataType::Timestamp(TimeUnit::Microsecond, _)) => {
            any.downcast_ref().map(Typed::Timestamp)
        }
        (ColumnType::Numeric { scale, .. }, DataType::Decimal128(_, actual))
            if scale == *actual =>
        {
            any.downcast_ref().map(Typed::Numeric)
        }
        (ColumnType::Date, DataType::Date32) => any.downcast_ref().map(Typed::Date),
        _ => None,
    }
}

impl<'a> Values<'a> {
    pub(crate) fn is_null(&self, row: usize) -> bool {
        self.array.is_null(row)
    }

    /// Whether it is part of the key or one of our columns.
    pub(crate) fn identifies(&self) -> bool {
        self.identifies
    }

    pub(crate) fn typed(&self) -> &Typed<'a> {
        &self.typed
    }

    /// Whether all values can be stored, as far as a look at the whole column tells; where not, some may not.
    fn is_sound(&self) -> bool {
        if !self.nullable && self.array.null_count() > 0 {
            return false;
        }
        match &self.typed {
            Typed::Text(array) => {
                let bytes = all_bytes(array);
                bytes.len() <= TEXT_LIMIT_BYTES && !bytes.contains(&0)
            }
            Typed::Json(array) => all_bytes(array).len() <= TEXT_LIMIT_BYTES,
            Typed::Uuid(array) => array.iter().flatten().all(|text| uuid(text).is_some()),
            Typed::Timestamp(array) => {
                let fit = |micros: &i64| time::timestamp_fits(*micros);
                array.values().iter().all(fit)
            }
            Typed::Date(array) => array.values().iter().all(|days| time::date_fits(*days)),
            Typed::Integer(_) | Typed::Double(_) | Typed::Boolean(_) | Typed::Numeric(_) => true,
        }
    }

    /// Why the value cannot be stored, if it cannot.
    pub(crate) fn refusal(&self, row: usize) -> Option<String> {
        if self.is_null(row) {
            return (!self.nullable)
                .then(|| format!("column `{}` is NULL where none is allowed", self.name));
        }
        let problem = match &self.typed {
            Typed::Text(array) if array.value(row).as_bytes().contains(&0) => {
                "holds the character U+0000, which text cannot"
            }
            Typed::Text(array) | Typed::Json(array)
                if array.value(row).len() > TEXT_LIMIT_BYTES =>
            {
                "is longer than 900 MB"
            }
            Typed::Uuid(array) if uuid(array.value(row)).is_none() => "is no uuid",
            Typed::Timestamp(array) if !time::timestamp_fits(array.value(row)) => {
                "lies outside of the years 1 to 9999"
            }
            Typed::Date(array) if !time::date_fits(array.value(row)) => {
                "lies outside of the years 1 to 9999"
            }
            _ => return None,
        };
        Some(format!("column `{}` {problem}", self.name))
    }
}

/// The bytes of all texts, one after the other.
fn all_bytes(array: &StringArray) -> &[u8] {
    let offsets = array.value_offsets();
    let (first, last) = (offsets.first(), offsets.last());
    let place = |offset: Option<&i32>| offset.map_or(0, |offset| *offset as usize);
    &array.value_data()[place(first)..place(last)]
}

/// The bytes of a uuid in its canonical form; none where the text is not in that form.
pub(crate) fn uuid(text: &str) -> Option<[u8; 16]> {
    // Other forms have other lengths.
    if text.len() != Hyphenated::LENGTH {
        return None;
    }
    let uuid = Uuid::try_parse_ascii(text.as_bytes()).ok()?;
    Some(uuid.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::uuid;

    #[test]
    fn uuids_are_read_in_their_canonical_form_only() {
        let bytes = uuid("958db779-c7c7-5840-9e58-7807b1216ff1").unwrap();
        assert_eq!((bytes[0], bytes[4], bytes[15]), (0x95, 0xc7, 0xf1));
        for text in [
            "",
            "958db779c7c758409e587807b1216ff1",
            "958db779-c7c7-5840-9e58-7807b1216ff",
            "958db779-c7c7-5840-9e58-7807b1216fg1",
            "958db779-c7c7-5840-9e58-7807b1216-f1",
            "{58db779-c7c7-5840-9e58-7807b1216ff1",
        ] {
            assert_eq!(uuid(text), None, "{text}");
        }
    }
}
