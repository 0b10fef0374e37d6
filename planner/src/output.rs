//! Outputs: the tables that rows go to.
use arrow::datatypes::Schema;

use crate::nearest::listed;
use crate::plan::{Column, ColumnType, Table, TableKind};
use crate::problem::{Code, Problem};
use crate::relation::{Facts, Windowed};
use crate::resource::{Path, Subject};
use crate::sql::types::column_type;
use crate::sql::windowed::WINDOW_START;

/// Columns that a sink adds to appended rows: their place in the log.
const ROW_COLUMNS: [&str; 4] = ["_generation", "_partition", "_offset", "_ordinal"];
/// Columns that a sink adds to rows of windows: what they cover, and how often they were amended.
const WINDOW_COLUMNS: [&str; 4] = ["_generation", "_partition", "_offset", "_revision"];

/// The table for rows of `from`.
pub(crate) fn table(
    from: &Facts,
    schema: &str,
    name: &str,
    subject: &Subject,
    path: &Path,
) -> Result<Table, Box<Problem>> {
    let refuse = |message: String, help: String| {
        Box::new(
            subject
                .error(path, Code::UnstorableOutput, message)
                .help(help),
        )
    };
    let kind = match &from.windowed {
        None => TableKind::Rows,
        Some(windowed) => {
            let key = key(from, windowed).map_err(|(message, help)| refuse(message, help))?;
            TableKind::Windows { key }
        }
    };
    let ours: &[&str] = if from.windowed.is_some() {
        &WINDOW_COLUMNS
    } else {
        &ROW_COLUMNS
    };
    let columns = columns(&from.schema, ours).map_err(|name| {
        let message = format!(
            "the column `{name}` of `{}` has a type or name that no table can store",
            from.name
        );
        refuse(message, "cast it to text, or leave it out".to_owned())
    })?;
    Ok(Table {
        schema: schema.to_owned(),
        name: name.to_owned(),
        columns,
        kind,
    })
}

/// The columns that tell rows of windows apart, `window_start` first; or what is wrong with them, and what to write instead.
fn key(from: &Facts, windowed: &Windowed) -> Result<Vec<String>, (String, String)> {
    let left_out = windowed.key.iter().filter(|column| column.index.is_none());
    let left_out: Vec<&str> = left_out.map(|column| column.name.as_str()).collect();
    if !left_out.is_empty() {
        let columns = listed(left_out.iter().copied());
        let (tells, was) = match left_out.len() {
            1 => ("which tells them apart", "was"),
            _ => ("which tell them apart", "were"),
        };
        return Err((
            format!(
                "the rows of `{}` cannot be stored: {columns}, {tells}, {was} left out on the way",
                from.name
            ),
            format!("add {columns} to the SELECT list of `{}`", from.name),
        ));
    }
    let indices = windowed.key.iter().filter_map(|column| column.index);
    let key: Vec<String> = indices
        .map(|index| from.schema.field(index).name().clone())
        .collect();
    if key.first().is_some_and(|name| name != WINDOW_START) {
        return Err((
            format!(
                "the rows of `{}` cannot be stored: `{WINDOW_START}` has another name there",
                from.name
            ),
            format!("select `{WINDOW_START}` under its own name"),
        ));
    }
    Ok(key)
}

fn columns(schema: &Schema, ours: &[&str]) -> Result<Vec<Column>, String> {
    let mut columns = Vec::with_capacity(schema.fields().len() + ours.len());
    for field in schema.fields() {
        let data_type = column_type(field).filter(|_| !ours.contains(&field.name().as_str()));
        let data_type = data_type.ok_or_else(|| field.name().clone())?;
        columns.push(Column {
            name: field.name().clone(),
            data_type,
            nullable: field.is_nullable(),
        });
    }
    columns.extend(ours.iter().map(|name| Column {
        name: (*name).to_owned(),
        data_type: ColumnType::Bigint,
        nullable: false,
    }));
    Ok(columns)
}
