//! From Arrow columns to SQLite values.
use arrow::{
    array::{
        Array, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, RecordBatch,
        StringArray, TimestampMicrosecondArray,
    },
    datatypes::{DataType, TimeUnit},
};
use sqlx::{Arguments as _, error::BoxDynError, sqlite::SqliteArguments};
use tidewheel_planner::plan::{ColumnType, Table, TableKind};

use super::{key::KeyBytes, time};

/// SQLite's limit for a string or a row, less what the row's other columns may take.
const TEXT_LIMIT_BYTES: usize = 900_000_000;

/// The rows of a batch, ready to be bound.
pub(super) struct Rows<'a> {
    columns: Vec<Values<'a>>,
    key: Vec<usize>,
    len: usize,
}

/// One column.
struct Values<'a> {
    name: &'a str,
    nullable: bool,
    array: &'a dyn Array,
    typed: Typed<'a>,
}

enum Typed<'a> {
    Text(&'a StringArray),
    Integer(&'a Int64Array),
    Double(&'a Float64Array),
    Boolean(&'a BooleanArray),
    Timestamp(&'a TimestampMicrosecondArray),
    Numeric(&'a Decimal128Array),
    Date(&'a Date32Array),
}

impl<'a> Rows<'a> {
    /// The rows of `batch`, whose columns must be those of `table`; says which is not.
    pub(super) fn new(table: &'a Table, batch: &'a RecordBatch) -> Result<Self, String> {
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
                    array: array.as_ref(),
                    typed,
                })
            });
        let columns = columns.collect::<Result<Vec<_>, String>>()?;
        let key = match &table.kind {
            TableKind::Rows => Vec::new(),
            TableKind::Windows { key } => {
                let places = key.iter().filter_map(|name| {
                    table.columns.iter().position(|column| column.name == *name)
                });
                places.collect()
            }
        };
        Ok(Self {
            columns,
            key,
            len: batch.num_rows(),
        })
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Why the row cannot be stored, if it cannot.
    pub(super) fn refusal(&self, row: usize) -> Option<String> {
        self.columns.iter().find_map(|column| column.refusal(row))
    }

    /// Adds the values of a row, in the order of the columns.
    pub(super) fn bind(
        &self,
        row: usize,
        arguments: &mut SqliteArguments,
    ) -> Result<(), BoxDynError> {
        self.columns
            .iter()
            .try_for_each(|column| column.bind(row, arguments))
    }

    /// The `_key` of a row.
    pub(super) fn key(&self, row: usize) -> Vec<u8> {
        let mut key = KeyBytes::default();
        for column in &self.key {
            self.columns[*column].push_key(row, &mut key);
        }
        key.into_bytes()
    }

    /// The value of a column of ours; zero where it is none of the planned ones.
    pub(super) fn position(&self, name: &str, row: usize) -> i64 {
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
        (ColumnType::Text | ColumnType::Uuid | ColumnType::Json, DataType::Utf8) => {
            any.downcast_ref().map(Typed::Text)
        }
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

impl Values<'_> {
    fn refusal(&self, row: usize) -> Option<String> {
        if self.array.is_null(row) {
            return (!self.nullable)
                .then(|| format!("column `{}` is NULL where none is allowed", self.name));
        }
        let problem = match &self.typed {
            Typed::Text(array) if array.value(row).as_bytes().contains(&0) => {
                "holds the character U+0000, which text cannot"
            }
            Typed::Text(array) if array.value(row).len() > TEXT_LIMIT_BYTES => {
                "is longer than 900 MB"
            }
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

    fn bind(&self, row: usize, arguments: &mut SqliteArguments) -> Result<(), BoxDynError> {
        if self.array.is_null(row) {
            return arguments.add(None::<i64>);
        }
        match &self.typed {
            Typed::Text(array) => arguments.add(array.value(row)),
            Typed::Integer(array) => arguments.add(array.value(row)),
            Typed::Double(array) => arguments.add(array.value(row)),
            Typed::Boolean(array) => arguments.add(array.value(row)),
            Typed::Timestamp(array) => arguments.add(time::timestamp_text(array.value(row))),
            Typed::Numeric(array) => arguments.add(array.value_as_string(row)),
            Typed::Date(array) => arguments.add(time::date_text(array.value(row))),
        }
    }

    fn push_key(&self, row: usize, key: &mut KeyBytes) {
        if self.array.is_null(row) {
            return key.push_null();
        }
        match &self.typed {
            Typed::Text(array) => key.push_text(array.value(row)),
            Typed::Integer(array) => key.push_integer(array.value(row)),
            Typed::Double(array) => key.push_double(array.value(row)),
            Typed::Boolean(array) => key.push_boolean(array.value(row)),
            Typed::Timestamp(array) => key.push_integer(array.value(row)),
            Typed::Numeric(array) => key.push_decimal(array.value(row)),
            Typed::Date(array) => key.push_integer(i64::from(array.value(row))),
        }
    }
}
