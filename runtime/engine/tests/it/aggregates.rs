//! Aggregates do not depend on how events were cut into micro-batches, nor on the order in which partials arrive.
use std::collections::BTreeMap;

use tidewheel_log::{NewRecord, Record};

use crate::fixture::{MINUTE, Pipeline, Row, event, plan, record};

/// Every kind of call, and how far two answers may be apart: nothing, rounding, or what a sketch allows.
const CALLS: &[(&str, f64)] = &[
    ("count(*)", 0.0),
    ("count(items)", 0.0),
    ("sum(items)", 0.0),
    ("sum(metric)", 0.0),
    ("avg(items)", 0.0),
    ("avg(metric)", 0.0),
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
        "approx_percentile_cont_with_weight(metric, items, 0.5)",
        0.05,
    ),
    ("first_value(status)", 0.0),
    ("last_value(status)", 0.0),
    ("last_value(items) IGNORE NULLS", 0.0),
    ("first_value(user_id ORDER BY items DESC)", 0.0),
    ("last_value(user_id ORDER BY items)", 0.0),
    ("sum(items) FILTER (WHERE status = 'ok')", 0.0),
    ("first_value(user_id) FILTER (WHERE metric > 50)", 0.0),
];

const EVENTS: i64 = 300;

#[test]
fn windows_are_the_same_however_events_were_cut_and_partials_arrived() {
    let whole = windows(i64::MAX, 0);
    assert!(
        whole.len() >= 9,
        "three pages in at least three minutes: {}",
        whole.len()
    );
    for (batch, seed) in [(1, 1), (7, 2), (7, 3), (64, 4)] {
        let cut = windows(batch, seed);
        assert_eq!(whole.len(), cut.len());
        for (key, row) in &whole {
            for (index, (call, tolerance)) in CALLS.iter().enumerate() {
                let column = format!("c{index}");
                let (one, other) = (row.get(&column), cut[key].get(&column));
                let what = format!("{call} of {key} in batches of {batch}, seed {seed}");
                assert_near(one, other, *tolerance, &what);
            }
        }
    }
}

#[test]
fn ties_of_first_and_last_go_by_partition_and_offset() {
    let sql = "SELECT first_value(status) AS f, last_value(status) AS l FROM clicks";
    for order in [[0, 1], [1, 0]] {
        let mut pipeline = Pipeline::new(plan(&step(sql), &["w"]), 2);
        let mut partials: Vec<Vec<NewRecord>> = (0..2)
            .map(|partition| {
                let status = |offset| format!("\"status\": \"p{partition}o{offset}\"");
                let records: Vec<Record> = (0..3)
                    .map(|n| record(n, 0, &event("e", 0, &status(n))))
                    .collect();
                pipeline.take(partition, &records)
            })
            .collect();
        for partition in order {
            pipeline.deliver(std::mem::take(&mut partials[partition]));
        }
        pipeline.close();
        let rows = pipeline.rows("w");
        assert_eq!(
            (rows[0]["f"].as_str(), rows[0]["l"].as_str()),
            ("p0o0", "p1o2"),
            "{order:?}"
        );
    }
}

#[test]
fn least_and_greatest_doubles_are_right_beyond_the_finite_ones() {
    let steps = "
    - {name: numbers, sql: 'SELECT status, CAST(page AS DOUBLE) AS x FROM clicks'}
    - name: w
      aggregate:
        window: {tumbling: 1m}
        sql: >-
          SELECT status, min(x) AS least, max(x) AS greatest, min(-x) AS least_negated, max(-x) AS greatest_negated
          FROM numbers GROUP BY status";
    let groups: [(&[&str], [&str; 4]); 7] = [
        (&["inf", "inf"], ["inf", "inf", "-inf", "-inf"]),
        (&["-inf"], ["-inf", "-inf", "inf", "inf"]),
        (&["inf", "-inf", "1"], ["-inf", "inf", "-inf", "inf"]),
        (&["0.0", "-0.0"], ["-0.0", "0.0", "-0.0", "0.0"]),
        (&["NaN", "5", "inf"], ["5.0", "NaN", "-inf", "NaN"]),
        (&["-inf", "NaN", "NaN"], ["-inf", "NaN", "inf", "NaN"]),
        (&["NaN", "NaN"], ["NaN"; 4]),
    ];
    let events: Vec<String> = (0..)
        .zip(&groups)
        .flat_map(|(group, (numbers, _)): (i32, _)| {
            numbers.iter().map(move |number| {
                let members = format!("\"status\": \"{group}\", \"page\": \"{number}\"");
                event("e", 0, &members)
            })
        })
        .collect();
    let forth: Vec<&String> = events.iter().collect();
    let back: Vec<&String> = events.iter().rev().collect();
    // In one batch stage 1 folds alone; in batches of one it is the merge that does.
    for (order, batch) in [(&forth, 100), (&back, 100), (&forth, 1), (&back, 1)] {
        let mut pipeline = Pipeline::new(plan(steps, &["w"]), 1);
        let records: Vec<Record> = (0..)
            .zip(order)
            .map(|(offset, event)| record(offset, 0, event))
            .collect();
        records
            .chunks(batch)
            .for_each(|records| pipeline.send(0, records));
        pipeline.close();
        let rows = pipeline.rows("w");
        assert_eq!(rows.len(), groups.len());
        for row in rows {
            let (numbers, expected) = groups[row["status"].parse::<usize>().unwrap()];
            let found = ["least", "greatest", "least_negated", "greatest_negated"]
                .map(|column| row[column].as_str());
            assert_eq!(found, expected, "{numbers:?} in batches of {batch}");
        }
    }
}

#[test]
fn null_groups_are_one_group() {
    let sql = "SELECT page, count(*) AS n FROM clicks GROUP BY page";
    let mut pipeline = Pipeline::new(plan(&step(sql), &["w"]), 2);
    for partition in 0..2 {
        pipeline.send(
            partition,
            &[
                record(0, 0, &event("a", 0, "")),
                record(1, 0, &event("b", 0, "\"page\": null")),
            ],
        );
    }
    pipeline.close();
    let rows = pipeline.rows("w");
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].get("page"), rows[0]["n"].as_str()), (None, "4"));
}

#[test]
fn having_and_later_steps_leave_groups_out_and_the_ledger_says_which_did() {
    let steps = "
    - name: w
      aggregate:
        window: {tumbling: 1m}
        sql: SELECT page, count(*) AS n FROM clicks GROUP BY page HAVING count(*) > 1
    - {name: busy, sql: SELECT * FROM w WHERE n > 2}";
    let mut pipeline = Pipeline::new(plan(steps, &["busy"]), 1);
    let pages = ["a", "b", "b", "c", "c", "c"];
    let records: Vec<Record> = (0..)
        .zip(pages)
        .map(|(offset, page)| record(offset, 0, &event("e", 0, &format!("\"page\": \"{page}\""))))
        .collect();
    pipeline.send(0, &records);
    pipeline.close();
    let rows = pipeline.rows("busy");
    assert_eq!(
        rows.iter()
            .map(|row| row["page"].as_str())
            .collect::<Vec<_>>(),
        ["c"]
    );
    let ledger = pipeline.window_ledger("busy");
    assert_eq!((ledger.read, ledger.written, ledger.balance()), (6, 3, 0));
    assert_eq!(
        ledger.filtered,
        BTreeMap::from([("busy".to_owned(), 2), ("w".to_owned(), 1)])
    );
}

fn step(sql: &str) -> String {
    format!(
        "    - name: w\n      aggregate:\n        window: {{tumbling: 1m}}\n        sql: >-\n          {sql}\n"
    )
}

/// The windows of the same events in two partitions, cut into micro-batches of `batch`; `seed` decides whose partials arrive first.
fn windows(batch: i64, seed: u64) -> BTreeMap<String, Row> {
    let calls: Vec<String> = CALLS
        .iter()
        .enumerate()
        .map(|(index, (call, _))| format!("{call} AS c{index}"))
        .collect();
    let sql = format!(
        "SELECT page, {} FROM clicks GROUP BY page",
        calls.join(", ")
    );
    let mut pipeline = Pipeline::new(plan(&step(&sql), &["w"]), 2);
    let mut random = Random(42);
    let records: Vec<Vec<Record>> = (0..2)
        .map(|_| {
            (0..EVENTS)
                .map(|offset| record(offset, 4 * MINUTE, &any_event(offset, &mut random)))
                .collect()
        })
        .collect();
    let mut partials: Vec<Vec<Vec<NewRecord>>> = records
        .iter()
        .enumerate()
        .map(|(partition, records)| {
            let size = batch.min(EVENTS) as usize;
            records
                .chunks(size)
                .map(|records| pipeline.take(partition, records))
                .collect()
        })
        .collect();
    partials.iter_mut().for_each(|batches| batches.reverse());
    let mut random = Random(seed + 1);
    while partials.iter().any(|batches| !batches.is_empty()) {
        let partition = random.below(2) as usize;
        if let Some(next) = partials[partition].pop() {
            pipeline.deliver(next);
        }
    }
    pipeline.close();
    assert!(pipeline.dead.is_empty(), "{:?}", pipeline.dead_letters());
    assert_eq!(pipeline.window_ledger("w").balance(), 0);
    pipeline.tables.remove("w").unwrap()
}

fn any_event(offset: i64, random: &mut Random) -> String {
    // Quarters have exact sums; within the allowed disorder; few distinct times, so that ties are the rule.
    let metric = (1 + random.below(400)) as f64 / 4.0;
    let at_ms = offset * 600 / 50 * 50 + 1_000 * random.below(20) as i64;
    let items = if random.below(10) == 0 {
        "null".to_owned()
    } else {
        (1 + random.below(40)).to_string()
    };
    let members = format!(
        "\"page\": \"/{}\", \"user_id\": \"u{}\", \"status\": \"{}\", \"metric\": {metric}, \"items\": {items}",
        random.below(3),
        random.below(50),
        ["ok", "failed", "slow"][random.below(3) as usize],
    );
    event(&format!("e{offset}"), at_ms, &members)
}

fn assert_near(one: Option<&String>, other: Option<&String>, tolerance: f64, what: &str) {
    if tolerance == 0.0 || one.is_none() || other.is_none() {
        assert_eq!(one, other, "{what}");
        return;
    }
    let (one, other): (f64, f64) = (
        one.unwrap().parse().unwrap(),
        other.unwrap().parse().unwrap(),
    );
    let scale = one.abs().max(other.abs()).max(1.0);
    assert!(
        (one - other).abs() <= tolerance * scale,
        "{what}: {one} and {other}"
    );
}

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
