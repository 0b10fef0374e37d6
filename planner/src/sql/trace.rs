//! Which column of which relation a result column is, where it is one as it stands.
use datafusion_common::Column;
use datafusion_expr::{Expr, LogicalPlan};

/// A column of a relation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Origin {
    /// Name of the relation in the query.
    pub(crate) relation: String,
    /// Index of the column in the relation.
    pub(crate) column: usize,
}

/// Where column `index` of `plan` comes from: one origin, or one for each branch of a UNION ALL.
/// None where any branch computes it.
pub(crate) fn trace(plan: &LogicalPlan, index: usize) -> Option<Vec<Origin>> {
    match plan {
        LogicalPlan::TableScan(scan) => {
            let column = match &scan.projection {
                Some(projection) => *projection.get(index)?,
                None => index,
            };
            Some(vec![Origin {
                relation: scan.table_name.table().to_owned(),
                column,
            }])
        }
        LogicalPlan::Projection(projection) => {
            let column = plain_column(projection.expr.get(index)?)?;
            trace(
                &projection.input,
                projection.input.schema().maybe_index_of_column(column)?,
            )
        }
        LogicalPlan::Filter(filter) => trace(&filter.input, index),
        LogicalPlan::SubqueryAlias(alias) => trace(&alias.input, index),
        LogicalPlan::Union(union) => {
            let mut origins = Vec::new();
            for input in &union.inputs {
                origins.extend(trace(input, index)?);
            }
            Some(origins)
        }
        LogicalPlan::Unnest(unnest) => {
            let from = *unnest.dependency_indices.get(index)?;
            let unnested = unnest
                .list_type_columns
                .iter()
                .any(|(column, _)| *column == from);
            if unnested {
                None
            } else {
                trace(&unnest.input, from)
            }
        }
        _ => None,
    }
}

/// The column that an expression is, under any alias.
pub(crate) fn plain_column(expr: &Expr) -> Option<&Column> {
    match expr {
        Expr::Column(column) => Some(column),
        Expr::Alias(alias) => plain_column(&alias.expr),
        _ => None,
    }
}
