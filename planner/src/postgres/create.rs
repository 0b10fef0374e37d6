//! The statements that make the table of an output.
use super::partitions::{create_default, partition_key};
use super::{literal, qualified, quoted, type_name};
use crate::plan::{APPEND_TIME, Column, Table, TableKind};
use crate::sql::windowed::{WINDOW_END, WINDOW_START};

/// The statements that make a table with its comments; where its rows are kept for a time only, in [partitions](super::partitions), of
/// which it gets the one for what fits no other.
///
/// NOT NULL stands on our columns alone: the writer refuses NULLs where none are planned, and a column may be added to or left out
/// of a table that has rows.
#[must_use]
pub fn create_table(table: &Table) -> Vec<String> {
    let ours = table.kind.position_columns();
    let mut lines: Vec<String> = table
        .columns
        .iter()
        .map(|column| {
            let not_null = if ours.contains(&column.name.as_str()) {
                " NOT NULL"
            } else {
                ""
            };
            format!("{}{not_null}", definition(column))
        })
        .collect();
    if let TableKind::Windows { .. } = table.kind {
        let key: Vec<String> = table.key().iter().map(|name| quoted(name)).collect();
        lines.push(format!("UNIQUE NULLS NOT DISTINCT ({})", key.join(", ")));
    }
    let parted = match table.retention_ms {
        Some(_) => format!(" PARTITION BY {}", partition_key(table)),
        None => String::new(),
    };
    let mut statements = vec![format!(
        "CREATE TABLE {} (\n    {}\n){parted}",
        qualified(table),
        lines.join(",\n    ")
    )];
    if table.retention_ms.is_some() {
        statements.extend(create_default(table));
    }
    statements.extend(
        table
            .columns
            .iter()
            .filter_map(|column| column_comment(table, column)),
    );
    statements
}

/// The statement that adds a column to a table that has rows, where it is NULL.
#[must_use]
pub fn add_column(table: &Table, column: &Column) -> String {
    format!(
        "ALTER TABLE {} ADD COLUMN {}",
        qualified(table),
        definition(column)
    )
}

/// The statement that says what a table is.
#[must_use]
pub fn table_comment(table: &Table, pipeline: &str, output: &str) -> String {
    let what = match table.kind {
        TableKind::Rows => "Rows",
        TableKind::Windows { .. } => "Windows",
    };
    let comment = format!("{what} of output {output} of Tidewheel pipeline {pipeline}");
    format!(
        "COMMENT ON TABLE {} IS {}",
        qualified(table),
        literal(&comment)
    )
}

/// The statement that says what a column is, for those whose meaning is ours.
#[must_use]
pub fn column_comment(table: &Table, column: &Column) -> Option<String> {
    let windows = matches!(table.kind, TableKind::Windows { .. });
    let comment = match column.name.as_str() {
        "_generation" => "Version of the step that wrote the row: a changed step has a higher one",
        "_partition" => "Partition of the input that the row comes from",
        "_offset" if windows => {
            "Offset of the input up to which the row counts: a later row of the same window replaces it"
        }
        "_offset" => "Offset of the record that the row comes from",
        "_ordinal" => "Which of the rows of its record it is, from 0",
        APPEND_TIME => "When the record that the row comes from was accepted",
        "_revision" => "How often the window was amended, from 0",
        WINDOW_START if windows => "Start of the window",
        WINDOW_END if windows => "End of the window, which is not part of it",
        _ => return None,
    };
    Some(format!(
        "COMMENT ON COLUMN {}.{} IS {}",
        qualified(table),
        quoted(&column.name),
        literal(comment)
    ))
}

fn definition(column: &Column) -> String {
    format!("{} {}", quoted(&column.name), type_name(column.data_type))
}
