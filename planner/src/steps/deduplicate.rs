//! Deduplicate steps.
use tidewheel_crds::pipeline::Deduplicate as DeduplicateSpec;

use crate::nearest::{listed, suggestion};
use crate::plan::Source;
use crate::problem::{Code, Problem};
use crate::relation::Facts;
use crate::resource::member;
use crate::steps::read::ReadStep;

/// The columns that identify an event.
///
/// Equal rows must be in one partition, and the partition is decided by the source's key: so the key must be among the columns.
pub(crate) fn columns(
    step: &ReadStep<'_>,
    spec: &DeduplicateSpec,
    input: &Facts,
    sources: &[Source],
) -> Result<Vec<usize>, Vec<Problem>> {
    let mut path = step.path.clone();
    path.extend(member!["deduplicate", "by"]);
    let mut problems = Vec::new();
    let mut by = Vec::with_capacity(spec.by.len());
    for (index, name) in spec.by.iter().enumerate() {
        match input.schema.index_of(name) {
            Ok(column) => by.push(column),
            Err(_) => {
                let mut path = path.clone();
                path.push(index.into());
                let message = format!("there is no column `{name}` in `{}`", input.name);
                let names: Vec<&str> = input
                    .schema
                    .fields()
                    .iter()
                    .map(|f| f.name().as_str())
                    .collect();
                let help = suggestion(name, "columns", names);
                problems.push(
                    step.subject
                        .error(&path, Code::UnknownColumn, message)
                        .help(help),
                );
            }
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    for (index, source) in sources
        .iter()
        .enumerate()
        .filter(|(index, _)| input.sources.contains(index))
    {
        let field = |column: usize| source.events.fields[column].name.as_str();
        if source.key.is_empty() {
            let message = format!(
                "equal events of `{}` may be in different partitions: it has no key",
                source.name
            );
            let problem = step.subject.error(&path, Code::UndeterminedKey, message);
            problems.push(problem.help(format!(
                "write `key: [{}]` in the EventSource `{}`",
                spec.by.join(", "),
                source.name
            )));
            continue;
        }
        let traced = |key: usize| {
            by.iter()
                .any(|column| input.lineage[*column].get(&index) == Some(&key))
        };
        let missing: Vec<&str> = source
            .key
            .iter()
            .filter(|key| !traced(**key))
            .map(|key| field(*key))
            .collect();
        if !missing.is_empty() {
            let key: Vec<&str> = source.key.iter().map(|key| field(*key)).collect();
            let message = format!(
                "rows with equal {} may be in different partitions: the events of `{}` are placed by {}",
                listed(spec.by.iter().map(String::as_str)),
                source.name,
                listed(key.iter().copied()),
            );
            let help = format!(
                "add {} to `by`, as the source has it, or give the source a key of columns in `by`",
                listed(missing)
            );
            problems.push(
                step.subject
                    .error(&path, Code::UndeterminedKey, message)
                    .help(help),
            );
        }
    }
    if problems.is_empty() {
        Ok(by)
    } else {
        Err(problems)
    }
}
