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

/// A whole number beyond a bigint would be taken as a double, and lose its last digits; one beyond a double is infinite.
fn too_large(number: &str, negative: bool, expr: &Expr) -> Option<SqlProblem> {
    let whole = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    let most = i64::MIN.unsigned_abs() - u64::from(!negative);
    let (data_type, help) = if number.parse().is_ok_and(f64::is_infinite) {
        let help = "the largest double is about 1.8e308".to_owned();
        ("double", help)
    } else if !whole || number.parse().is_ok_and(|number: u64| number <= most) {
        return None;
    } else if number.len() <= 38 {
        let exact = format!("CAST('{number}' AS DECIMAL(38, 0))");
        let help = format!("write `{exact}`, or `{number}.0` for a double");
        ("bigint", help)
    } else {
        let help = format!("write `{number}.0`, which is a double");
        ("bigint", help)
    };
    let message = format!("`{number}` is too large for a {data_type}");
    let problem = SqlProblem::new(Code::InvalidConstant, message).help(help);
    Some(problem.at(text_span(expr.span())))
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
