//! Arithmetic of rows: the exact value, or an error of that row; never another number.
use arrow::array::{Array, AsArray};
use arrow::datatypes::{Decimal128Type, Int64Type};
use datafusion_common::Result;
use tidewheel_planner::plan::{RowNode, StepKind};

use crate::aggregates::events;
use crate::cases::{judged, pipeline, plan_of};

/// What `expression` is for an event with this text in `status` and this number in `items`.
fn value(expression: &str, status: &str, items: i64) -> Result<String> {
    let plan = plan_of(&format!(
        "{{name: s, sql: \"SELECT {expression} AS x FROM clicks\"}}"
    ));
    let StepKind::Rows(program) = &plan.steps[0].kind else {
        panic!("a row-wise step")
    };
    let RowNode::Project { exprs, .. } = &program.root else {
        panic!("a projection")
    };
    let event = events(&[&format!("{{\"status\": \"{status}\", \"items\": {items}}}")]);
    let array = exprs[0].evaluate(&event)?.into_array(1)?;
    assert_eq!(array.null_count(), 0, "{expression} is null");
    Ok(if array.data_type().is_integer() {
        array.as_primitive::<Int64Type>().value(0).to_string()
    } else {
        array.as_primitive::<Decimal128Type>().value_as_string(0)
    })
}

/// Why a step with `expression` is refused.
fn refused(expression: &str) -> String {
    let steps = format!("{{name: s, sql: \"SELECT {expression} AS x FROM clicks\"}}");
    let (_, problems) = judged("inline", &pipeline(&steps));
    tidewheel_planner::problem::render(&problems)
}

/// The largest decimal: 38 nines.
const NINES: &str = "99999999999999999999999999999999999999";
const WIDE: &str = "CAST(status AS DECIMAL(38, 0))";

#[test]
fn what_fits_is_exact() {
    let large = "99999999999999999999999999999999999998";
    for (expression, status, items, wanted) in [
        (format!("{WIDE} + 1"), large, 1, NINES.to_owned()),
        (format!("{WIDE} - 1"), NINES, 1, large.to_owned()),
        (
            format!("{WIDE} * items"),
            "33333333333333333333333333333333333333",
            3,
            NINES.to_owned(),
        ),
        (format!("-{WIDE}"), NINES, 1, format!("-{NINES}")),
        (format!("{WIDE} % 10"), NINES, 1, "9".to_owned()),
        (
            "CAST(status AS DECIMAL(20, 2)) * CAST(items AS DECIMAL(20, 2))".to_owned(),
            "1000000000000000.25",
            3,
            "3000000000000000.7500".to_owned(),
        ),
        (
            "CAST(status AS DECIMAL(10, 2)) / 3".to_owned(),
            "1.00",
            1,
            "0.333333".to_owned(),
        ),
        (
            "round(CAST(status AS DECIMAL(3, 2)), 1)".to_owned(),
            "9.99",
            1,
            "10.0".to_owned(),
        ),
        (
            "items + 1".to_owned(),
            "",
            i64::MAX - 1,
            i64::MAX.to_string(),
        ),
        ("-items".to_owned(), "", i64::MIN + 1, i64::MAX.to_string()),
    ] {
        assert_eq!(
            value(&expression, status, items).unwrap(),
            wanted,
            "{expression}"
        );
    }
}

#[test]
fn what_does_not_fit_is_an_error_of_its_row() {
    let half = "60000000000000000000000000000000000000";
    for (expression, status, items) in [
        (format!("{WIDE} + 1"), NINES, 1),
        (format!("{WIDE} + {WIDE}"), half, 1),
        (format!("0 - {WIDE} - 1"), NINES, 1),
        (format!("{WIDE} * items"), half, 2),
        (format!("{WIDE} * {WIDE}"), NINES, 1),
        // Between the largest decimal and what 128 bits hold: nothing overflows, and there is a digit too many.
        (
            "CAST(status AS DECIMAL(30, 0)) * CAST(items AS DECIMAL(30, 0))".to_owned(),
            "120000000000000000000000000000",
            1_000_000_000,
        ),
        (format!("{WIDE} / CAST(items AS DECIMAL(38, 10))"), NINES, 1),
        (format!("round({WIDE}, -1)"), NINES, 1),
        ("ceil(CAST(status AS DECIMAL(3, 2)))".to_owned(), "9.99", 1),
        (format!("CAST({WIDE} AS DECIMAL(10, 0))"), NINES, 1),
        (format!("CAST({WIDE} AS BIGINT)"), NINES, 1),
        (
            "CAST(CAST(status AS DOUBLE) AS DECIMAL(38, 0))".to_owned(),
            "1e39",
            1,
        ),
        (
            format!("CASE WHEN items > 0 THEN {WIDE} ELSE CAST('0.5' AS DECIMAL(2, 1)) END"),
            NINES,
            1,
        ),
        ("items + 1".to_owned(), "", i64::MAX),
        ("items * 2".to_owned(), "", i64::MAX),
        ("-items".to_owned(), "", i64::MIN),
        ("abs(items)".to_owned(), "", i64::MIN),
        ("items / -1".to_owned(), "", i64::MIN),
        ("CAST(items AS INT) + 1".to_owned(), "", i64::MAX),
        ("CAST(status AS BIGINT)".to_owned(), NINES, 1),
        ("gcd(items, 0)".to_owned(), "", i64::MIN),
        ("lcm(items, 3)".to_owned(), "", i64::MAX),
        ("factorial(items)".to_owned(), "", 30),
        ("CAST(power(items, 3) AS BIGINT)".to_owned(), "", i64::MAX),
        ("to_timestamp_seconds(items)".to_owned(), "", i64::MAX),
        (
            "CAST(date_part('epoch', to_timestamp_seconds(items) + INTERVAL '1 year') AS BIGINT)"
                .to_owned(),
            "",
            i64::MAX / 1000,
        ),
    ] {
        let found = value(&expression, status, items);
        assert!(
            found.is_err(),
            "{expression} of {status} and {items} is {found:?}"
        );
    }
}

#[test]
fn what_is_written_as_case_before_it_runs_may_be_constant() {
    for (expression, wanted) in [
        ("coalesce(7, -4)", "7"),
        (
            "coalesce(CASE WHEN 1 IS NULL THEN 16 ELSE 17 END, 11 * 12)",
            "17",
        ),
        ("items + coalesce(nullif(3, 3), 2)", "3"),
        ("nvl(5, 6) * 2", "10"),
        ("nvl2(5, 6, 7)", "6"),
    ] {
        assert_eq!(value(expression, "", 1).unwrap(), wanted, "{expression}");
    }
    for expression in [
        "coalesce(9223372036854775807, 1) + coalesce(1, 2)",
        "coalesce(9223372036854775807 + 1, 1)",
    ] {
        assert!(refused(expression).contains("too large"), "{expression}");
    }
}

#[test]
fn constants_that_come_to_light_while_planning_are_checked_too() {
    for (expression, items) in [
        (
            "CASE WHEN true THEN 9223372036854775807 ELSE items END + items",
            1,
        ),
        ("coalesce(9223372036854775807, items) + items", 1),
    ] {
        assert!(value(expression, "", items).is_err(), "{expression}");
    }
}
