//! Names in the SELECT list of a step, as far as the text tells: each has one, no two the same, none of ours.
use std::collections::BTreeSet;

use datafusion_sql::sqlparser::ast::{Expr, Ident, Select, SelectItem, SetExpr, Spanned};

use crate::problem::Code;
use crate::resource::TextSpan;
use crate::sql::keyword::bare_word;
use crate::sql::parse::{Parsed, normal};
use crate::sql::{SqlProblem, text_span};

/// What is wrong with the names.
pub(crate) fn judge_names(parsed: &Parsed) -> Vec<SqlProblem> {
    let Some(select) = first_select(&parsed.query.body) else {
        return Vec::new();
    };
    let mut problems = Vec::new();
    let mut names = BTreeSet::new();
    for item in &select.projection {
        let (name, at) = match item {
            SelectItem::ExprWithAlias { alias, .. } => {
                let name = normal(alias);
                if name.starts_with('_') {
                    problems.push(reserved(&name, text_span(alias.span)));
                    continue;
                }
                (name, text_span(alias.span))
            }
            SelectItem::UnnamedExpr(expr) => match column_name(expr) {
                Some(ident) => (normal(ident), text_span(ident.span)),
                // That it cannot be called at all is said elsewhere.
                None if is_bare_word(expr) => continue,
                None => {
                    problems.push(unnamed(expr, parsed));
                    continue;
                }
            },
            SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..) => continue,
            SelectItem::ExprWithAliases { aliases, .. } => {
                let at = aliases.first().and_then(|alias| text_span(alias.span));
                let problem =
                    SqlProblem::new(Code::UnnamedColumn, "an expression has one name").at(at);
                problems.push(problem.help("write `AS name` without brackets"));
                continue;
            }
        };
        if !names.insert(name.clone()) {
            let problem = SqlProblem::new(
                Code::DuplicateColumn,
                format!("two columns of the result are named `{name}`"),
            );
            problems.push(
                problem
                    .help(format!(
                        "rename one of them: `AS {name}_2`, or select only one"
                    ))
                    .at(at),
            );
        }
    }
    problems
}

/// The SELECT that names the columns of the result.
pub(crate) fn first_select(body: &SetExpr) -> Option<&Select> {
    match body {
        SetExpr::Select(select) => Some(select),
        SetExpr::Query(query) => first_select(&query.body),
        SetExpr::SetOperation { left, .. } => first_select(left),
        _ => None,
    }
}

fn column_name(expr: &Expr) -> Option<&Ident> {
    match expr {
        Expr::Identifier(ident) => Some(ident),
        Expr::CompoundIdentifier(parts) => parts.last(),
        Expr::Nested(inner) => column_name(inner),
        _ => None,
    }
}

fn is_bare_word(expr: &Expr) -> bool {
    matches!(expr, Expr::Function(call) if bare_word(call).is_some())
}

fn reserved(name: &str, at: Option<TextSpan>) -> SqlProblem {
    let message = format!("the column name `{name}` begins with `_`, and such names are reserved");
    SqlProblem::new(Code::ReservedName, message)
        .help(format!("write `AS {}`", name.trim_start_matches('_')))
        .at(at)
}

fn unnamed(expr: &Expr, parsed: &Parsed) -> SqlProblem {
    let at = text_span(expr.span()).map(|start| parsed.item_from(start));
    let suggested = match expr {
        Expr::Function(call) => call.name.to_string().to_lowercase(),
        Expr::Cast { expr, .. } => column_name(expr).map_or("name".to_owned(), normal),
        _ => "name".to_owned(),
    };
    SqlProblem::new(Code::UnnamedColumn, "this column of the result has no name")
        .help(format!("give it one: `{expr} AS {suggested}`"))
        .at(at)
}
