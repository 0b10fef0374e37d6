//! What DataFusion finds wrong with a query, in words for whoever wrote it, and where.
use std::ops::ControlFlow;

use datafusion_common::{Column, DataFusionError, SchemaError};
use datafusion_expr::LogicalPlan;
use datafusion_sql::sqlparser::ast::{Expr, Query, Select, SetExpr, TableFactor, Visit, Visitor};
use datafusion_sql::sqlparser::keywords::Keyword;
use datafusion_sql::sqlparser::tokenizer::{Location, Span};

use crate::nearest::{nearest, suggestion};
use crate::problem::Code;
use crate::resource::TextSpan;
use crate::sql::culprit::{self, blank, is_blanked};
use crate::sql::parse::{Parsed, normal};
use crate::sql::registry::Readable;
use crate::sql::translate::{Failure, attempt};
use crate::sql::types::plain_words;
use crate::sql::{SqlProblem, text_span, wording};

/// How many problems of one query are reported.
const MAX_PROBLEMS: usize = 20;

/// Resolves names and types and computes constants, or says all that is wrong. `query` is that of `parsed`, perhaps with the
/// window's bounds added.
pub(crate) fn analyse_all(
    query: &Query,
    parsed: &Parsed,
    relations: &[Readable],
) -> Result<LogicalPlan, Vec<SqlProblem>> {
    let mut rest = query.clone();
    let mut problems: Vec<SqlProblem> = Vec::new();
    loop {
        let failure = match attempt(&rest, relations) {
            Ok(plan) if problems.is_empty() => return Ok(plan),
            Ok(_) => return Err(in_order(problems)),
            Err(failure) => failure,
        };
        let Explained { problem, culprit } = explain(&failure, &rest, parsed, relations);
        // What else goes wrong may follow from the first, unless it is in a place of its own.
        let own = culprit.as_ref().is_some_and(|expr| !is_blanked(expr));
        if problems.is_empty() || own && !problems.iter().any(|p| p.span == problem.span) {
            problems.push(problem);
        }
        let blanked = culprit.is_some_and(|expr| blank(&mut rest, &expr));
        if !blanked || problems.len() == MAX_PROBLEMS {
            return Err(in_order(problems));
        }
    }
}

/// As they stand in the text.
fn in_order(mut problems: Vec<SqlProblem>) -> Vec<SqlProblem> {
    problems.sort_by_key(|problem| problem.span.map(|span| (span.line, span.column)));
    problems
}

/// A problem, and the expression that can be left out to find what else is wrong.
struct Explained {
    problem: SqlProblem,
    culprit: Option<Expr>,
}

fn explain(failure: &Failure, query: &Query, parsed: &Parsed, relations: &[Readable]) -> Explained {
    let error = failure.error();
    let only = |problem| Explained {
        problem,
        culprit: None,
    };
    match error.find_root() {
        DataFusionError::SchemaError(schema_error, _) => match schema_error.as_ref() {
            SchemaError::FieldNotFound {
                field,
                valid_fields,
            } => {
                let at = told_place(error).or_else(|| find_identifier(parsed, &field.name));
                Explained {
                    problem: unknown_column(field, valid_fields, relations, query).at(at),
                    culprit: at.and_then(|at| column_at(query, at)),
                }
            }
            SchemaError::AmbiguousReference { field } => only(same_name(&field.name, parsed)),
            SchemaError::DuplicateQualifiedField { name, .. }
            | SchemaError::DuplicateUnqualifiedField { name } => only(same_name(name, parsed)),
        },
        root => other(root, failure, query, parsed, relations),
    }
}

/// The column that is named at `at`.
fn column_at(query: &Query, at: TextSpan) -> Option<Expr> {
    struct Finds(TextSpan);
    impl Visitor for Finds {
        type Break = Expr;
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Expr> {
            let first = match expr {
                Expr::Identifier(ident) => Some(ident),
                Expr::CompoundIdentifier(parts) => parts.first(),
                _ => None,
            };
            let start = first.and_then(|ident| text_span(ident.span));
            if start.is_some_and(|s| (s.line, s.column) == (self.0.line, self.0.column)) {
                return ControlFlow::Break(expr.clone());
            }
            ControlFlow::Continue(())
        }
    }
    query.visit(&mut Finds(at)).break_value()
}

fn unknown_column(
    field: &Column,
    valid: &[Column],
    relations: &[Readable],
    query: &Query,
) -> SqlProblem {
    let mut names: Vec<&str> = Vec::new();
    let known = valid.iter().map(|column| column.name.as_str());
    let all = relations.iter().flat_map(|r| r.schema.fields());
    let listed: Vec<&str> = if valid.is_empty() {
        all.map(|f| f.name().as_str()).collect()
    } else {
        known.filter(|name| *name != "NULL").collect()
    };
    // GROUP BY sees the result's names and the input's, which are often the same.
    for name in listed {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if let Some(relation) = &field.relation
        && let Some(problem) =
            unknown_relation(relation.table(), &field.name, valid, relations, query)
    {
        return problem;
    }
    let within = |only: &Readable| {
        valid.iter().all(|column| {
            column
                .relation
                .as_ref()
                .is_none_or(|relation| relation.table() == only.name)
        })
    };
    let message = match relations {
        [only] if within(only) => format!("there is no column `{}` in `{}`", field.name, only.name),
        _ => format!("there is no column `{}`", field.name),
    };
    let problem = SqlProblem::new(Code::UnknownColumn, message);
    let same = names
        .iter()
        .find(|name| name.to_lowercase() == field.name.to_lowercase());
    if let Some(same) = same {
        return problem.help(if same.chars().any(char::is_uppercase) {
            format!("names with capitals stand in double quotes: `\"{same}\"`")
        } else {
            format!("did you mean `{same}`? names in double quotes are taken to the letter")
        });
    }
    if quoted(query, &field.name) && nearest(&field.name, names.iter().copied()).is_empty() {
        return problem.help(format!(
            "double quotes are for names; a text stands in single quotes: `'{}'`",
            field.name
        ));
    }
    problem.help(suggestion(&field.name, "columns", names))
}

/// A name before a dot that is none of the query's relations.
fn unknown_relation(
    relation: &str,
    column: &str,
    valid: &[Column],
    relations: &[Readable],
    query: &Query,
) -> Option<SqlProblem> {
    let of_query = |column: &&Column| {
        column
            .relation
            .as_ref()
            .is_some_and(|r| r.table() == relation)
    };
    if valid.iter().any(|column| of_query(&column)) {
        return None;
    }
    let alias = aliases(query)
        .into_iter()
        .find(|(name, _)| name == relation)
        .map(|(_, alias)| alias);
    if let Some(alias) = alias {
        let message = format!("`{relation}` is called `{alias}` in this query");
        return Some(
            SqlProblem::new(Code::UnknownColumn, message).help(format!("write `{alias}.{column}`")),
        );
    }
    if relations.iter().any(|r| r.name == relation) {
        return None;
    }
    let message = format!("there is no relation `{relation}` in this query");
    let problem = SqlProblem::new(Code::UnknownColumn, message);
    let there = relations
        .iter()
        .any(|r| r.schema.field_with_name(column).is_ok());
    let called = aliases(query).into_iter().next();
    Some(if let (true, Some((_, alias))) = (there, called) {
        problem.help(format!("write `{alias}.{column}`"))
    } else if there {
        problem.help(format!("write `{column}`: columns have the names that the source gives them, whatever their paths"))
    } else {
        let known: Vec<&str> = relations.iter().map(|r| r.name.as_str()).collect();
        problem.help(suggestion(relation, "relations", known))
    })
}

/// Relations that the query calls by another name, and that name.
fn aliases(query: &Query) -> Vec<(String, String)> {
    struct Aliases(Vec<(String, String)>);
    impl Visitor for Aliases {
        type Break = ();
        fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
            if let TableFactor::Table {
                name,
                alias: Some(alias),
                ..
            } = factor
                && let Some(name) = name.0.last().and_then(|part| part.as_ident())
            {
                self.0.push((normal(name), normal(&alias.name)));
            }
            ControlFlow::Continue(())
        }
    }
    let mut aliases = Aliases(Vec::new());
    let _ = query.visit(&mut aliases);
    aliases.0
}

/// Whether a column of this name was written in double quotes.
fn quoted(query: &Query, name: &str) -> bool {
    struct Quoted<'a>(&'a str);
    impl Visitor for Quoted<'_> {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            match expr {
                Expr::Identifier(ident) if ident.value == self.0 && ident.quote_style.is_some() => {
                    ControlFlow::Break(())
                }
                _ => ControlFlow::Continue(()),
            }
        }
    }
    query.visit(&mut Quoted(name)).is_break()
}

/// The place that DataFusion tells with an error.
fn told_place(error: &DataFusionError) -> Option<TextSpan> {
    let span = error.diagnostic()?.span?;
    let at = |location: datafusion_common::Location| Location {
        line: location.line,
        column: location.column,
    };
    text_span(Span::new(at(span.start), at(span.end)))
}

/// Two columns of one name, in the result or in a query within the query.
fn same_name(name: &str, parsed: &Parsed) -> SqlProblem {
    let name = name.rsplit('.').next().unwrap_or(name);
    SqlProblem::new(
        Code::DuplicateColumn,
        format!("two columns are named `{name}`"),
    )
    .help(format!(
        "rename one of them: `AS {name}_2`, or select only one"
    ))
    .at(find_identifier(parsed, name))
}

/// The first place where `name` stands as a word.
fn find_identifier(parsed: &Parsed, name: &str) -> Option<TextSpan> {
    use datafusion_sql::sqlparser::tokenizer::Token;
    let is =
        |token: &Token| matches!(token, Token::Word(word) if word.value.eq_ignore_ascii_case(name));
    parsed
        .tokens
        .iter()
        .find(|t| is(&t.token))
        .and_then(|t| text_span(t.span))
}

fn other(
    root: &DataFusionError,
    failure: &Failure,
    query: &Query,
    parsed: &Parsed,
    relations: &[Readable],
) -> Explained {
    let text = root.message().into_owned();
    let only = |problem| Explained {
        problem,
        culprit: None,
    };
    if let Some(name) = text
        .split_once("unique expression names but the expression \"")
        .and_then(|(_, rest)| rest.split('"').next())
    {
        return only(same_name(
            name.rsplit(" AS ").next().unwrap_or(name),
            parsed,
        ));
    }
    if let Some(column) = not_grouped(&text) {
        let at = told_place(failure.error());
        let message = format!("`{column}` is neither grouped nor aggregated");
        return only(SqlProblem::new(Code::NotGrouped, message)
            .help(format!("add it to GROUP BY, or aggregate it, such as `max({column})` or `last_value({column})`"))
            .at(at.or_else(|| find_identifier(parsed, &column))));
    }
    if let Some((_, name)) = text.split_once("Invalid qualifier ") {
        let message = format!("there is no relation `{name}` in this query");
        let known: Vec<&str> = relations.iter().map(|r| r.name.as_str()).collect();
        return only(
            SqlProblem::new(Code::UnknownColumn, message)
                .help(suggestion(name, "relations", known))
                .at(find_identifier(parsed, name)),
        );
    }
    if let Some(problem) = union(&text, query, parsed, relations) {
        return only(problem);
    }
    if text.contains("non-boolean predicate") {
        return only(not_a_condition(&text, failure, query, parsed, relations));
    }
    let expr = culprit::find(query, relations, failure);
    let literal = match (&expr, failure) {
        (_, Failure::Types(_)) => None,
        (Some(expr), _) => culprit::literal(expr, failure),
        (None, _) => culprit::literal(query, failure),
    };
    let error = failure.error();
    let problem = match failure {
        Failure::Types(_) => wording::types(error, expr.as_ref()),
        Failure::Constant(_) => wording::constant(error, expr.as_ref()),
        Failure::Call(_) => wording::call(error, expr.as_ref()),
    };
    let at = literal
        .as_ref()
        .or(expr.as_ref())
        .and_then(|expr| parsed.extent(expr));
    // A call without its argument would fail in another way.
    let culprit = match failure {
        Failure::Call(_) => expr.or(literal),
        _ => literal.or(expr),
    };
    Explained {
        problem: problem.at(at.or_else(|| parsed.tokens.first().and_then(|t| text_span(t.span)))),
        culprit,
    }
}

/// A condition of another type than boolean.
fn not_a_condition(
    text: &str,
    failure: &Failure,
    query: &Query,
    parsed: &Parsed,
    relations: &[Readable],
) -> SqlProblem {
    let data_type = plain_words(text.rsplit(" returning ").next().unwrap_or_default());
    let (clause, expr) = culprit::condition(query, relations, failure).unzip();
    let message = format!(
        "{} takes a condition, which is true or false, and this is {data_type}",
        clause.unwrap_or("WHERE")
    );
    let shown = expr.map_or_else(|| "x".to_owned(), ToString::to_string);
    let help = match data_type.as_str() {
        "text" => format!("compare it, such as `{shown} = 'ok'`"),
        "timestamp" => format!("compare it, such as `{shown} > TIMESTAMP '2026-01-31T00:00:00Z'`"),
        _ => format!("compare it, such as `{shown} > 0`"),
    };
    SqlProblem::new(Code::TypeMismatch, message)
        .help(help)
        .at(expr.and_then(|expr| parsed.extent(expr)))
}

/// The SELECTs of a UNION that do not fit together.
fn union(text: &str, query: &Query, parsed: &Parsed, relations: &[Readable]) -> Option<SqlProblem> {
    if text.contains("different number of columns") {
        let mut selects = Vec::new();
        collect_branches(&query.body, &mut selects);
        let width = |select: &&Select| {
            let body = Box::new(SetExpr::Select(Box::new((**select).clone())));
            let alone = Query {
                body,
                ..query.clone()
            };
            attempt(&alone, relations)
                .ok()
                .map(|plan| plan.schema().fields().len())
        };
        let widths: Vec<Option<usize>> = selects.iter().map(width).collect();
        let first = widths.first().copied().flatten();
        let other = widths.iter().position(|width| *width != first);
        let message = match (first, other.and_then(|at| widths[at])) {
            (Some(first), Some(other)) => format!(
                "the SELECTs of a UNION ALL need equally many columns, and these have {first} and {other}"
            ),
            _ => "the SELECTs of a UNION ALL need equally many columns".to_owned(),
        };
        let at = other.and_then(|at| text_span(selects.get(at)?.select_token.0.span));
        return Some(
            SqlProblem::new(Code::TypeMismatch, message)
                .help("give each as many columns in the same order; `CAST(NULL AS TEXT) AS name` stands in for one that is missing")
                .at(at.or_else(|| parsed.keyword(Keyword::UNION))),
        );
    }
    let (_, types) =
        text.split_once("Incompatible inputs for Union: Previous inputs were of type ")?;
    let (before, rest) = types.split_once(", but got incompatible type ")?;
    let (here, column) = rest.split_once(" on column ")?;
    let column = column.trim_matches(['\'', '"', '.']);
    let (before, here) = (plain_words(before), plain_words(here));
    let message = format!("the column `{column}` is {here}, and {before} in the SELECT before");
    Some(
        SqlProblem::new(Code::TypeMismatch, message)
            .help("the columns of a UNION ALL are united by position: bring them into one order, or CAST one of them")
            .at(parsed.word(column)),
    )
}

/// The column of "Column in SELECT must be in GROUP BY ...: ... column "clicks.user_id" must appear in ...".
fn not_grouped(text: &str) -> Option<String> {
    let place = text
        .find("must appear in the GROUP BY clause")
        .or_else(|| text.find("must be in GROUP BY"))?;
    let before = text.get(..place)?;
    let quoted = before
        .rsplit('"')
        .nth(1)
        .or_else(|| text.rsplit('"').nth(1))?;
    Some(quoted.rsplit('.').next().unwrap_or(quoted).to_owned())
}

/// The SELECTs that a UNION unites.
fn collect_branches<'a>(body: &'a SetExpr, found: &mut Vec<&'a Select>) {
    match body {
        SetExpr::Select(select) => found.push(select),
        SetExpr::SetOperation { left, right, .. } => {
            collect_branches(left, found);
            collect_branches(right, found);
        }
        SetExpr::Query(query) => collect_branches(&query.body, found),
        _ => {}
    }
}
