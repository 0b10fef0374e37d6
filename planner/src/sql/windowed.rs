//! Adds the window's bounds to the query of an aggregate step: to its SELECT lists and to its GROUP BY.
use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{
    Expr, GroupByExpr, Ident, Query, Select, SelectItem, SetExpr, TableAlias, TableAliasColumnDef,
    TableFactor, Value, Visit, Visitor, With,
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

/// The names that were added at the end of the SELECT list.
type Added = Vec<&'static str>;

fn expose(body: &mut SetExpr, mut with: Option<&mut With>) -> Added {
    let select = match body {
        SetExpr::Select(select) => select,
        SetExpr::Query(inner) => {
            let own = inner.with.as_mut().or(with);
            return expose(&mut inner.body, own);
        }
        // Refused elsewhere.
        _ => return Added::new(),
    };
    let groups = is_grouped(select);
    let mut added = Added::new();
    for name in [WINDOW_START, WINDOW_END] {
        if groups {
            group_by(select, name);
        }
        if !select
            .projection
            .iter()
            .any(|item| yields(item, name, groups))
        {
            select
                .projection
                .push(SelectItem::UnnamedExpr(column(name)));
            added.push(name);
        }
    }
    for table in &mut select.from {
        match &mut table.relation {
            TableFactor::Derived {
                subquery, alias, ..
            } => {
                let own = subquery.with.as_mut().or(with.as_deref_mut());
                let added = expose(&mut subquery.body, own);
                name_columns(alias.as_mut(), &added);
            }
            TableFactor::Table { name, .. } => {
                let wanted = name.0.first().and_then(|part| part.as_ident()).map(normal);
                if let (Some(with), Some(wanted)) = (with.as_deref_mut(), wanted) {
                    expose_cte(with, &wanted);
                }
            }
            _ => {}
        }
    }
    added
}

fn expose_cte(with: &mut With, name: &str) {
    let Some(at) = with
        .cte_tables
        .iter()
        .position(|cte| normal(&cte.alias.name) == name)
    else {
        return;
    };
    // A WITH query may read those before it, not itself: taken out, the rest stays reachable.
    let mut cte = with.cte_tables.remove(at);
    let added = expose(&mut cte.query.body, Some(&mut *with));
    name_columns(Some(&mut cte.alias), &added);
    with.cte_tables.insert(at, cte);
}

/// An alias that names columns names all of them.
fn name_columns(alias: Option<&mut TableAlias>, added: &Added) {
    if let Some(alias) = alias.filter(|alias| !alias.columns.is_empty()) {
        alias.columns.extend(
            added
                .iter()
                .map(|name| TableAliasColumnDef::from_name(*name)),
        );
    }
}

fn column(name: &str) -> Expr {
    Expr::Identifier(Ident::new(name))
}

fn group_by(select: &mut Select, name: &str) {
    let Select {
        projection,
        group_by: GroupByExpr::Expressions(by, _),
        ..
    } = select
    else {
        // GROUP BY ALL takes what is selected.
        return;
    };
    if !by.iter().any(|expr| groups_by(expr, name, projection)) {
        by.push(column(name));
    }
}

/// Whether an expression of GROUP BY is the column: by its name, by an alias, or by its position.
fn groups_by(expr: &Expr, name: &str, projection: &[SelectItem]) -> bool {
    let is = |item: &SelectItem| match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
            is_column(expr, name)
        }
        _ => false,
    };
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(number, _) => {
                let position = number.parse::<usize>().ok().and_then(|n| n.checked_sub(1));
                position.and_then(|at| projection.get(at)).is_some_and(is)
            }
            _ => false,
        },
        Expr::Identifier(ident) if normal(ident) != name => projection.iter().any(|item| {
            matches!(item, SelectItem::ExprWithAlias { alias, .. } if normal(alias) == normal(ident)) && is(item)
        }),
        other => is_column(other, name),
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
