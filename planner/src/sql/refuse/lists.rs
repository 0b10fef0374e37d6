//! What the lists of a SELECT may not hold: several unnested lists, aggregates where rows are filtered or grouped, positions
//! of columns that are not there.
use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{
    Expr, Function, GroupByExpr, Select, SelectItem, Spanned, Value, Visit, Visitor,
};
use datafusion_sql::sqlparser::keywords::Keyword;

use crate::problem::Code;
use crate::sql::parse::{Parsed, normal};
use crate::sql::refuse::Context;
use crate::sql::registry::FUNCTIONS;
use crate::sql::windowed::is_grouped;
use crate::sql::{SqlProblem, text_span};

/// Everything that is wrong with the lists.
pub(crate) fn judge_lists(select: &Select, context: Context, parsed: &Parsed) -> Vec<SqlProblem> {
    let mut problems = Vec::new();
    if select.projection.is_empty() {
        let problem = SqlProblem::new(Code::UnnamedColumn, "this SELECT selects no column");
        let at = text_span(select.select_token.0.span);
        problems.push(problem.help("write `SELECT *`, or the columns").at(at));
    }
    let unnested = calls(&select.projection, is_unnest);
    if let Some(second) = unnested.get(1) {
        let message = "a SELECT makes rows of one list, and this is the second `unnest`";
        problems.push(
            SqlProblem::new(Code::RefusedSql, message)
                .help("unnest the other list in a step of its own, which reads this one")
                .at(text_span(second.name.span())),
        );
    }
    let elsewhere = calls(&select.selection, is_unnest);
    if let Some(call) = elsewhere.first() {
        let message = "`unnest` makes rows, and WHERE only filters those that are there";
        problems.push(
            SqlProblem::new(Code::RefusedSql, message)
                .help("unnest in the SELECT list of a step before, and filter its rows")
                .at(text_span(call.name.span())),
        );
    }
    if context == Context::Aggregate {
        in_where(select, &mut problems);
        by(select, &mut problems);
        whole_rows(select, parsed, &mut problems);
    }
    problems
}

/// A call of an aggregate function.
pub(crate) fn aggregate_call(expr: &Expr) -> Option<&Function> {
    match expr {
        Expr::Function(call) if is_aggregate(call) => Some(call),
        _ => None,
    }
}

fn is_aggregate(call: &Function) -> bool {
    call.over.is_none() && FUNCTIONS.aggregate(&call.name.to_string()).is_some()
}

fn is_unnest(call: &Function) -> bool {
    call.name.to_string().eq_ignore_ascii_case("unnest")
}

fn in_where(select: &Select, problems: &mut Vec<SqlProblem>) {
    if let Some(call) = calls(&select.selection, is_aggregate).first() {
        let message = "WHERE filters events before they are aggregated";
        problems.push(
            SqlProblem::new(Code::AggregateStep, message)
                .help("filter groups after GROUP BY: `HAVING count(*) > 5`")
                .at(text_span(call.name.span())),
        );
    }
}

/// GROUP BY a position or a name of the SELECT list.
fn by(select: &Select, problems: &mut Vec<SqlProblem>) {
    let GroupByExpr::Expressions(by, _) = &select.group_by else {
        return;
    };
    let items = &select.projection;
    for expr in by {
        let at = text_span(expr.span());
        let item = match expr {
            Expr::Value(value) => match &value.value {
                Value::Number(number, _) => {
                    let position = number.parse().ok().and_then(|n: usize| n.checked_sub(1));
                    let item = position.and_then(|position| items.get(position));
                    if item.is_none() {
                        let message = format!(
                            "GROUP BY {number} means a column of the SELECT list by its position, and there are {}",
                            items.len()
                        );
                        let problem = SqlProblem::new(Code::UnknownColumn, message);
                        problems.push(problem.help("write the column's name").at(at));
                    }
                    item
                }
                _ => None,
            },
            Expr::Identifier(ident) => items.iter().find(|item| {
                matches!(item, SelectItem::ExprWithAlias { alias, .. } if normal(alias) == normal(ident))
            }),
            _ => None,
        };
        let aggregated = item.is_some_and(|item| !calls(item, is_aggregate).is_empty());
        if aggregated || !calls(expr, is_aggregate).is_empty() {
            let message = "rows cannot be grouped by what is aggregated from them";
            problems.push(
                SqlProblem::new(Code::AggregateStep, message)
                    .help(
                        "group by columns of the events, and filter what is aggregated with HAVING",
                    )
                    .at(at),
            );
        }
    }
}

/// `*` beside aggregates: columns that are not grouped.
fn whole_rows(select: &Select, parsed: &Parsed, problems: &mut Vec<SqlProblem>) {
    let wildcard = |item: &SelectItem| {
        matches!(
            item,
            SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)
        )
    };
    if is_grouped(select)
        && let Some(item) = select.projection.iter().find(|item| wildcard(item))
    {
        let message = "`*` selects columns that are neither grouped nor aggregated";
        let at = text_span(item.span()).or_else(|| parsed.keyword(Keyword::SELECT));
        problems.push(
            SqlProblem::new(Code::NotGrouped, message)
                .help("list the columns of GROUP BY instead")
                .at(at),
        );
    }
}

/// The calls that are `wanted`, in the order in which they stand.
fn calls<T: Visit>(within: &T, wanted: fn(&Function) -> bool) -> Vec<Function> {
    struct Calls {
        wanted: fn(&Function) -> bool,
        found: Vec<Function>,
    }
    impl Visitor for Calls {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            if let Expr::Function(call) = expr
                && (self.wanted)(call)
            {
                self.found.push(call.clone());
            }
            ControlFlow::Continue(())
        }
    }
    let mut calls = Calls {
        wanted,
        found: Vec::new(),
    };
    let _ = within.visit(&mut calls);
    calls.found
}
