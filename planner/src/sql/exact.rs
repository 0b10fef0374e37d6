//! Arithmetic that yields the exact value or an error, never another number.
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Decimal128Type, Decimal256Type, DecimalType, FieldRef, Schema};
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{Result, ScalarValue};
use datafusion_expr::{ColumnarValue, Operator};
use datafusion_physical_expr::expressions::{BinaryExpr, Literal, NegativeExpr};
use datafusion_physical_expr::{PhysicalExpr, ScalarFunctionExpr};

/// `expr` over columns of `schema`, with every operation checked: a number too large for its type is an error of its row.
pub(crate) fn exact(expr: Arc<dyn PhysicalExpr>, schema: &Schema) -> Result<Arc<dyn PhysicalExpr>> {
    let checked = expr.transform_up(|expr| {
        if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
            let checked: Arc<dyn PhysicalExpr> =
                Arc::new(binary.clone().with_fail_on_overflow(true));
            return Ok(Transformed::yes(within_digits(checked, schema)?));
        }
        if let Some(negative) = expr.downcast_ref::<NegativeExpr>() {
            return negated(negative, &expr, schema);
        }
        if expr.downcast_ref::<ScalarFunctionExpr>().is_some() {
            return Ok(Transformed::yes(within_digits(expr, schema)?));
        }
        Ok(Transformed::no(expr))
    })?;
    Ok(checked.data)
}

/// The smallest whole number has no opposite, and DataFusion would yield it again: `0 - x` is checked.
fn negated(
    negative: &NegativeExpr,
    expr: &Arc<dyn PhysicalExpr>,
    schema: &Schema,
) -> Result<Transformed<Arc<dyn PhysicalExpr>>> {
    let data_type = expr.data_type(schema)?;
    if !data_type.is_signed_integer() {
        return Ok(Transformed::no(Arc::clone(expr)));
    }
    let zero = Arc::new(Literal::new(ScalarValue::new_zero(&data_type)?));
    let difference = BinaryExpr::new(zero, Operator::Minus, Arc::clone(negative.arg()));
    Ok(Transformed::yes(Arc::new(
        difference.with_fail_on_overflow(true),
    )))
}

/// Arrow gives a decimal as many digits as its operation can need, but no more than there are, and some functions give too few:
/// nothing looks whether a value still has them, and what has more is cut off when it is shown.
fn within_digits(expr: Arc<dyn PhysicalExpr>, schema: &Schema) -> Result<Arc<dyn PhysicalExpr>> {
    Ok(match expr.data_type(schema)? {
        DataType::Decimal128(..) | DataType::Decimal256(..) => Arc::new(WithinDigits { expr }),
        _ => expr,
    })
}

/// Decimals that must have no more digits than their type says.
#[derive(Debug, Eq)]
struct WithinDigits {
    expr: Arc<dyn PhysicalExpr>,
}

impl PartialEq for WithinDigits {
    fn eq(&self, other: &Self) -> bool {
        self.expr.eq(&other.expr)
    }
}

impl Hash for WithinDigits {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.expr.hash(state);
    }
}

impl fmt::Display for WithinDigits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.expr.fmt(f)
    }
}

impl PhysicalExpr for WithinDigits {
    fn return_field(&self, input_schema: &Schema) -> Result<FieldRef> {
        self.expr.return_field(input_schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let value = self.expr.evaluate(batch)?;
        match &value {
            ColumnarValue::Array(array) => match array.data_type() {
                DataType::Decimal128(digits, _) => array
                    .as_primitive::<Decimal128Type>()
                    .validate_decimal_precision(*digits)?,
                DataType::Decimal256(digits, _) => array
                    .as_primitive::<Decimal256Type>()
                    .validate_decimal_precision(*digits)?,
                _ => {}
            },
            ColumnarValue::Scalar(ScalarValue::Decimal128(Some(value), digits, scale)) => {
                Decimal128Type::validate_decimal_precision(*value, *digits, *scale)?;
            }
            ColumnarValue::Scalar(ScalarValue::Decimal256(Some(value), digits, scale)) => {
                Decimal256Type::validate_decimal_precision(*value, *digits, *scale)?;
            }
            ColumnarValue::Scalar(_) => {}
        }
        Ok(value)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.expr]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        match children.pop() {
            Some(expr) => Ok(Arc::new(Self { expr })),
            None => Ok(self),
        }
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.expr.fmt_sql(f)
    }
}
