//! Values come as often as their distribution says. Seeds are fixed, so each of these holds always or never.
use std::collections::BTreeMap;

use serde_json::Value;

use crate::setup::{EVERYTHING, all, generator, parsed};

fn column(pointer: &str) -> Vec<Value> {
    let events = parsed(&all(generator(EVERYTHING)));
    events
        .iter()
        .filter_map(|event| event.pointer(pointer).cloned())
        .collect()
}

fn numbers(pointer: &str) -> Vec<f64> {
    column(pointer)
        .iter()
        .map(|value| value.as_f64().unwrap())
        .collect()
}

fn counts(values: &[Value]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for value in values {
        *counts.entry(value.to_string()).or_default() += 1;
    }
    counts
}

fn mean_and_stddev(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values
        .iter()
        .map(|value| (value - mean).powi(2))
        .sum::<f64>()
        / n;
    (mean, variance.sqrt())
}

#[track_caller]
fn assert_near(value: f64, expected: f64, tolerance: f64) {
    assert!(
        (value - expected).abs() <= tolerance,
        "{value} is not {expected} ± {tolerance}"
    );
}

#[test]
fn choices_come_by_their_weights() {
    let counts = counts(&column("/meta/method"));
    assert_near(counts["\"GET\""] as f64, 18_000.0, 200.0);
    assert_near(counts["\"POST\""] as f64, 2_000.0, 200.0);
    assert_eq!(counts.len(), 2, "a weight of 0 never comes");
}

#[test]
fn uniform_numbers_fill_their_bounds_evenly() {
    let counts = counts(&column("/items"));
    let dice: Vec<_> = counts.keys().map(String::as_str).collect();
    assert_eq!(
        dice,
        ["1", "2", "3", "4", "5", "6"],
        "whole, for a bigint column"
    );
    counts
        .values()
        .for_each(|&count| assert_near(count as f64, 20_000.0 / 6.0, 250.0));

    let shares = numbers("/share");
    assert!(shares.iter().all(|share| (-1.0..=1.0).contains(share)));
    let (mean, stddev) = mean_and_stddev(&shares);
    assert_near(mean, 0.0, 0.02);
    assert_near(stddev, 2.0 / 12f64.sqrt(), 0.02);
}

#[test]
fn normal_numbers_have_their_mean_and_deviation() {
    let (mean, stddev) = mean_and_stddev(&numbers("/height"));
    assert_near(mean, 175.0, 0.3);
    assert_near(stddev, 8.0, 0.2);
    let ages = column("/age");
    assert!(
        ages.iter().all(Value::is_i64),
        "rounded, for a bigint column"
    );
    let (mean, stddev) = mean_and_stddev(&numbers("/age"));
    assert_near(mean, 40.0, 0.5);
    assert_near(stddev, 12.0, 0.3);
}

#[test]
fn half_of_the_log_normal_numbers_are_below_the_median() {
    let prices = numbers("/price");
    assert!(prices.iter().all(|&price| price > 0.0));
    let below = prices.iter().filter(|&&price| price < 20.0).count();
    assert_near(below as f64 / 20_000.0, 0.5, 0.02);
    let logarithms: Vec<_> = prices.iter().map(|price| price.ln()).collect();
    assert_near(mean_and_stddev(&logarithms).1, 0.5, 0.02);
}

#[test]
fn few_zipf_values_are_frequent() {
    let counts = counts(&column("/meta/user/id"));
    let of = |rank: u32| {
        counts
            .get(&format!(r#""user \"ü\"-{rank}""#))
            .copied()
            .unwrap_or_default() as f64
    };
    let harmonic: f64 = (1..=2_000).map(|rank| 1.0 / f64::from(rank)).sum();
    for rank in [1, 2, 10] {
        assert_near(of(rank), 20_000.0 / harmonic / f64::from(rank), 150.0);
    }
    assert!(
        counts.len() > 1_000,
        "the tail comes too: {} users",
        counts.len()
    );
    assert_eq!(of(0) + of(2_001), 0.0);
}

#[test]
fn an_exponent_of_zero_makes_all_equally_frequent() {
    let counts = counts(&column("/page"));
    assert_eq!(counts.len(), 50);
    counts
        .values()
        .for_each(|&count| assert_near(count as f64, 400.0, 90.0));
}

#[test]
fn the_declared_share_of_values_is_absent() {
    assert_near(column("/bytes").len() as f64, 15_000.0, 250.0);
    assert_near(column("/rarely/there").len() as f64, 2_000.0, 200.0);
}

#[test]
fn constants_never_change() {
    let counts = counts(&column("/tags"));
    assert_eq!(
        counts,
        BTreeMap::from([(r#"{"a":[1,null,"x"]}"#.to_owned(), 20_000)])
    );
}
