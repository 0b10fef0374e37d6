//! Evaluates row-wise programs over micro-batches and isolates the records that cannot be evaluated.
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, OffsetSizeTrait, RecordBatch, UInt32Array,
};
use arrow::compute::{concat, filter_record_batch, take, take_record_batch};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion_common::DataFusionError;
use tidewheel_planner::plan::{RowNode, RowProgram};

/// Rows of a relation within a micro-batch; each knows which record of the micro-batch it came from.
#[derive(Debug, Clone)]
pub(crate) struct Rows {
    pub(crate) batch: RecordBatch,
    /// For each row, the index of its record within the micro-batch.
    pub(crate) records: Vec<u32>,
}

impl Rows {
    pub(crate) fn empty(schema: SchemaRef) -> Self {
        Self {
            batch: RecordBatch::new_empty(schema),
            records: Vec::new(),
        }
    }

    /// The rows at `indices`, in that order.
    pub(crate) fn take(&self, indices: &UInt32Array) -> Result<Self, DataFusionError> {
        Ok(Self {
            batch: take_record_batch(&self.batch, indices)?,
            records: indices
                .values()
                .iter()
                .map(|&row| self.records[row as usize])
                .collect(),
        })
    }
}

/// A record that an expression failed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Index of the record within the micro-batch.
    pub(crate) record: u32,
    /// Why, for people.
    pub(crate) reason: String,
}

/// Runs `program` over `inputs` (none: that input has no rows here). Records whose evaluation fails are found by bisection
/// and reported; the others are evaluated as if those had never been there.
pub(crate) fn evaluate(program: &RowProgram, inputs: &[Option<&Rows>]) -> (Rows, Vec<Failure>) {
    if let Ok(rows) = run_program(program, inputs) {
        return (rows, Vec::new());
    }
    let mut records: Vec<u32> = inputs
        .iter()
        .flatten()
        .flat_map(|rows| rows.records.iter().copied())
        .collect();
    records.sort_unstable();
    records.dedup();
    let mut parts = Vec::new();
    let mut failures = Vec::new();
    bisect(program, inputs, &records, &mut parts, &mut failures);
    match append(parts, &program.schema) {
        Ok(rows) => (rows, failures),
        Err(error) => {
            let failed = |&record: &u32| Failure {
                record,
                reason: reason(&error),
            };
            (
                Rows::empty(program.schema.clone()),
                records.iter().map(failed).collect(),
            )
        }
    }
}

/// Halves `records` (ascending) until what fails is one record. All rows of a record, of whichever input, share its fate, and
/// come out in the order in which they would without any failure.
fn bisect(
    program: &RowProgram,
    inputs: &[Option<&Rows>],
    records: &[u32],
    good: &mut Vec<Rows>,
    failures: &mut Vec<Failure>,
) {
    let (Some(&first), Some(&last)) = (records.first(), records.last()) else {
        return;
    };
    let within = |rows: &Rows| -> Result<Rows, DataFusionError> {
        let indices = (0..rows.records.len() as u32)
            .filter(|&row| (first..=last).contains(&rows.records[row as usize]));
        rows.take(&UInt32Array::from_iter_values(indices))
    };
    let part = inputs
        .iter()
        .map(|input| input.map(within).transpose())
        .collect::<Result<Vec<_>, _>>();
    let outcome = part.and_then(|part| {
        run_program(
            program,
            &part.iter().map(Option::as_ref).collect::<Vec<_>>(),
        )
    });
    match outcome {
        Ok(rows) => good.push(rows),
        Err(error) if records.len() == 1 => failures.push(Failure {
            record: first,
            reason: reason(&error),
        }),
        Err(_) => {
            let (left, right) = records.split_at(records.len() / 2);
            bisect(program, inputs, left, good, failures);
            bisect(program, inputs, right, good, failures);
        }
    }
}

/// What went wrong, in one short line.
pub(crate) fn reason(error: &DataFusionError) -> String {
    let text = error.strip_backtrace();
    let line = text.lines().next().unwrap_or_default();
    let line = line.strip_prefix("Arrow error: ").unwrap_or(line);
    line.chars().take(300).collect()
}

fn run_program(program: &RowProgram, inputs: &[Option<&Rows>]) -> Result<Rows, DataFusionError> {
    let rows = run(&program.root, inputs)?;
    rows.map_or_else(
        || Ok(Rows::empty(program.schema.clone())),
        |rows| with_schema(rows, &program.schema),
    )
}

/// None stands for no rows.
fn run(node: &RowNode, inputs: &[Option<&Rows>]) -> Result<Option<Rows>, DataFusionError> {
    match node {
        RowNode::Input(index) => Ok(inputs[*index]
            .filter(|rows| !rows.records.is_empty())
            .cloned()),
        RowNode::Empty(_) => Ok(None),
        RowNode::Project {
            input,
            exprs,
            schema,
        } => {
            let Some(rows) = run(input, inputs)? else {
                return Ok(None);
            };
            let columns = exprs
                .iter()
                .map(|expr| expr.evaluate(&rows.batch)?.into_array(rows.records.len()))
                .collect::<Result<Vec<_>, _>>()?;
            Ok(Some(Rows {
                batch: RecordBatch::try_new(schema.clone(), columns)?,
                records: rows.records,
            }))
        }
        RowNode::Filter { input, predicate } => {
            let Some(rows) = run(input, inputs)? else {
                return Ok(None);
            };
            let mask = predicate
                .evaluate(&rows.batch)?
                .into_array(rows.records.len())?;
            filter(rows, mask.as_boolean()).map(Some)
        }
        RowNode::Union {
            inputs: branches,
            schema,
        } => {
            let mut parts = Vec::with_capacity(branches.len());
            for branch in branches {
                parts.extend(run(branch, inputs)?);
            }
            append(parts, schema).map(|rows| Some(rows).filter(|rows| !rows.records.is_empty()))
        }
        RowNode::Unnest {
            input,
            column,
            schema,
        } => {
            let Some(rows) = run(input, inputs)? else {
                return Ok(None);
            };
            unnest(&rows, *column, schema).map(Some)
        }
    }
}

fn filter(rows: Rows, mask: &BooleanArray) -> Result<Rows, DataFusionError> {
    let kept = |row: usize| mask.is_valid(row) && mask.value(row);
    if (0..mask.len()).all(kept) {
        return Ok(rows);
    }
    let records = rows
        .records
        .iter()
        .enumerate()
        .filter(|(row, _)| kept(*row))
        .map(|(_, &record)| record)
        .collect();
    Ok(Rows {
        batch: filter_record_batch(&rows.batch, mask)?,
        records,
    })
}

fn append(parts: Vec<Rows>, schema: &SchemaRef) -> Result<Rows, DataFusionError> {
    let mut parts: Vec<Rows> = parts
        .into_iter()
        .filter(|rows| !rows.records.is_empty())
        .collect();
    if parts.len() == 1 {
        return with_schema(parts.remove(0), schema);
    }
    if parts.is_empty() {
        return Ok(Rows::empty(schema.clone()));
    }
    let columns = (0..schema.fields().len())
        .map(|column| {
            let arrays: Vec<&dyn Array> = parts
                .iter()
                .map(|rows| rows.batch.column(column).as_ref())
                .collect();
            concat(&arrays)
        })
        .collect::<Result<Vec<ArrayRef>, _>>()?;
    Ok(Rows {
        batch: RecordBatch::try_new(schema.clone(), columns)?,
        records: parts
            .iter()
            .flat_map(|rows| rows.records.iter().copied())
            .collect(),
    })
}

/// The same columns under the names (and the nullability) of `schema`.
fn with_schema(rows: Rows, schema: &SchemaRef) -> Result<Rows, DataFusionError> {
    if rows.batch.schema_ref() == schema {
        return Ok(rows);
    }
    Ok(Rows {
        batch: RecordBatch::try_new(schema.clone(), rows.batch.columns().to_vec())?,
        records: rows.records,
    })
}

fn unnest(rows: &Rows, column: usize, schema: &SchemaRef) -> Result<Rows, DataFusionError> {
    let list = rows.batch.column(column);
    let (parents, elements) = match list.data_type() {
        DataType::List(_) => list_elements::<i32>(list)?,
        DataType::LargeList(_) => list_elements::<i64>(list)?,
        other => {
            return Err(DataFusionError::Execution(format!(
                "unnest of {other}, which is no list"
            )));
        }
    };
    let columns = rows
        .batch
        .columns()
        .iter()
        .enumerate()
        .map(|(index, array)| {
            if index == column {
                Ok(elements.clone())
            } else {
                take(array, &parents, None)
            }
        })
        .collect::<Result<Vec<_>, _>>()?;
    let records = parents
        .values()
        .iter()
        .map(|&row| rows.records[row as usize])
        .collect();
    Ok(Rows {
        batch: RecordBatch::try_new(schema.clone(), columns)?,
        records,
    })
}

/// For every element of a list column, the row that it stands in, and the elements.
fn list_elements<O: OffsetSizeTrait>(
    list: &ArrayRef,
) -> Result<(UInt32Array, ArrayRef), DataFusionError> {
    let list = list.as_list::<O>();
    let mut parents = Vec::new();
    let mut positions = Vec::new();
    for row in (0..list.len()).filter(|&row| list.is_valid(row)) {
        let (from, to) = (
            list.value_offsets()[row].as_usize(),
            list.value_offsets()[row + 1].as_usize(),
        );
        parents.extend(std::iter::repeat_n(row as u32, to - from));
        positions.extend(from as u32..to as u32);
    }
    let elements = take(list.values(), &UInt32Array::from(positions), None)?;
    Ok((UInt32Array::from(parents), elements))
}
