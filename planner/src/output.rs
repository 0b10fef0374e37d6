//! Outputs: the tables and topics that rows go to.
use arrow::datatypes::Schema;
use tidewheel_crds::pipeline::{self as crds, KafkaOutput, PostgresOutput};

use crate::explain::duration;
use crate::nearest::{listed, suggestion};
use crate::plan::{
    APPEND_TIME, Column, ColumnType, HeaderColumn, Table, TableKind, Topic, TopicCleanup,
};
use crate::problem::{Code, Problem};
use crate::relation::{Facts, Windowed};
use crate::resource::{Path, Subject, member};
use crate::sql::types::column_type;
use crate::sql::windowed::WINDOW_START;

/// The table for rows of `from`, `name` unless the output says another. `path` is where the output is, `final_ms` how long after its
/// start a window may still change.
pub(crate) fn table(
    from: &Facts,
    final_ms: u64,
    schema: &str,
    (name, spec): (&str, &PostgresOutput),
    subject: &Subject,
    path: &Path,
) -> Result<Table, Box<Problem>> {
    let place = |more: Path| path.iter().cloned().chain(more).collect::<Path>();
    let (kind, mut columns) = rows(from, "table", subject, &place(member!["from"]))?;
    let retention_ms = spec.retention.map(|retention| retention.as_millis());
    if let Some(ms) = retention_ms.filter(|ms| *ms < final_ms) {
        let path = place(member!["postgres", "retention"]);
        return Err(short_retention(from, ms, final_ms, subject, &path));
    }
    let bigint = |name: &&str| Column {
        name: (*name).to_owned(),
        data_type: ColumnType::Bigint,
        nullable: false,
    };
    columns.extend(kind.position_columns().iter().map(bigint));
    if matches!(kind, TableKind::Rows) && retention_ms.is_some() {
        columns.push(Column {
            name: APPEND_TIME.to_owned(),
            data_type: ColumnType::Timestamp,
            // In rows of a time when the output had no retention.
            nullable: true,
        });
    }
    Ok(Table {
        schema: schema.to_owned(),
        name: spec.table.as_deref().unwrap_or(name).to_owned(),
        columns,
        kind,
        retention_ms,
    })
}

/// Windows would be removed before they are final.
fn short_retention(
    from: &Facts,
    retention_ms: u64,
    final_ms: u64,
    subject: &Subject,
    path: &Path,
) -> Box<Problem> {
    let message = format!(
        "the rows of `{}` would be removed {} after the start of their window, and may change for {}",
        from.name,
        duration(retention_ms),
        duration(final_ms)
    );
    let help = format!(
        "write {} or more: as long as a window, and what its step allows events to be late",
        duration(final_ms)
    );
    let problem = subject.error(path, Code::ShortRetention, message);
    Box::new(problem.help(help))
}

/// The topic for rows of `from`. `from_path` and `path` are where the output says what it reads, and `kafka`.
pub(crate) fn topic(
    from: &Facts,
    spec: &KafkaOutput,
    subject: &Subject,
    from_path: &Path,
    path: &Path,
) -> Result<Topic, Vec<Problem>> {
    let (kind, columns) =
        rows(from, "topic", subject, from_path).map_err(|problem| vec![*problem])?;
    let mut found = Found {
        columns: &columns,
        subject,
        path,
        problems: Vec::new(),
    };
    let key = match &kind {
        TableKind::Rows => found.key(&spec.key),
        TableKind::Windows { key } => {
            found.refuse_of_windows(from, spec);
            let position = |name: &String| columns.iter().position(|column| column.name == *name);
            key.iter().filter_map(position).collect()
        }
    };
    let headers = found.headers(&spec.headers);
    if !found.problems.is_empty() {
        return Err(found.problems);
    }
    let retention = spec
        .retention
        .unwrap_or_else(KafkaOutput::default_retention);
    Ok(Topic {
        name: spec.topic.clone(),
        partitions: u32::try_from(spec.partitions).unwrap_or(1).max(1),
        cleanup: match &kind {
            TableKind::Rows => TopicCleanup::Retention {
                ms: retention.as_millis(),
            },
            TableKind::Windows { .. } => TopicCleanup::Compact,
        },
        columns,
        kind,
        key,
        headers,
    })
}

/// What an output over a topic names among its columns.
struct Found<'a> {
    columns: &'a [Column],
    subject: &'a Subject,
    path: &'a Path,
    problems: Vec<Problem>,
}

impl Found<'_> {
    fn key(&mut self, key: &[String]) -> Vec<usize> {
        let place = |at: usize| member!["key", at];
        let named = key.iter().enumerate();
        named
            .filter_map(|(at, name)| self.column(name, "key", &place(at)))
            .collect()
    }

    fn headers(&mut self, headers: &[crds::HeaderColumn]) -> Vec<HeaderColumn> {
        let mut found = Vec::new();
        for (at, header) in headers.iter().enumerate() {
            let place = member!["headers", at, "column"];
            if let Some(column) = self.column(&header.column, "header", &place) {
                found.push(HeaderColumn {
                    name: header.name.clone(),
                    column,
                });
            }
        }
        found
    }

    fn column(&mut self, name: &str, of: &str, place: &Path) -> Option<usize> {
        let names = || self.columns.iter().map(|column| column.name.as_str());
        if let Some(found) = names().position(|column| column == name) {
            return Some(found);
        }
        let message = format!("the {of} column `{name}` is not a column of the rows");
        let help = suggestion(name, "columns", names().collect::<Vec<_>>());
        self.problem(place, message, help);
        None
    }

    /// What only rows that are not of windows can be given.
    fn refuse_of_windows(&mut self, from: &Facts, spec: &KafkaOutput) {
        let name = &from.name;
        if !spec.key.is_empty() {
            let message = format!("the rows of `{name}` are of windows, which have their key");
            let help = "leave `key` out: it is `window_start` and the group columns, so that a row replaces the one before it";
            self.problem(&member!["key"], message, help.to_owned());
        }
        if spec.retention.is_some() {
            let message = format!("the rows of `{name}` are of windows, which have no retention");
            let help = "leave `retention` out: their topic is compacted and keeps the newest row of each key";
            self.problem(&member!["retention"], message, help.to_owned());
        }
    }

    fn problem(&mut self, place: &Path, message: String, help: String) {
        let path: Path = self.path.iter().chain(place).cloned().collect();
        let problem = self.subject.error(&path, Code::InvalidTopic, message);
        self.problems.push(problem.help(help));
    }
}

/// What the rows of `from` are, and their columns. `place`: what is to hold them.
fn rows(
    from: &Facts,
    place: &str,
    subject: &Subject,
    path: &Path,
) -> Result<(TableKind, Vec<Column>), Box<Problem>> {
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
    let columns = columns(&from.schema, kind.position_columns()).map_err(|name| {
        let message = format!(
            "the column `{name}` of `{}` has a type or name that no {place} can store",
            from.name
        );
        refuse(message, "cast it to text, or leave it out".to_owned())
    })?;
    Ok((kind, columns))
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

/// The user's columns; none may be called as one of `ours`.
fn columns(schema: &Schema, ours: &[&str]) -> Result<Vec<Column>, String> {
    let mut columns = Vec::with_capacity(schema.fields().len() + ours.len());
    for field in schema.fields() {
        let is_ours = |name: &str| ours.contains(&name) || name == APPEND_TIME;
        let data_type = column_type(field).filter(|_| !is_ours(field.name()));
        let data_type = data_type.ok_or_else(|| field.name().clone())?;
        columns.push(Column {
            name: field.name().clone(),
            data_type,
            nullable: field.is_nullable(),
        });
    }
    Ok(columns)
}
