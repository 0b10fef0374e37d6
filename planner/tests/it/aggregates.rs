//! Aggregate functions: a state can be cut anywhere and merged in any order.
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int32Array, Int64Array, RecordBatch,
    TimestampMicrosecondArray,
};
use arrow::compute::{filter_record_batch, interleave_record_batch};
use arrow::datatypes::{Float64Type, Int64Type};
use datafusion_expr::{EmitTo, GroupsAccumulator};
use datafusion_functions_aggregate_common::aggregate::groups_accumulator::GroupsAccumulatorAdapter;
use tidewheel_decode::Decoder;
use tidewheel_planner::plan::{Aggregate, Call, RowNode, StepKind};

use crate::cases::plan_of;

/// Calls, and how far a merged answer may be from that of one pass: nothing, rounding, or what a sketch allows.
const CALLS: &[(&str, f64)] = &[
    ("count(*)", 0.0),
    ("count(items)", 0.0),
    ("sum(items)", 0.0),
    ("sum(metric)", 1e-9),
    ("avg(items)", 1e-9),
    ("avg(metric)", 1e-9),
    ("mean(metric)", 1e-9),
    ("min(metric)", 0.0),
    ("max(items)", 0.0),
    ("min(status)", 0.0),
    ("max(ts)", 0.0),
    ("stddev(metric)", 1e-9),
    ("stddev_pop(metric)", 1e-9),
    ("var_samp(metric)", 1e-9),
    ("var_pop(metric)", 1e-9),
    ("bool_and(metric > 0)", 0.0),
    ("bool_or(metric > 99)", 0.0),
    ("bit_and(items)", 0.0),
    ("bit_or(items)", 0.0),
    ("bit_xor(items)", 0.0),
    ("corr(metric, items)", 1e-9),
    ("covar_samp(metric, items)", 1e-9),
    ("covar_pop(metric, items)", 1e-9),
    ("regr_slope(metric, items)", 1e-9),
    ("regr_intercept(metric, items)", 1e-9),
    ("regr_count(metric, items)", 0.0),
    ("regr_r2(metric, items)", 1e-9),
    ("regr_avgx(metric, items)", 1e-9),
    ("regr_avgy(metric, items)", 1e-9),
    ("regr_sxx(metric, items)", 1e-9),
    ("regr_syy(metric, items)", 1e-9),
    ("regr_sxy(metric, items)", 1e-9),
    ("approx_distinct(user_id)", 0.0),
    ("approx_median(metric)", 0.05),
    ("approx_percentile_cont(metric, 0.95)", 0.05),
    (
        "approx_percentile_cont(0.95) WITHIN GROUP (ORDER BY metric)",
        0.05,
    ),
    (
        "approx_percentile_cont_with_weight(metric, items, 0.5)",
        0.05,
    ),
    ("first_value(status)", 0.0),
    ("last_value(status)", 0.0),
    ("first_value(metric)", 0.0),
    ("last_value(metric > 50)", 0.0),
    ("last_value(items) IGNORE NULLS", 0.0),
    ("first_value(user_id ORDER BY items DESC)", 0.0),
    ("last_value(user_id ORDER BY items)", 0.0),
    ("sum(items) FILTER (WHERE status = ''ok'')", 0.0),
    ("first_value(user_id) FILTER (WHERE metric > 50)", 0.0),
];

const EVENTS: usize = 400;

#[test]
fn partials_may_be_cut_anywhere_and_merged_in_any_order() {
    for (call, tolerance) in CALLS {
        let aggregate = aggregate(&format!("SELECT {call} AS x FROM clicks"));
        let rows = rows(&aggregate);
        let whole = answer(&aggregate, std::slice::from_ref(&rows));
        assert!(!whole.is_null(0), "{call} has no answer");
        for seed in 1..=8 {
            let merged = answer(&aggregate, &cut(&rows, seed));
            assert_near(&whole, &merged, *tolerance, call);
        }
    }
}

#[test]
fn groups_without_a_row_have_an_empty_state_that_merges() {
    for (call, _) in CALLS {
        let aggregate = aggregate(&format!("SELECT {call} AS x FROM clicks"));
        let rows = rows(&aggregate);
        let none =
            filter_record_batch(&rows, &BooleanArray::from(vec![false; rows.num_rows()])).unwrap();
        let whole = answer(&aggregate, std::slice::from_ref(&rows));
        assert_near(&whole, &answer(&aggregate, &[none, rows]), 0.0, call);
    }
}

#[test]
fn states_have_the_types_that_partials_declare() {
    for (call, _) in CALLS {
        let aggregate = aggregate(&format!("SELECT {call} AS x FROM clicks"));
        let state = partial(&aggregate.calls[0], &rows(&aggregate));
        let declared = &aggregate.partial_schema.fields()[1 + aggregate.group_columns..];
        let (_contributions, declared) = declared.split_last().unwrap();
        let found: Vec<_> = state
            .iter()
            .map(|array| array.data_type().clone())
            .collect();
        let wanted: Vec<_> = declared
            .iter()
            .map(|field| field.data_type().clone())
            .collect();
        assert_eq!(found, wanted, "{call}");
    }
}

#[test]
fn a_sum_beyond_a_bigint_is_an_error_and_no_wrong_number() {
    let aggregate = aggregate("SELECT sum(items) AS x FROM clicks");
    let one = events(&["{\"items\": 9223372036854775807}", "{\"items\": 1}"]);
    let total = merge(
        &aggregate.calls[0],
        &[partial(&aggregate.calls[0], &arguments(&aggregate, &one))],
    );
    let merged = merged_row(&aggregate, total);
    let RowNode::Project { exprs, .. } = &aggregate.result.root else {
        panic!("a projection")
    };
    assert!(exprs[0].evaluate(&merged).is_err());
}

#[test]
fn first_and_last_go_by_event_time_and_ties_by_the_place_in_the_log() {
    let aggregate = aggregate("SELECT first_value(status) AS x FROM clicks");
    let tied = events(&["{\"status\": \"late\"}", "{\"status\": \"early\"}"]);
    let rows = arguments(&aggregate, &tied);
    let names: Vec<&str> = ["_event_time", "_partition", "_offset", "_ordinal"].into();
    assert_eq!(names.len(), aggregate.calls[0].function.order_bys().len());
    let first = answer(&aggregate, &[rows.slice(1, 1), rows.slice(0, 1)]);
    assert_eq!(first.as_string::<i32>().value(0), "late");
}

fn aggregate(sql: &str) -> Aggregate {
    let plan = plan_of(&format!(
        "{{name: s, aggregate: {{window: {{tumbling: 1m}}, sql: '{sql}'}}}}"
    ));
    let StepKind::Aggregate(aggregate) = &plan.steps[0].kind else {
        panic!("an aggregate step")
    };
    aggregate.as_ref().clone()
}

/// Events of `clicks` with these members, decoded as the engine does.
pub(crate) fn events(members: &[&str]) -> RecordBatch {
    let plan = plan_of("{name: s, sql: SELECT * FROM clicks}");
    let rest = |text: &str| {
        let attributes = text.trim_matches(['{', '}']);
        format!(
            "{{\"event_id\": \"018f4e3a-0000-7000-8000-000000000000\", \"source\": \"web\", \
             \"timestamp\": \"2026-01-01T00:00:00Z\", \"attributes\": {{{attributes}}}}}"
        )
    };
    let texts: Vec<String> = members.iter().map(|text| rest(text)).collect();
    let decoded =
        Decoder::new(plan.sources[0].events.clone()).decode(texts.iter().map(String::as_bytes));
    assert!(decoded.refused.is_empty(), "{:?}", decoded.refused);
    decoded.batch
}

fn rows(aggregate: &Aggregate) -> RecordBatch {
    let mut random = Random(42);
    let texts: Vec<String> = (0..EVENTS)
        .map(|_| {
            let items = if random.below(10) == 0 {
                "null".to_owned()
            } else {
                (1 + random.below(40)).to_string()
            };
            format!(
                "{{\"user_id\": \"u{}\", \"metric\": {}, \"items\": {items}, \"status\": \"{}\"}}",
                random.below(90),
                (1 + random.below(9_990)) as f64 / 100.0,
                ["ok", "failed", "slow"][random.below(3) as usize]
            )
        })
        .collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    arguments(aggregate, &events(&texts))
}

/// Rows of `call_schema`: what `argument` makes of events, and the columns that order them.
fn arguments(aggregate: &Aggregate, events: &RecordBatch) -> RecordBatch {
    let rows = evaluate(&aggregate.argument.root, events);
    let count = rows.num_rows();
    let mut columns = rows.columns().to_vec();
    let mut random = Random(7);
    // Few distinct times: ties are the rule.
    let times: Vec<i64> = (0..count)
        .map(|_| {
            if count < 10 {
                0
            } else {
                i64::try_from(random.below(20)).unwrap()
            }
        })
        .collect();
    columns.push(Arc::new(
        TimestampMicrosecondArray::from(times).with_timezone("+00:00"),
    ));
    columns.push(Arc::new(Int32Array::from(vec![0; count])));
    columns.push(Arc::new(Int64Array::from_iter_values(
        0..i64::try_from(count).unwrap(),
    )));
    columns.push(Arc::new(Int32Array::from(vec![0; count])));
    RecordBatch::try_new(aggregate.call_schema.clone(), columns).unwrap()
}

/// What a row program yields for one input.
fn evaluate(node: &RowNode, input: &RecordBatch) -> RecordBatch {
    match node {
        RowNode::Input(_) => input.clone(),
        RowNode::Project {
            input: below,
            exprs,
            schema,
        } => {
            let below = evaluate(below, input);
            let value = |e: &Arc<dyn datafusion_physical_expr::PhysicalExpr>| {
                e.evaluate(&below)
                    .unwrap()
                    .into_array(below.num_rows())
                    .unwrap()
            };
            RecordBatch::try_new(schema.clone(), exprs.iter().map(value).collect()).unwrap()
        }
        RowNode::Filter {
            input: below,
            predicate,
        } => {
            let below = evaluate(below, input);
            let keep = predicate
                .evaluate(&below)
                .unwrap()
                .into_array(below.num_rows())
                .unwrap();
            filter_record_batch(&below, keep.as_boolean()).unwrap()
        }
        other => panic!("not in these queries: {other:?}"),
    }
}

fn accumulator(call: &Call) -> Box<dyn GroupsAccumulator> {
    if call.function.groups_accumulator_supported() {
        return call.function.create_groups_accumulator().unwrap();
    }
    let function = Arc::clone(&call.function);
    Box::new(GroupsAccumulatorAdapter::new(move || {
        function.create_accumulator()
    }))
}

fn partial(call: &Call, rows: &RecordBatch) -> Vec<ArrayRef> {
    let mut accumulator = accumulator(call);
    let expressions = call.function.all_expressions();
    let values: Vec<ArrayRef> = expressions
        .args
        .iter()
        .chain(&expressions.order_by_exprs)
        .map(|e| {
            e.evaluate(rows)
                .unwrap()
                .into_array(rows.num_rows())
                .unwrap()
        })
        .collect();
    let filter = call.filter.as_ref().map(|f| {
        f.evaluate(rows)
            .unwrap()
            .into_array(rows.num_rows())
            .unwrap()
    });
    let groups = vec![0; rows.num_rows()];
    accumulator
        .update_batch(&values, &groups, filter.as_ref().map(|f| f.as_boolean()), 1)
        .unwrap();
    accumulator.state(EmitTo::All).unwrap()
}

fn merge(call: &Call, partials: &[Vec<ArrayRef>]) -> ArrayRef {
    let mut accumulator = accumulator(call);
    for state in partials {
        accumulator.merge_batch(state, &[0], 1).unwrap();
    }
    accumulator.evaluate(EmitTo::All).unwrap()
}

/// The result column for partials of these parts, merged in their order.
fn answer(aggregate: &Aggregate, parts: &[RecordBatch]) -> ArrayRef {
    let call = &aggregate.calls[0];
    let partials: Vec<Vec<ArrayRef>> = parts.iter().map(|part| partial(call, part)).collect();
    // Merged in two halves: a merged state is a state again.
    let merged = merged_row(aggregate, merge(call, &partials));
    evaluate(&aggregate.result.root, &merged).column(0).clone()
}

fn merged_row(aggregate: &Aggregate, value: ArrayRef) -> RecordBatch {
    let bound: ArrayRef =
        Arc::new(TimestampMicrosecondArray::from(vec![0]).with_timezone("+00:00"));
    RecordBatch::try_new(
        aggregate.merged_schema.clone(),
        vec![bound.clone(), bound, value],
    )
    .unwrap()
}

/// The rows in another order, in parts of other sizes.
fn cut(rows: &RecordBatch, seed: u64) -> Vec<RecordBatch> {
    let mut random = Random(seed);
    let mut order: Vec<(usize, usize)> = (0..rows.num_rows()).map(|row| (0, row)).collect();
    for last in (1..order.len()).rev() {
        order.swap(
            last,
            usize::try_from(random.below(last as u64 + 1)).unwrap(),
        );
    }
    let shuffled = interleave_record_batch(&[rows], &order).unwrap();
    let mut parts = Vec::new();
    let mut from = 0;
    while from < shuffled.num_rows() {
        let length = usize::try_from(random.below(90))
            .unwrap()
            .min(shuffled.num_rows() - from);
        parts.push(shuffled.slice(from, length));
        from += length;
    }
    parts
}

fn assert_near(whole: &ArrayRef, merged: &ArrayRef, tolerance: f64, call: &str) {
    let number = |array: &ArrayRef| match array.data_type() {
        arrow::datatypes::DataType::Float64 => Some(array.as_primitive::<Float64Type>().value(0)),
        arrow::datatypes::DataType::Int64 => {
            Some(array.as_primitive::<Int64Type>().value(0) as f64)
        }
        _ => None,
    };
    match (number(whole), number(merged)) {
        (Some(a), Some(b)) if tolerance > 0.0 => {
            assert!(
                (a - b).abs() <= tolerance * a.abs().max(1.0),
                "{call}: {a} and {b}"
            );
        }
        _ => assert_eq!(whole, merged, "{call}"),
    }
}

/// Numbers that are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}
