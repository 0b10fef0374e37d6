//! Which expression of a query is to blame for a failure.
use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion_sql::sqlparser::ast::{
    Expr, GroupByExpr, Query, Select, SelectItem, SetExpr, Spanned, TableFactor, Value, Visit,
    VisitMut, Visitor, VisitorMut, With,
};

use crate::sql::registry::Readable;
use crate::sql::translate::{Failure, attempt};
use crate::sql::wording::is_overflow;

/// How many expressions are tried by themselves: a query may be long, and one place is enough.
const MAX_PROBES: usize = 400;

/// The smallest expression that fails in the same way by itself.
pub(crate) fn find(query: &Query, relations: &[Readable], failure: &Failure) -> Option<Expr> {
    let wanted = text(failure);
    let mut probes = 0;
    for scope in scopes(query) {
        let mut fails = |expr: &Expr| {
            probes += 1;
            probes <= MAX_PROBES
                && attempt(&scope.selecting(query, expr), relations)
                    .is_err_and(|failure| text(&failure) == wanted)
        };
        for root in roots(scope.select) {
            if fails(root) {
                let inner = parts(root).into_iter().find(|part| fails(part));
                return Some(inner.unwrap_or_else(|| root.clone()));
            }
        }
    }
    None
}

/// The condition in WHERE or HAVING that makes the query fail in this way, where it stands as it stands.
pub(crate) fn condition<'a>(
    query: &'a Query,
    relations: &[Readable],
    failure: &Failure,
) -> Option<(&'static str, &'a Expr)> {
    let wanted = text(failure);
    scopes(query).into_iter().find_map(|scope| {
        let condition = scope.select.selection.as_ref();
        let fails = |condition: &&Expr| {
            attempt(&scope.filtering(query, condition), relations)
                .is_err_and(|failure| text(&failure) == wanted)
        };
        let filter = condition.filter(fails).map(|expr| ("WHERE", expr));
        filter.or_else(|| scope.select.having.as_ref().map(|expr| ("HAVING", expr)))
    })
}

/// The longest literal that the failure speaks of. What is too large became so by computing with it.
pub(crate) fn literal(within: &impl Visit, failure: &Failure) -> Option<Expr> {
    if is_overflow(failure.error()) {
        return None;
    }
    struct Literals<'a> {
        message: &'a str,
        found: Option<(usize, Expr)>,
    }
    impl Visitor for Literals<'_> {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            let value = match expr {
                Expr::Value(value) => value.value.clone().into_string(),
                Expr::TypedString(typed) => typed.value.value.clone().into_string(),
                _ => None,
            };
            let length = value
                .filter(|text| !text.is_empty() && self.message.contains(text.as_str()))
                .map_or(0, |text| text.len());
            if length > self.found.as_ref().map_or(0, |(length, _)| *length) {
                self.found = Some((length, expr.clone()));
            }
            ControlFlow::Continue(())
        }
    }
    let message = text(failure);
    let mut literals = Literals {
        message: &message,
        found: None,
    };
    let _ = within.visit(&mut literals);
    literals.found.map(|(_, expr)| expr)
}

/// Puts NULL in the place of `culprit`, to find what else is wrong; false where it stands there already.
pub(crate) fn blank(query: &mut Query, culprit: &Expr) -> bool {
    if is_null(culprit) {
        return false;
    }
    struct Blank<'a> {
        culprit: &'a Expr,
        done: bool,
    }
    impl VisitorMut for Blank<'_> {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            if expr.span() == self.culprit.span() && expr == self.culprit {
                *expr = Expr::Value(Value::Null.with_empty_span());
                self.done = true;
            }
            ControlFlow::Continue(())
        }
    }
    let mut blank = Blank {
        culprit,
        done: false,
    };
    let _ = query.visit(&mut blank);
    blank.done
}

/// Whether an expression holds what [`blank`] puts: what fails there may follow from that.
pub(crate) fn is_blanked(expr: &Expr) -> bool {
    struct Blanks;
    impl Visitor for Blanks {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            match is_null(expr) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        }
    }
    expr.visit(&mut Blanks).is_break()
}

/// Whether an expression is the NULL of [`blank`], which stands at no place of the text.
fn is_null(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(value) if value.value == Value::Null && value.span.start.line == 0)
}

/// A SELECT, with the WITH queries that it may read.
struct Scope<'a> {
    with: Option<With>,
    select: &'a Select,
}

impl Scope<'_> {
    fn selecting(&self, query: &Query, expr: &Expr) -> Query {
        self.alone(query, expr.clone(), None)
    }

    fn filtering(&self, query: &Query, condition: &Expr) -> Query {
        let one = Expr::Value(Value::Number("1".to_owned(), false).with_empty_span());
        self.alone(query, one, Some(condition.clone()))
    }

    fn alone(&self, query: &Query, expr: Expr, selection: Option<Expr>) -> Query {
        let alias = "_probe".into();
        let select = Select {
            projection: vec![SelectItem::ExprWithAlias { expr, alias }],
            selection,
            having: None,
            group_by: GroupByExpr::Expressions(Vec::new(), Vec::new()),
            ..self.select.clone()
        };
        Query {
            with: self.with.clone(),
            body: Box::new(SetExpr::Select(Box::new(select))),
            order_by: None,
            ..query.clone()
        }
    }
}

/// Every SELECT of a query, each after those that it reads.
fn scopes(query: &Query) -> Vec<Scope<'_>> {
    let mut found = Vec::new();
    collect(query, None, &mut found);
    found
}

fn collect<'a>(query: &'a Query, around: Option<&With>, found: &mut Vec<Scope<'a>>) {
    let mut with = around.cloned();
    for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
        collect(&cte.query, with.as_ref(), found);
        let before = with.get_or_insert_with(|| With {
            with_token: AttachedToken::empty(),
            recursive: false,
            cte_tables: Vec::new(),
        });
        before.cte_tables.push(cte.clone());
    }
    collect_body(&query.body, with.as_ref(), found);
}

fn collect_body<'a>(body: &'a SetExpr, with: Option<&With>, found: &mut Vec<Scope<'a>>) {
    match body {
        SetExpr::Select(select) => {
            for table in &select.from {
                if let TableFactor::Derived { subquery, .. } = &table.relation {
                    collect(subquery, with, found);
                }
            }
            found.push(Scope {
                with: with.cloned(),
                select,
            });
        }
        SetExpr::Query(query) => collect(query, with, found),
        SetExpr::SetOperation { left, right, .. } => {
            collect_body(left, with, found);
            collect_body(right, with, found);
        }
        _ => {}
    }
}

fn roots(select: &Select) -> Vec<&Expr> {
    let items = select.projection.iter().filter_map(|item| match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr),
        _ => None,
    });
    let by: &[Expr] = match &select.group_by {
        GroupByExpr::Expressions(by, _) => by,
        GroupByExpr::All(_) => &[],
    };
    let conditions = select.selection.iter();
    conditions
        .chain(items)
        .chain(by)
        .chain(&select.having)
        .collect()
}

/// The expressions within an expression, each after those within it, and not the expression itself.
fn parts(expr: &Expr) -> Vec<Expr> {
    struct Parts(Vec<Expr>);
    impl Visitor for Parts {
        type Break = ();
        fn post_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            self.0.push(expr.clone());
            ControlFlow::Continue(())
        }
    }
    let mut parts = Parts(Vec::new());
    let _ = expr.visit(&mut parts);
    parts.0.pop();
    parts.0
}

fn text(failure: &Failure) -> String {
    failure.error().find_root().strip_backtrace()
}
