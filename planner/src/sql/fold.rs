//! Constants, computed while planning, and calls that no event can pass.
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::datatypes::{DataType, Schema};
use datafusion_common::metadata::FieldMetadata;
use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_common::{DFSchema, DFSchemaRef, Result, ScalarValue};
use datafusion_expr::expr_rewriter::NamePreserver;
use datafusion_expr::simplify::SimplifyContext;
use datafusion_expr::utils::merge_schema;
use datafusion_expr::{ColumnarValue, Expr, LogicalPlan};
use datafusion_optimizer::optimizer::ApplyOrder;
use datafusion_optimizer::simplify_expressions::ExprSimplifier;
use datafusion_optimizer::{OptimizerConfig, OptimizerRule};

use crate::sql::lower::physical;

/// How often folding and simplifying may follow each other; each makes the expression smaller.
const MAX_ROUNDS: usize = 32;

/// Folds constants with the arithmetic that runs, which is checked; DataFusion's own folding would let numbers wrap round.
/// It has to stand before the rule that simplifies, and leaves it nothing to fold.
#[derive(Debug)]
pub(crate) struct FoldConstants;

impl OptimizerRule for FoldConstants {
    fn name(&self) -> &str {
        "fold_constants"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let context = SimplifyContext::builder()
            .with_schema(DFSchemaRef::new(merge_schema(&plan.inputs())))
            .with_config_options(config.options())
            .with_query_execution_start_time(config.query_execution_start_time())
            .build();
        // One round: what simplifying brings to light is folded here first.
        let simplifier = ExprSimplifier::new(context).with_max_cycles(1);
        let names = NamePreserver::new(&plan);
        plan.map_expressions(|expr| {
            let name = names.save(&expr);
            let folded = fold_and_simplify(expr, &simplifier)?;
            Ok(folded.update_data(|expr| name.restore(expr)))
        })
    }
}

fn fold_and_simplify(mut expr: Expr, simplifier: &ExprSimplifier) -> Result<Transformed<Expr>> {
    let mut changed = false;
    for _ in 0..MAX_ROUNDS {
        let folded = fold(expr)?;
        let (simplified, _) = simplifier.simplify_with_cycle_count_transformed(folded.data)?;
        expr = simplified.data;
        if !folded.transformed && !simplified.transformed {
            break;
        }
        changed = true;
    }
    Ok(Transformed::new_transformed(expr, changed))
}

/// Puts the value in the place of each largest part that is constant.
fn fold(expr: Expr) -> Result<Transformed<Expr>> {
    expr.transform_down(|expr| {
        let is_value = matches!(expr, Expr::Literal(..) | Expr::Alias(_));
        if is_value || !is_constant(&expr)? || contains_rewritten(&expr)? {
            return Ok(Transformed::no(expr));
        }
        let (value, metadata) = evaluate(&expr)?;
        Ok(Transformed::new(
            Expr::Literal(value, metadata),
            true,
            TreeNodeRecursion::Jump,
        ))
    })
}

fn is_constant(expr: &Expr) -> Result<bool> {
    #[expect(deprecated, reason = "a wildcard in a call is still one")]
    let varies = expr.exists(|expr| {
        Ok(matches!(
            expr,
            Expr::Column(_)
                | Expr::OuterReferenceColumn(..)
                | Expr::ScalarVariable(..)
                | Expr::Placeholder(_)
                | Expr::AggregateFunction(_)
                | Expr::WindowFunction(_)
                | Expr::GroupingSet(_)
                | Expr::Unnest(_)
                | Expr::Wildcard { .. }
                | Expr::Exists(_)
                | Expr::InSubquery(_)
                | Expr::SetComparison(_)
                | Expr::ScalarSubquery(_)
                | Expr::Lambda(_)
                | Expr::LambdaVariable(_)
        ))
    })?;
    Ok(!varies)
}

/// Whether an expression calls a function that DataFusion does not compute but writes as CASE when it simplifies, such as `coalesce`: what comes
/// of that is folded in the next round.
fn contains_rewritten(expr: &Expr) -> Result<bool> {
    expr.exists(|expr| Ok(matches!(expr, Expr::ScalarFunction(call) if call.func.short_circuits())))
}

fn evaluate(expr: &Expr) -> Result<(ScalarValue, Option<FieldMetadata>)> {
    let row = row_of(&[])?;
    let compiled = physical(expr, &DFSchema::empty())?;
    let field = compiled.return_field(&row.schema())?;
    let metadata = Some(FieldMetadata::from(field.metadata())).filter(|m| !m.is_empty());
    let value = match compiled.evaluate(&row)? {
        ColumnarValue::Array(array) => ScalarValue::try_from_array(&array, 0)?,
        ColumnarValue::Scalar(value) => value,
    };
    Ok((value, metadata))
}

/// Whether some event can pass the calls of a plan. What fails alike for a row of NULLs and for a row of ordinary values fails
/// because of its constants, such as a unit of time that does not exist.
pub(crate) fn try_out(plan: &LogicalPlan) -> Result<()> {
    plan.apply(|node| {
        if matches!(
            node,
            LogicalPlan::Projection(_) | LogicalPlan::Filter(_) | LogicalPlan::Aggregate(_)
        ) {
            let schema = merge_schema(&node.inputs());
            for expr in node.expressions() {
                try_out_calls(&expr, &schema)?;
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

fn try_out_calls(expr: &Expr, schema: &DFSchema) -> Result<()> {
    expr.apply(|expr| {
        let Expr::ScalarFunction(_) = expr else {
            return Ok(TreeNodeRecursion::Continue);
        };
        let own = expr.column_refs();
        let known = own
            .iter()
            .all(|column| schema.maybe_index_of_column(column).is_some());
        if known && !contains_other_rows(expr)? {
            try_out_call(expr, schema)?;
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

fn contains_other_rows(expr: &Expr) -> Result<bool> {
    expr.exists(|expr| {
        Ok(matches!(
            expr,
            Expr::AggregateFunction(_)
                | Expr::Unnest(_)
                | Expr::Lambda(_)
                | Expr::LambdaVariable(_)
        ))
    })
}

fn try_out_call(call: &Expr, schema: &DFSchema) -> Result<()> {
    let compiled = physical(call, schema)?;
    let types: Vec<&DataType> = schema.fields().iter().map(|f| f.data_type()).collect();
    let nulls: Vec<ArrayRef> = types.iter().map(|t| new_null_array(t, 1)).collect();
    let Err(of_nulls) = compiled.evaluate(&row_of(&nulls)?) else {
        return Ok(());
    };
    let ordinary: Vec<ArrayRef> = types
        .iter()
        .map(|data_type| ordinary(data_type))
        .collect::<Result<_>>()?;
    match compiled.evaluate(&row_of(&ordinary)?) {
        Err(of_values) if of_values.strip_backtrace() == of_nulls.strip_backtrace() => {
            Err(of_nulls)
        }
        _ => Ok(()),
    }
}

fn row_of(columns: &[ArrayRef]) -> Result<RecordBatch> {
    let fields: Vec<_> = columns
        .iter()
        .enumerate()
        .map(|(at, column)| {
            arrow::datatypes::Field::new(at.to_string(), column.data_type().clone(), true)
        })
        .collect();
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    Ok(RecordBatch::try_new_with_options(
        Arc::new(Schema::new(fields)),
        columns.to_vec(),
        &options,
    )?)
}

/// A value that an event may well have.
fn ordinary(data_type: &DataType) -> Result<ArrayRef> {
    let value = match data_type {
        DataType::Utf8 => ScalarValue::Utf8(Some("1".to_owned())),
        DataType::Boolean => ScalarValue::Boolean(Some(true)),
        other => match ScalarValue::new_one(other) {
            Ok(one) => one,
            Err(_) => ScalarValue::Int64(Some(1))
                .cast_to(other)
                .or_else(|_| ScalarValue::try_from(other))?,
        },
    };
    value.to_array_of_size(1)
}
