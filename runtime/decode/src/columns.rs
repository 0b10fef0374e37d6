//! Rows appended to Arrow builders.
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Float64Builder, Int64Builder, RecordBatch, RecordBatchOptions,
    StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, SchemaRef};

use crate::row::{Row, Slot};
use crate::schema::UTC;

/// A batch reserves what the one before needed, but no more rows than this.
const MAX_RESERVED_ROWS: usize = 64 * 1024;
/// And no more text per column than this.
const MAX_RESERVED_BYTES: usize = 8 * 1024 * 1024;

#[derive(Debug)]
enum Builder {
    Text(StringBuilder),
    Bigint(Int64Builder),
    Double(Float64Builder),
    Boolean(BooleanBuilder),
    Timestamp(TimestampMicrosecondBuilder),
}

/// The columns of the batch that is being made.
#[derive(Debug)]
pub(crate) struct Columns {
    schema: SchemaRef,
    /// The declared columns, then `_extra` where it is kept.
    builders: Vec<Builder>,
    rows: usize,
}

impl Columns {
    pub(crate) fn new(schema: SchemaRef) -> Self {
        let builders = schema
            .fields()
            .iter()
            .map(|field| Builder::new(field.data_type(), 0, 0))
            .collect();
        Self {
            schema,
            builders,
            rows: 0,
        }
    }

    /// Appends the row read from `event`.
    #[inline]
    pub(crate) fn append(&mut self, event: &str, row: &Row) {
        let (declared, extra) = self.builders.split_at_mut(row.slots.len());
        for (builder, slot) in declared.iter_mut().zip(&row.slots) {
            match (builder, *slot) {
                (Builder::Text(builder), Slot::Text(text)) => {
                    builder.append_value(row.resolve(event, text));
                }
                (Builder::Bigint(builder), Slot::Whole(value)) => builder.append_value(value),
                (Builder::Double(builder), Slot::Double(value)) => builder.append_value(value),
                (Builder::Boolean(builder), Slot::Boolean(value)) => builder.append_value(value),
                (Builder::Timestamp(builder), Slot::Whole(value)) => builder.append_value(value),
                (builder, _) => builder.append_null(),
            }
        }
        if let [Builder::Text(extra)] = extra {
            if row.extra.is_empty() {
                extra.append_null();
            } else {
                extra.append_value(&row.extra);
            }
        }
        self.rows += 1;
    }

    /// The batch; the columns begin anew.
    #[allow(
        clippy::expect_used,
        reason = "every builder was made from the schema and got one value per row, no null where it is required"
    )]
    pub(crate) fn finish(&mut self) -> RecordBatch {
        let rows = std::mem::take(&mut self.rows);
        let reserved_rows = rows.min(MAX_RESERVED_ROWS);
        let arrays = self
            .builders
            .iter_mut()
            .zip(self.schema.fields())
            .map(|(builder, field)| {
                let reserved_bytes = builder.text_bytes().min(MAX_RESERVED_BYTES);
                let next = Builder::new(field.data_type(), reserved_rows, reserved_bytes);
                std::mem::replace(builder, next).finish()
            })
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options)
            .expect("columns as the schema says")
    }
}

impl Builder {
    fn new(data_type: &DataType, rows: usize, text_bytes: usize) -> Self {
        match data_type {
            DataType::Int64 => Self::Bigint(Int64Builder::with_capacity(rows)),
            DataType::Float64 => Self::Double(Float64Builder::with_capacity(rows)),
            DataType::Boolean => Self::Boolean(BooleanBuilder::with_capacity(rows)),
            DataType::Timestamp(..) => {
                Self::Timestamp(TimestampMicrosecondBuilder::with_capacity(rows).with_timezone(UTC))
            }
            _ => Self::Text(StringBuilder::with_capacity(rows, text_bytes)),
        }
    }

    fn text_bytes(&self) -> usize {
        match self {
            Self::Text(builder) => builder.values_slice().len(),
            _ => 0,
        }
    }

    #[inline]
    fn append_null(&mut self) {
        match self {
            Self::Text(builder) => builder.append_null(),
            Self::Bigint(builder) => builder.append_null(),
            Self::Double(builder) => builder.append_null(),
            Self::Boolean(builder) => builder.append_null(),
            Self::Timestamp(builder) => builder.append_null(),
        }
    }

    fn finish(mut self) -> ArrayRef {
        match &mut self {
            Self::Text(builder) => Arc::new(builder.finish()),
            Self::Bigint(builder) => Arc::new(builder.finish()),
            Self::Double(builder) => Arc::new(builder.finish()),
            Self::Boolean(builder) => Arc::new(builder.finish()),
            Self::Timestamp(builder) => Arc::new(builder.finish()),
        }
    }
}
