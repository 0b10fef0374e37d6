//! DataFusion's errors in words for whoever wrote the query: what is wrong, and what to write instead.
use datafusion_common::DataFusionError;
use datafusion_sql::sqlparser::ast::{BinaryOperator, Expr, FunctionArguments, UnaryOperator};

use crate::problem::Code;
use crate::sql::SqlProblem;
use crate::sql::registry::FUNCTIONS;
use crate::sql::types::plain_words;

/// What tables and steps can hold.
const TYPES: &str =
    "TEXT, BIGINT, DOUBLE, BOOLEAN, TIMESTAMP, DATE and DECIMAL(digits, digits after the point)";
/// What is done about a value inside a JSON column.
pub(crate) const JSON_MEMBER: &str =
    "declare a field with the member's `path` in the EventSource, which makes a column of it";

/// A constant that cannot be computed. `culprit` is the expression.
pub(crate) fn constant(error: &DataFusionError, culprit: Option<&Expr>) -> SqlProblem {
    let text = plain_words(&error.find_root().strip_backtrace());
    let problem = |message: String| SqlProblem::new(Code::InvalidConstant, message);
    if let Some((value, data_type)) =
        between(&text, "Cannot cast string '", "' to value of ", " type")
    {
        return problem(format!("`{value}` is no {data_type}")).help(example(&data_type));
    }
    if let Some((value, reason)) = between(&text, "Error parsing timestamp from '", "': ", "\n") {
        return problem(format!("`{value}` is no timestamp: {reason}")).help(example("timestamp"));
    }
    if let Some((_, expression)) = text.split_once("regex parse error:") {
        let reason = text.rsplit_once("error: ").map_or("", |(_, reason)| reason);
        let expression = expression
            .lines()
            .map(str::trim)
            .find(|line| !line.is_empty());
        let message = format!(
            "`{}` is no regular expression: {}",
            expression.unwrap_or_default(),
            reason.trim()
        );
        if reason.contains("flag") {
            return problem(message).help("the flags are `i`, `m`, `s`, `x`, `R` and `U`, and `g` where something is replaced");
        }
        return problem(message).help(r"write a backslash before a character that stands for itself, as in `\(`, or compare with LIKE");
    }
    if text.contains("Divide by zero") {
        return problem("this divides by zero".to_owned()).help(DIVISOR);
    }
    if is_overflow(error) {
        return problem(format!(
            "{} is too large for its type",
            shown(culprit, "this constant")
        ))
        .help(if text.contains("precision 38") {
            "a decimal has 38 digits: compute with smaller ones, or with `CAST(x AS DOUBLE)`, which rounds"
        } else {
            "compute with a wider type, such as `CAST(x AS DECIMAL(38, 0))` or `CAST(x AS DOUBLE)`"
        });
    }
    problem(format!(
        "{} cannot be computed: {}",
        shown(culprit, "this constant"),
        reason(&text)
    ))
    .help(
        culprit
            .and_then(usage)
            .unwrap_or_else(|| "write a value of the type that is wanted here".to_owned()),
    )
}

/// Whether a number is too large for its type.
pub(crate) fn is_overflow(error: &DataFusionError) -> bool {
    let text = error.find_root().strip_backtrace();
    let signs = ["Overflow", "overflow", "too large to store"];
    signs.iter().any(|sign| text.contains(sign)) && !text.contains("string size")
}

/// What to do about a divisor of zero.
pub(crate) const DIVISOR: &str =
    "write another divisor; one that may be zero is guarded by `nullif(x, 0)`";

/// A call that fails for every event.
pub(crate) fn call(error: &DataFusionError, culprit: Option<&Expr>) -> SqlProblem {
    if plain_words(&error.strip_backtrace()).contains("regex parse error:") {
        return constant(error, culprit);
    }
    let text = reason(&error.find_root().strip_backtrace());
    let (why, choice) = match text.split_once(". Supported values are: ") {
        Some((why, values)) => (why, Some(format!("write one of {values}"))),
        None => (text.as_str(), None),
    };
    let message = format!(
        "{} fails for every event: {why}",
        shown(culprit, "this call")
    );
    let parts = text.starts_with("date part ").then(|| PARTS.to_owned());
    let help = choice.or(parts).or_else(|| usage(culprit?));
    SqlProblem::new(Code::InvalidConstant, message)
        .help(help.unwrap_or_else(|| "change its constants".to_owned()))
}

/// The parts of a time, for `date_part` and EXTRACT.
const PARTS: &str = "write one of year, quarter, month, week, day, hour, minute, second, millisecond, microsecond, dow, doy, epoch";

/// Names or types that do not fit.
pub(crate) fn types(error: &DataFusionError, culprit: Option<&Expr>) -> SqlProblem {
    let root = error.find_root();
    let text = plain_words(&root.message());
    let first = text.lines().next().unwrap_or_default().trim();
    let mismatch =
        |message: String, help: String| SqlProblem::new(Code::TypeMismatch, message).help(help);
    if let Some(problem) = wrong_call(first, &text, culprit) {
        return problem;
    }
    if let Some((_, operands)) = first.split_once("Cannot coerce arithmetic expression ") {
        let operands = operands.trim_end_matches(" to valid types");
        return mismatch(
            format!("`{operands}` is not possible"),
            arithmetic(operands, culprit),
        );
    }
    if let Some((_, operands)) =
        first.split_once("Cannot infer common argument type for comparison operation ")
    {
        return mismatch(
            format!("`{operands}` is not possible: these types cannot be compared"),
            comparison(operands, culprit),
        );
    }
    if first.contains("logical boolean operation")
        || first.contains("requires a boolean expression")
    {
        let message = "AND, OR and NOT join conditions, which are true or false";
        return mismatch(
            message.to_owned(),
            format!(
                "make a condition of it first, such as `{} IS NOT NULL`",
                column(culprit, "x")
            ),
        );
    }
    if first.contains("nary operator") {
        let (sign, of) = match culprit {
            Some(Expr::UnaryOp { op, expr }) => (op.to_string(), expr.to_string()),
            _ => ("-".to_owned(), "x".to_owned()),
        };
        return mismatch(
            format!("`{sign}` stands before numbers"),
            format!("make a number of it: `{sign}CAST({of} AS DOUBLE)`"),
        );
    }
    if first.contains("LIKE expression") || first.contains("pattern matching") {
        return mismatch(
            "LIKE compares texts".to_owned(),
            "put the pattern in single quotes, and make texts of numbers: `CAST(x AS TEXT)`"
                .to_owned(),
        );
    }
    if let Some((_, name)) = first.split_once("Unsupported SQL type ") {
        return unknown_type(name, culprit);
    }
    if let Some((_, value)) = first.split_once("Invalid input syntax for type interval: ") {
        return SqlProblem::new(Code::InvalidConstant, format!("{} is no interval", value.replace('"', "`")))
            .help("write numbers with units, such as `INTERVAL '1 hour'` or `INTERVAL '2 days 30 minutes'`");
    }
    if first.contains("can only be applied to array") {
        return mismatch(
            "`unnest` takes a list".to_owned(),
            format!(
                "make a list first, such as `unnest(string_to_array({}, ','))`",
                argument(culprit)
            ),
        );
    }
    if first.contains("Cannot access field") || first.contains("->") {
        return SqlProblem::new(
            Code::RefusedSql,
            "the members of a JSON value cannot be read in SQL",
        )
        .help(JSON_MEMBER);
    }
    if first.contains("would exceed max scale") {
        let message = format!(
            "{} has more than 38 digits after the point",
            shown(culprit, "this product")
        );
        return mismatch(
            message,
            "cast the factors to fewer digits, such as `CAST(x AS DECIMAL(18, 4))`, or to DOUBLE"
                .to_owned(),
        );
    }
    if matches!(root, DataFusionError::NotImplemented(_)) {
        let message = format!("this SQL is not possible here: {}", lower_first(first));
        return SqlProblem::new(Code::RefusedSql, message).help(
            "write it another way; steps know plain SELECT, FROM, WHERE, GROUP BY and HAVING",
        );
    }
    mismatch(
        lower_first(first),
        "convert one side, such as `CAST(x AS DOUBLE)` or `CAST(x AS TEXT)`".to_owned(),
    )
}

/// A function that is called with the wrong number or types of arguments.
fn wrong_call(first: &str, text: &str, culprit: Option<&Expr>) -> Option<SqlProblem> {
    let called = first
        .split_once("name and argument types '")
        .and_then(|(_, rest)| rest.split('\'').next())
        .map(str::to_owned);
    let name = match (&called, first.split_once("' failed to match any signature")) {
        (Some(call), _) => call.split('(').next()?.to_owned(),
        (None, Some((before, _))) => before.rsplit('\'').next()?.to_owned(),
        (None, None) if first.contains("Substring without for/from") => "substr".to_owned(),
        (None, None) => match culprit {
            Some(Expr::Function(function)) => {
                let name = function.name.to_string().to_lowercase();
                let about = first.starts_with(&format!("{name} "))
                    || first.contains(&format!("'{name}'"))
                    || first.contains(&format!("`{name}`"));
                about.then_some(name)?
            }
            _ => return None,
        },
    };
    // Of several arguments it may be any.
    let received = text
        .split_once("(DataType: ")
        .filter(|_| is_of_one(culprit))
        .and_then(|(_, rest)| rest.split(')').next());
    let message = match (&called, received) {
        (Some(call), _) => format!("`{name}` cannot be called as `{call}`"),
        (None, Some(received)) => format!("`{name}` does not take {received}"),
        (None, None) => format!("`{name}` does not take these arguments"),
    };
    let usage = FUNCTIONS.usage(&name).map_or_else(
        || format!("see how `{name}` is called: https://datafusion.apache.org/user-guide/sql/"),
        |usage| format!("it is called as `{usage}`"),
    );
    let of_text = called
        .as_deref()
        .or(received)
        .is_some_and(|types| types.contains("text"));
    let help = if of_text && takes_numbers(&name) {
        format!(
            "{usage}; a text becomes a number by `CAST({} AS DOUBLE)`",
            argument(culprit)
        )
    } else {
        usage
    };
    Some(SqlProblem::new(Code::TypeMismatch, message).help(help))
}

/// Whether an expression is a call with one argument.
fn is_of_one(expr: Option<&Expr>) -> bool {
    let Some(Expr::Function(call)) = expr else {
        return false;
    };
    matches!(&call.args, FunctionArguments::List(list) if list.args.len() == 1)
}

/// Whether a function wants numbers, where it was given a text.
fn takes_numbers(name: &str) -> bool {
    FUNCTIONS.aggregate(name).is_some()
        || FUNCTIONS
            .usage(name)
            .is_some_and(|usage| usage.contains("numeric_expression"))
}

fn unknown_type(name: &str, culprit: Option<&Expr>) -> SqlProblem {
    let name = name.trim();
    let of = match culprit {
        Some(Expr::Cast { expr, .. }) => expr.to_string(),
        _ => "x".to_owned(),
    };
    let help = match name.to_uppercase().as_str() {
        "UUID" | "JSON" | "JSONB" => format!(
            "write `{of}` as it stands: columns that a source declares as uuid or json remain so, and others are TEXT"
        ),
        "MONEY" => format!("write `CAST({of} AS DECIMAL(18, 2))`"),
        _ => format!("the types are {TYPES}"),
    };
    SqlProblem::new(
        Code::TypeMismatch,
        format!("nothing can be cast to {}", name.to_lowercase()),
    )
    .help(help)
}

fn arithmetic(operands: &str, culprit: Option<&Expr>) -> String {
    let (left, right) = sides(culprit);
    let has = |word: &str| operands.contains(word);
    match operands {
        "text + text" => format!("texts are joined by `||`: `{left} || {right}`"),
        _ if has("timestamp") && (has("bigint") || has("double")) => {
            "add a span of time, such as `ts + INTERVAL '5 seconds'`".to_owned()
        }
        _ if has("timestamp + timestamp") => {
            "two times are subtracted, or a span of time is added, such as `INTERVAL '5 seconds'`"
                .to_owned()
        }
        _ if has("timestamp") && has("text") => {
            "write a span of time as `INTERVAL '5 seconds'`, and a time as `TIMESTAMP '2026-01-31T00:00:00Z'`".to_owned()
        }
        _ if has("text") => {
            let text = if operands.starts_with("text") {
                left
            } else {
                right
            };
            format!("make a number of the text: `CAST({text} AS DOUBLE)`")
        }
        _ if has("boolean") => {
            let boolean = if operands.starts_with("boolean") {
                left
            } else {
                right
            };
            format!("make a number of the condition: `CASE WHEN {boolean} THEN 1 ELSE 0 END`")
        }
        _ => "convert one side, such as `CAST(x AS DOUBLE)`".to_owned(),
    }
}

fn comparison(operands: &str, culprit: Option<&Expr>) -> String {
    let (left, right) = sides(culprit);
    if operands.contains("interval") {
        return "compare a time with a time: `ts > other - INTERVAL '1 hour'`".to_owned();
    }
    if operands.contains("timestamp") {
        return "compare with a time, such as `TIMESTAMP '2026-01-31T00:00:00Z'`".to_owned();
    }
    if operands.contains("boolean") {
        return "a condition is true or false by itself: write it without comparing".to_owned();
    }
    format!("convert one side, such as `CAST({left} AS TEXT)` or `CAST({right} AS TEXT)`")
}

/// What to write where a value of this type is wanted.
fn example(data_type: &str) -> String {
    match data_type {
        "double" => "write a number, such as `50` or `0.5`".to_owned(),
        "bigint" => "write a whole number, such as `50`".to_owned(),
        "boolean" => "write `true` or `false`".to_owned(),
        "date" => "write a day that exists, such as `'2026-01-31'`".to_owned(),
        "timestamp" => "write a time that exists, such as `'2026-01-31T00:00:00Z'`".to_owned(),
        other => format!("write a value of type {other}"),
    }
}

fn usage(expr: &Expr) -> Option<String> {
    let Expr::Function(function) = expr else {
        return None;
    };
    let usage = FUNCTIONS.usage(&function.name.to_string())?;
    Some(format!("it is called as `{usage}`"))
}

/// The two sides of an operator, as they were written.
fn sides(expr: Option<&Expr>) -> (String, String) {
    match expr {
        Some(Expr::BinaryOp { left, right, .. }) => (left.to_string(), right.to_string()),
        Some(Expr::Nested(inner)) => sides(Some(inner)),
        _ => ("a".to_owned(), "b".to_owned()),
    }
}

/// The only argument of a call, or any.
fn argument(expr: Option<&Expr>) -> String {
    let text = expr.map(ToString::to_string).unwrap_or_default();
    let inner = text
        .split_once('(')
        .and_then(|(_, rest)| rest.strip_suffix(')'));
    inner
        .filter(|inner| !inner.is_empty() && !inner.contains([',', '(', '*']))
        .unwrap_or("x")
        .to_owned()
}

/// A column of the expression that is no condition yet.
fn column(expr: Option<&Expr>, otherwise: &str) -> String {
    match expr {
        Some(Expr::Identifier(_) | Expr::CompoundIdentifier(_)) => {
            expr.map(ToString::to_string).unwrap_or_default()
        }
        Some(Expr::BinaryOp {
            left,
            op: BinaryOperator::And | BinaryOperator::Or,
            ..
        }) => column(Some(left), otherwise),
        Some(Expr::UnaryOp {
            op: UnaryOperator::Not,
            expr,
        }) => column(Some(expr), otherwise),
        _ => otherwise.to_owned(),
    }
}

fn shown(expr: Option<&Expr>, otherwise: &str) -> String {
    expr.map_or_else(|| otherwise.to_owned(), |expr| format!("`{expr}`"))
}

/// The error itself, without what wraps it.
fn reason(text: &str) -> String {
    let mut rest = plain_words(text.lines().next().unwrap_or_default().trim());
    for prefix in [
        "Execution error: ",
        "Arrow error: ",
        "Error during planning: ",
        "Invalid argument error: ",
        "Parser error: ",
        "Cast error: ",
        "External error: ",
        "Compute error: ",
        "This feature is not implemented: ",
    ] {
        if let Some(without) = rest.strip_prefix(prefix) {
            rest = without.to_owned();
        }
    }
    lower_first(rest.trim_end_matches('.'))
}

/// The two texts around `middle`, after `start` and before `end`.
fn between(text: &str, start: &str, middle: &str, end: &str) -> Option<(String, String)> {
    let (_, rest) = text.split_once(start)?;
    let (left, rest) = rest.split_once(middle)?;
    Some((left.to_owned(), rest.split(end).next()?.to_owned()))
}

pub(crate) fn lower_first(text: &str) -> String {
    let mut words = text.splitn(2, ' ');
    let first = words.next().unwrap_or_default();
    // A word in capitals is a keyword.
    if first.chars().skip(1).any(char::is_uppercase) {
        return text.to_owned();
    }
    let mut chars = text.chars();
    let lower = chars.next().map(|c| c.to_lowercase().to_string());
    format!("{}{}", lower.unwrap_or_default(), chars.as_str())
}
