//! What DataFusion finds wrong with a query, in words for whoever wrote it, and where.
use std::ops::ControlFlow;

use datafusion_common::{Column, DataFusionError, SchemaError};
use datafusion_expr::LogicalPlan;
use datafusion_sql::sqlparser::ast::{
    Expr, GroupByExpr, Query, SelectItem, SetExpr, Spanned, Value, VisitMut, VisitorMut,
};
use datafusion_sql::sqlparser::tokenizer::{Location, Span};

use crate::nearest::suggestion;
use crate::problem::Code;
use crate::resource::TextSpan;
use crate::sql::parse::Parsed;
use crate::sql::registry::Readable;
use crate::sql::translate::analyse;
use crate::sql::types::plain_words;
use crate::sql::{SqlProblem, text_span};

/// How many unknown columns of one query are reported.
const MAX_UNKNOWN: usize = 20;

/// Resolves names and types, or says all that is wrong. `query` is that of `parsed`, perhaps with the window's bounds added.
pub(crate) fn analyse_all(
    query: &Query,
    parsed: &Parsed,
    relations: &[Readable],
) -> Result<LogicalPlan, Vec<SqlProblem>> {
    let mut attempt = query.clone();
    let mut problems: Vec<SqlProblem> = Vec::new();
    loop {
        let error = match analyse(&attempt, relations) {
            Ok(plan) if problems.is_empty() => return Ok(plan),
            Ok(_) => return Err(problems),
            Err(error) => error,
        };
        let problem = explain(&error, &attempt, parsed, relations);
        let unknown = problem.code == Code::UnknownColumn && problems.len() < MAX_UNKNOWN;
        let blanked = unknown && problem.span.is_some_and(|at| blank(&mut attempt, at));
        // After an unknown column only others count: what else goes wrong may follow from the first.
        if problems.is_empty() || problem.code == Code::UnknownColumn {
            problems.push(problem);
        }
        if !blanked {
            return Err(problems);
        }
    }
}

/// Puts NULL in the place of the column at `at`, to find what else is wrong.
fn blank(query: &mut Query, at: TextSpan) -> bool {
    struct Blank {
        at: TextSpan,
        done: bool,
    }
    impl VisitorMut for Blank {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            let first = match expr {
                Expr::Identifier(ident) => Some(&*ident),
                Expr::CompoundIdentifier(parts) => parts.first(),
                _ => None,
            };
            let start = first.and_then(|ident| text_span(ident.span));
            if start.is_some_and(|s| (s.line, s.column) == (self.at.line, self.at.column)) {
                *expr = Expr::Value(Value::Null.with_empty_span());
                self.done = true;
            }
            ControlFlow::Continue(())
        }
    }
    let mut blank = Blank { at, done: false };
    let _ = query.visit(&mut blank);
    blank.done
}

fn explain(
    error: &DataFusionError,
    query: &Query,
    parsed: &Parsed,
    relations: &[Readable],
) -> SqlProblem {
    match error.find_root() {
        DataFusionError::SchemaError(schema_error, _) => match schema_error.as_ref() {
            SchemaError::FieldNotFound {
                field,
                valid_fields,
            } => {
                let at = told_place(error).or_else(|| find_identifier(parsed, &field.name));
                unknown_column(field, valid_fields, relations).at(at)
            }
            SchemaError::AmbiguousReference { field } => same_name(&field.name, parsed),
            SchemaError::DuplicateQualifiedField { name, .. }
            | SchemaError::DuplicateUnqualifiedField { name } => same_name(name, parsed),
        },
        root => other(root, error, query, parsed, relations),
    }
}

fn unknown_column(field: &Column, valid: &[Column], relations: &[Readable]) -> SqlProblem {
    let mut names: Vec<&str> = valid.iter().map(|column| column.name.as_str()).collect();
    if names.is_empty() {
        names = relations
            .iter()
            .flat_map(|r| r.schema.fields())
            .map(|f| f.name().as_str())
            .collect();
    }
    if let Some(relation) = &field.relation
        && !valid
            .iter()
            .any(|column| column.relation.as_ref() == Some(relation))
        && !relations.iter().any(|r| r.name == relation.table())
    {
        let message = format!("there is no relation `{relation}` in this query");
        let known: Vec<&str> = relations.iter().map(|r| r.name.as_str()).collect();
        return SqlProblem::new(Code::UnknownColumn, message).help(suggestion(
            relation.table(),
            "relations",
            known,
        ));
    }
    let message = match relations {
        [only] => format!("there is no column `{}` in `{}`", field.name, only.name),
        _ => format!("there is no column `{}`", field.name),
    };
    let problem = SqlProblem::new(Code::UnknownColumn, message);
    if let Some(other_case) = names
        .iter()
        .find(|name| name.to_lowercase() == field.name.to_lowercase())
    {
        return problem.help(format!(
            "names with capitals stand in double quotes: `\"{other_case}\"`"
        ));
    }
    problem.help(suggestion(&field.name, "columns", names))
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
    error: &DataFusionError,
    query: &Query,
    parsed: &Parsed,
    relations: &[Readable],
) -> SqlProblem {
    let text = root.message().into_owned();
    if let Some(name) = text
        .split_once("unique expression names but the expression \"")
        .and_then(|(_, rest)| rest.split('"').next())
    {
        return same_name(name.rsplit(" AS ").next().unwrap_or(name), parsed);
    }
    if let Some(column) = not_grouped(&text) {
        let at = told_place(error);
        let message = format!("`{column}` is neither grouped nor aggregated");
        return SqlProblem::new(Code::NotGrouped, message)
            .help(format!("add it to GROUP BY, or aggregate it, such as `max({column})` or `last_value({column})`"))
            .at(at.or_else(|| find_identifier(parsed, &column)));
    }
    let at =
        locate(query, relations).or_else(|| parsed.tokens.first().and_then(|t| text_span(t.span)));
    let at = at.map(|start| {
        if start.length > 1 {
            parsed.item_from(TextSpan { length: 1, ..start })
        } else {
            start
        }
    });
    let (code, message, help) = type_error(&text, root);
    SqlProblem::new(code, message).help(help).at(at)
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

fn type_error(text: &str, root: &DataFusionError) -> (Code, String, String) {
    let text = plain_words(text);
    let first = text.lines().next().unwrap_or_default().trim();
    if let Some(rest) = first.split("name and argument types '").nth(1) {
        let call = rest.split('\'').next().unwrap_or(rest);
        let name = call.split('(').next().unwrap_or(call);
        let message = format!("`{name}` does not take these types: `{call}`");
        return (
            Code::TypeMismatch,
            message,
            format!("convert them, such as `{name}(CAST(x AS DOUBLE))`"),
        );
    }
    if let Some((before, after)) = first.split_once("' failed to match any signature") {
        let name = before.rsplit('\'').next().unwrap_or(before);
        let received = after
            .split_once("(DataType: ")
            .and_then(|(_, rest)| rest.split(')').next());
        let message = format!(
            "`{name}` does not take {}",
            received.unwrap_or("these types")
        );
        return (
            Code::TypeMismatch,
            message,
            format!("convert it, such as `{name}(CAST(x AS DOUBLE))`"),
        );
    }
    if matches!(root, DataFusionError::NotImplemented(_)) {
        let help =
            "write it another way; steps know plain SELECT, FROM, WHERE, GROUP BY and HAVING"
                .to_owned();
        return (
            Code::RefusedSql,
            format!("this SQL is not possible here: {}", lower_first(first)),
            help,
        );
    }
    let message = lower_first(first.trim_start_matches("Error during planning: "));
    (
        Code::TypeMismatch,
        message,
        "convert one side, such as `CAST(x AS DOUBLE)` or `CAST(x AS TEXT)`".to_owned(),
    )
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars
        .next()
        .map(|c| c.to_lowercase().to_string())
        .unwrap_or_default();
    format!("{first}{}", chars.as_str())
}

/// The item of the SELECT list, or the condition, that fails when it is planned by itself.
fn locate(query: &Query, relations: &[Readable]) -> Option<TextSpan> {
    let mut branches = Vec::new();
    collect_branches(&query.body, &mut branches);
    for branch in branches {
        let SetExpr::Select(select) = branch else {
            continue;
        };
        let fails = |items: Vec<SelectItem>, condition: Option<Expr>| {
            let mut alone = select.clone();
            alone.projection = items;
            alone.selection = condition;
            alone.having = None;
            alone.group_by = GroupByExpr::Expressions(Vec::new(), Vec::new());
            let body = Box::new(SetExpr::Select(alone));
            analyse(
                &Query {
                    body,
                    order_by: None,
                    ..query.clone()
                },
                relations,
            )
            .is_err()
        };
        let one = || SelectItem::ExprWithAlias {
            expr: Expr::Value(Value::Number("1".to_owned(), false).with_empty_span()),
            alias: "one".into(),
        };
        if let Some(item) = select
            .projection
            .iter()
            .find(|item| fails(vec![(*item).clone()], None))
        {
            return text_span(item.span());
        }
        if let Some(condition) = select
            .selection
            .as_ref()
            .filter(|c| fails(vec![one()], Some((*c).clone())))
        {
            return text_span(condition.span());
        }
        if let Some(having) = &select.having {
            return text_span(having.span());
        }
    }
    None
}

fn collect_branches<'a>(body: &'a SetExpr, found: &mut Vec<&'a SetExpr>) {
    match body {
        SetExpr::SetOperation { left, right, .. } => {
            collect_branches(left, found);
            collect_branches(right, found);
        }
        SetExpr::Query(query) => collect_branches(&query.body, found),
        other => found.push(other),
    }
}
