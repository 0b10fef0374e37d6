//! Which functions SQL may call, and why not the others.
use datafusion_expr::Volatility;
use datafusion_sql::sqlparser::ast::{
    DuplicateTreatment, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause,
    FunctionArgumentList, FunctionArguments, Spanned,
};

use crate::nearest::did_you_mean;
use crate::problem::Code;
use crate::sql::keyword::bare_word;
use crate::sql::refuse::Context;
use crate::sql::registry::FUNCTIONS;
use crate::sql::{SqlProblem, text_span, wording};

/// Aggregate functions with a state of bounded size that can be merged, and an answer that does not depend on the order of rows
/// (first and last: by event time).
const AGGREGATES: &[&str] = &[
    "count",
    "sum",
    "avg",
    "min",
    "max",
    "stddev",
    "stddev_pop",
    "var",
    "var_pop",
    "bool_and",
    "bool_or",
    "bit_and",
    "bit_or",
    "bit_xor",
    "approx_percentile_cont",
    "approx_percentile_cont_with_weight",
    "approx_median",
    "approx_distinct",
    "corr",
    "covar_samp",
    "covar_pop",
    "regr_slope",
    "regr_intercept",
    "regr_count",
    "regr_r2",
    "regr_avgx",
    "regr_avgy",
    "regr_sxx",
    "regr_syy",
    "regr_sxy",
    "first_value",
    "last_value",
];

/// Functions that make sense with OVER only.
const WINDOW_FUNCTIONS: &[&str] = &[
    "row_number",
    "rank",
    "dense_rank",
    "percent_rank",
    "cume_dist",
    "ntile",
    "lag",
    "lead",
];

/// Functions that the SQL planner knows by itself.
const BUILT_IN: &[&str] = &["unnest", "make_map", "map"];

/// What is wrong with a call, if anything.
pub(crate) fn judge_call(
    call: &Function,
    context: Context,
    time_column: Option<&str>,
) -> Option<SqlProblem> {
    let name = call.name.to_string().to_lowercase();
    let at = text_span(call.name.span());
    let problem = if call.over.is_some() || WINDOW_FUNCTIONS.contains(&name.as_str()) {
        let message = format!(
            "`{name}` over a window of rows (OVER) is not possible in a stream: it needs the rows before and after"
        );
        SqlProblem::new(Code::RefusedSql, message)
            .help("use an `aggregate` step; `first_value` and `last_value` go by event time there")
    } else if let Some(aggregate) = FUNCTIONS.aggregate(&name) {
        judge_aggregate(call, &name, aggregate.name(), context)?
    } else if let Some(scalar) = FUNCTIONS.scalar(&name) {
        if scalar.signature().volatility == Volatility::Immutable {
            return None;
        }
        volatile(&name, context, time_column)
    } else if name == "unnest" && context == Context::WindowRows {
        let message =
            "unnest of rows of windows is not possible: a row is stored by its window and group";
        SqlProblem::new(Code::WindowedInput, message)
            .help("unnest in a step before the aggregation")
    } else if FUNCTIONS.higher_order(&name).is_some() || BUILT_IN.contains(&name.as_str()) {
        return None;
    } else if bare_word(call).is_some() {
        let message = format!("`{name}` is a word of SQL itself, and tells nothing in a stream");
        SqlProblem::new(Code::UnknownFunction, message).help("use a column of the event")
    } else {
        let help = elsewhere(&name)
            .map(str::to_owned)
            .or_else(|| did_you_mean(&name, FUNCTIONS.names()));
        let problem = SqlProblem::new(
            Code::UnknownFunction,
            format!("there is no function `{name}`"),
        );
        match help {
            Some(help) => problem.help(help),
            None => problem.help("the functions are those of DataFusion: https://datafusion.apache.org/user-guide/sql/"),
        }
    };
    Some(problem.at(at))
}

/// What to write instead of functions of other databases that have no like-named one here.
fn elsewhere(name: &str) -> Option<&'static str> {
    Some(match name {
        "if" | "iif" => "write `CASE WHEN condition THEN a ELSE b END`",
        "isnull" => "write `coalesce(x, 0)`, or `x IS NULL` as a condition",
        "len" => "write `length(text)`",
        "tostring" | "to_string" | "str" => "write `CAST(x AS TEXT)`",
        "toint" | "to_int" | "to_number" | "tofloat" | "to_float" => {
            "write `CAST(x AS BIGINT)` or `CAST(x AS DOUBLE)`"
        }
        "datediff" | "date_diff" | "timestampdiff" => {
            "write `date_part('epoch', a) - date_part('epoch', b)` for the seconds between"
        }
        "dateadd" | "date_add" | "timestampadd" | "date_sub" => "write `ts + INTERVAL '1 day'`",
        "countif" | "count_if" => "write `count(*) FILTER (WHERE condition)`",
        "sumif" | "sum_if" => "write `sum(x) FILTER (WHERE condition)`",
        "uniq" | "uniqexact" | "count_distinct" | "approx_count_distinct" => {
            "write `approx_distinct(x)`"
        }
        "percentile" | "quantile" | "approx_percentile" | "percentile_approx" => {
            "write `approx_percentile_cont(x, 0.95)`"
        }
        "group_concat" | "listagg" | "collect_list" | "collect_set" => {
            "a list of all values has no bound: take `first_value(x)`, `last_value(x)`, `min(x)` or `max(x)`"
        }
        "tumble" | "hop" | "session" | "time_bucket" | "tumble_start" | "tumble_end" => {
            "windows stand beside the SQL: `window: {tumbling: 1m}`; their bounds are `window_start` and `window_end`"
        }
        name if name.starts_with("json_") || name.starts_with("jsonb_") => wording::JSON_MEMBER,
        _ => return None,
    })
}

fn volatile(name: &str, context: Context, time_column: Option<&str>) -> SqlProblem {
    let message = format!(
        "`{name}` is not possible in a stream: a replay of the same events must give the same rows"
    );
    let help = match name {
        "random" | "rand" => "compute with a column that is in the event".to_owned(),
        "uuid" => {
            "let ingest make it: a column with `type: uuid` and `generate: Uuid` in the EventSource"
                .to_owned()
        }
        _ => {
            let time = time_column.map_or("a timestamp column of the event".to_owned(), |c| {
                format!("the event's own time, `{c}`")
            });
            match context {
                Context::Aggregate => format!("use {time}, or the window's `window_start`"),
                Context::WindowRows => "use the window's `window_start` or `window_end`".to_owned(),
                Context::Rows => format!("use {time}"),
            }
        }
    };
    SqlProblem::new(Code::VolatileFunction, message).help(help)
}

fn judge_aggregate(
    call: &Function,
    name: &str,
    canonical: &str,
    context: Context,
) -> Option<SqlProblem> {
    match context {
        Context::Aggregate => {}
        Context::Rows => {
            let message = format!("`{name}` aggregates, which stands in aggregate steps only");
            let problem = SqlProblem::new(Code::AggregateOutsideStep, message);
            return Some(problem.help(
                "make it an aggregate step: `aggregate: {window: {tumbling: 1m}, sql: ...}`",
            ));
        }
        Context::WindowRows => {
            let message = format!("`{name}` aggregates rows of windows");
            let problem = SqlProblem::new(Code::AggregateOutsideStep, message);
            return Some(
                problem
                    .help("make it an aggregate step, with windows of its own: `aggregate: {window: {tumbling: 1h}, sql: ...}`"),
            );
        }
    }
    if !AGGREGATES.contains(&canonical) {
        return Some(refused(name, canonical));
    }
    let FunctionArguments::List(list) = &call.args else {
        return None;
    };
    let wildcard = |arg: &FunctionArg| {
        matches!(
            arg,
            FunctionArg::Unnamed(FunctionArgExpr::Wildcard | FunctionArgExpr::QualifiedWildcard(_))
        )
    };
    if canonical != "count" && list.args.iter().any(wildcard) {
        let message = format!("`{name}(*)` is not possible: only `count` takes whole rows");
        return Some(
            SqlProblem::new(Code::TypeMismatch, message)
                .help(format!("name a column, such as `{name}(x)`")),
        );
    }
    if list.duplicate_treatment == Some(DuplicateTreatment::Distinct) {
        let message =
            format!("`{name}(DISTINCT ...)` keeps every value there is: its state has no bound");
        let help = match canonical {
            "count" => format!(
                "use `approx_distinct({})`, which is right within about 2 %",
                arguments(list)
            ),
            "min" | "max" | "bool_and" | "bool_or" | "bit_and" | "bit_or" => {
                format!("leave DISTINCT out: `{name}` does not change by it")
            }
            _ => "leave DISTINCT out, or deduplicate the events in a step before".to_owned(),
        };
        return Some(SqlProblem::new(Code::RefusedAggregate, message).help(help));
    }
    let ordered = list
        .clauses
        .iter()
        .any(|clause| matches!(clause, FunctionArgumentClause::OrderBy(_)));
    if ordered && !matches!(canonical, "first_value" | "last_value") {
        let message =
            format!("ORDER BY inside `{name}` has no meaning: its answer does not depend on order");
        let problem = SqlProblem::new(Code::RefusedAggregate, message);
        return Some(
            problem.help("leave it out; only `first_value` and `last_value` have an order"),
        );
    }
    None
}

fn refused(name: &str, canonical: &str) -> SqlProblem {
    let (why, help) = match canonical {
        "median" => (
            "keeps every value there is: its state has no bound",
            "use `approx_median(x)`",
        ),
        "percentile_cont" => (
            "keeps every value there is: its state has no bound",
            "use `approx_percentile_cont(x, 0.95)`",
        ),
        "array_agg" | "string_agg" => (
            "keeps every value there is: its state has no bound",
            "keep the rows as an output of their own, or take `first_value(x)`, `last_value(x)`, `min(x)` or `max(x)`",
        ),
        "any_value" => (
            "gives whichever value comes first in a batch",
            "use `first_value(x)`, which goes by event time",
        ),
        "nth_value" => (
            "keeps the values before the one it gives",
            "use `first_value(x)` or `last_value(x)`",
        ),
        "grouping" => (
            "tells grouping sets apart, and an aggregate step has one",
            "leave it out",
        ),
        _ => (
            "cannot be merged from parts",
            "use another aggregate function",
        ),
    };
    SqlProblem::new(Code::RefusedAggregate, format!("`{name}` {why}")).help(help)
}

fn arguments(list: &FunctionArgumentList) -> String {
    list.args
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}
