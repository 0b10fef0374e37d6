//! Adds the window's bounds to the query of an aggregate step: to its SELECT lists and to its GROUP BY.
use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{
    Expr, GroupByExpr, Ident, Query, Select, SelectItem, SetExpr, TableFactor, Value, Visit,
    Visitor, With,
};

use crate::sql::parse::normal;
use crate::sql::registry::FUNCTIONS;

/// Name of the column that holds the start of the window.
pub const WINDOW_START: &str = "window_start";
/// Name of the column that holds the end of the window (exclusive).
pub const WINDOW_END: &str = "window_end";

/// Makes every SELECT of the chain yield `window_start` and `window_end`, and group by them where it groups.
pub(crate) fn expose_window(query: &mut Query) {
    expose(&mut query.body, query.with.as_mut());
}

fn expose(body: &mut SetExpr, mut with: Option<&mut With>) {
    let select = match body {
        SetExpr::Select(select) => select,
        SetExpr::Query(inner) => {
            let Query {
                body, with: own, ..
            } = &mut **inner;
            return expose(body, own.as_mut().or(with));
        }
        // Refused elsewhere.
        _ => return,
    };
    let groups = is_grouped(select);
    for name in [WINDOW_START, WINDOW_END] {
        expose_column(select, name, groups);
    }
    for table in &mut select.from {
        match &mut table.relation {
            TableFactor::Derived { subquery, .. } => {
                let Query {
                    body, with: own, ..
                } = &mut **subquery;
                expose(body, own.as_mut().or(with.as_deref_mut()));
            }
            TableFactor::Table { name, .. } => {
                let Some(with) = with.as_deref_mut() else {
                    continue;
                };
                let wanted = name.0.first().and_then(|part| part.as_ident()).map(normal);
                let at = with
                    .cte_tables
                    .iter()
                    .position(|cte| Some(normal(&cte.alias.name)) == wanted);
                if let Some(at) = at {
                    // A WITH query may read those before it, not itself: taken out, the rest stays reachable.
                    let mut cte = with.cte_tables.remove(at);
                    expose(&mut cte.query.body, Some(&mut *with));
                    with.cte_tables.insert(at, cte);
                }
            }
            _ => {}
        }
    }
}

fn expose_column(select: &mut Select, name: &str, groups: bool) {
    let at = select
        .projection
        .iter()
        .position(|item| yields(item, name, groups));
    if at.is_none() {
        select
            .projection
            .push(SelectItem::UnnamedExpr(Expr::Identifier(Ident::new(name))));
    }
    if let (true, GroupByExpr::Expressions(by, _)) = (groups, &mut select.group_by) {
        let position = at.map(|index| (index + 1).to_string());
        if !by
            .iter()
            .any(|expr| is_column(expr, name) || is_number(expr, position.as_deref()))
        {
            by.push(Expr::Identifier(Ident::new(name)));
        }
    }
}

fn yields(item: &SelectItem, name: &str, groups: bool) -> bool {
    match item {
        SelectItem::UnnamedExpr(expr) => is_column(expr, name),
        SelectItem::ExprWithAlias { alias, .. } => normal(alias) == name,
        SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..) => !groups,
        SelectItem::ExprWithAliases { .. } => false,
    }
}

fn is_column(expr: &Expr, name: &str) -> bool {
    match expr {
        Expr::Identifier(ident) => normal(ident) == name,
        Expr::CompoundIdentifier(parts) => parts.last().is_some_and(|ident| normal(ident) == name),
        _ => false,
    }
}

fn is_number(expr: &Expr, number: Option<&str>) -> bool {
    matches!(expr, Expr::Value(value) if matches!(&value.value, Value::Number(n, _) if Some(n.as_str()) == number))
}

/// Whether a SELECT groups rows: by GROUP BY, or by calling an aggregate function.
pub(crate) fn is_grouped(select: &Select) -> bool {
    let by = match &select.group_by {
        GroupByExpr::All(_) => true,
        GroupByExpr::Expressions(by, modifiers) => !by.is_empty() || !modifiers.is_empty(),
    };
    by || select.having.is_some() || select.projection.visit(&mut FindsAggregate).is_break()
}

/// Stops at the first call of an aggregate function.
struct FindsAggregate;

impl Visitor for FindsAggregate {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Function(call)
                if call.over.is_none() && FUNCTIONS.aggregate(&call.name.to_string()).is_some() =>
            {
                ControlFlow::Break(())
            }
            _ => ControlFlow::Continue(()),
        }
    }
}
