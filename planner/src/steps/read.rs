//! A step as it is read first: its query parsed, and the names of what it reads.
use tidewheel_crds::pipeline::{Step as StepSpec, StepKind as SpecKind};

use crate::nearest::suggestion;
use crate::problem::{Code, Problem};
use crate::resource::{Path, Subject, TextSpan, member};
use crate::sql::SqlProblem;
use crate::sql::parse::Parsed;

/// A step as it was read: what it reads, and where it says so.
pub(crate) struct ReadStep<'a> {
    pub(crate) spec: &'a StepSpec,
    pub(crate) kind: SpecKind<'a>,
    pub(crate) parsed: Option<Parsed>,
    pub(crate) path: Path,
    pub(crate) subject: Subject,
}

impl ReadStep<'_> {
    /// A problem of its SQL.
    pub(crate) fn sql_problem(&self, problem: SqlProblem) -> Problem {
        let SqlProblem {
            code,
            message,
            help,
            span,
            about,
        } = problem;
        let (path, sql) = self.sql();
        let named = || self.parsed.as_ref()?.word(&about?);
        let span = span.or_else(named);
        Problem {
            help,
            ..self.subject.error_within(&path, sql, span, code, message)
        }
    }

    fn sql(&self) -> (Path, &str) {
        let mut path = self.path.clone();
        match self.kind {
            SpecKind::Sql(sql) => {
                path.push("sql".into());
                (path, sql)
            }
            SpecKind::Aggregate(aggregate) => {
                path.extend(member!["aggregate", "sql"]);
                (path, &aggregate.sql)
            }
            SpecKind::Deduplicate(_) => (path, ""),
        }
    }
}

/// Names that a step reads, and where in its SQL.
pub(crate) fn reads(step: &ReadStep<'_>) -> Vec<(String, Option<TextSpan>)> {
    match (&step.parsed, step.kind) {
        (Some(parsed), _) => parsed.relations(),
        (None, SpecKind::Deduplicate(deduplicate)) => vec![(deduplicate.from.clone(), None)],
        (None, _) => Vec::new(),
    }
}

pub(crate) fn unknown_reads(step: &ReadStep<'_>, names: &[String]) -> Vec<Problem> {
    let unknown = reads(step)
        .into_iter()
        .filter(|(name, _)| !names.contains(name));
    unknown
        .map(|(name, span)| {
            let message = format!("there is no source or step `{name}`");
            let others = names
                .iter()
                .map(String::as_str)
                .filter(|n| *n != step.spec.name)
                .collect::<Vec<_>>();
            let bare = name.rsplit('.').next().unwrap_or(&name);
            let help = if bare != name && others.contains(&bare) {
                format!("write `{bare}`: sources and steps have no schema before their name")
            } else {
                suggestion(&name, "sources and steps", others)
            };
            match step.parsed {
                Some(_) => step.sql_problem(
                    SqlProblem::new(Code::UnknownTable, message)
                        .at(span)
                        .help(help),
                ),
                None => {
                    let mut path = step.path.clone();
                    path.extend(member!["deduplicate", "from"]);
                    step.subject
                        .error(&path, Code::UnknownInput, message)
                        .help(help)
                }
            }
        })
        .collect()
}
