//! Values that a step cannot have: placeholders, numbers without a type, divisors of zero.
use datafusion_sql::sqlparser::ast::{BinaryOperator, Expr, Spanned, UnaryOperator, Value};

use crate::problem::Code;
use crate::sql::{SqlProblem, text_span, wording};

/// What is wrong with a value, if anything; `negative` says whether it stands right after a minus sign.
pub(crate) fn judge_value(expr: &Expr, negative: bool) -> Option<SqlProblem> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Placeholder(name) => Some(placeholder(name, expr)),
            Value::Number(number, _) => too_large(number, negative, expr),
            _ => None,
        },
        Expr::Identifier(ident) if ident.quote_style.is_none() && ident.value.starts_with('@') => {
            Some(placeholder(&ident.value, expr))
        }
        Expr::BinaryOp {
            op: BinaryOperator::Divide | BinaryOperator::Modulo,
            right,
            ..
        } if is_zero(right) => Some(
            SqlProblem::new(Code::InvalidConstant, "this divides by zero")
                .help(wording::DIVISOR)
                .at(text_span(right.span())),
        ),
        _ => None,
    }
}

/// Whether an expression is a minus sign before another.
pub(crate) fn is_negative(expr: &Expr) -> bool {
    matches!(
        expr,
        Expr::UnaryOp {
            op: UnaryOperator::Minus,
            ..
        }
    )
}

fn placeholder(name: &str, expr: &Expr) -> SqlProblem {
    let message = format!("`{name}` stands for a value that nobody gives: a step runs by itself");
    SqlProblem::new(Code::RefusedSql, message)
        .help("write the value itself")
        .at(text_span(expr.span()))
}

/// A whole number beyond a bigint would be taken as a double, and lose its last digits.
fn too_large(number: &str, negative: bool, expr: &Expr) -> Option<SqlProblem> {
    let whole = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    let most = i64::MIN.unsigned_abs() - u64::from(!negative);
    if !whole || number.parse::<u64>().is_ok_and(|number| number <= most) {
        return None;
    }
    let help = if number.len() <= 38 {
        format!("write `CAST('{number}' AS DECIMAL(38, 0))`, or `{number}.0` for a double")
    } else {
        format!("write `{number}.0`, which is a double")
    };
    Some(
        SqlProblem::new(
            Code::InvalidConstant,
            format!("`{number}` is too large for a bigint"),
        )
        .help(help)
        .at(text_span(expr.span())),
    )
}

fn is_zero(expr: &Expr) -> bool {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(number, _) => number.parse::<f64>().is_ok_and(|n| n == 0.0),
            _ => false,
        },
        Expr::Nested(inner) => is_zero(inner),
        _ => false,
    }
}
