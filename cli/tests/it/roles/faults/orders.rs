//! Orders in disorder, some of them twice, and what has to come of them.
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use serde_json::{Value, json};

/// Orders before the fault.
pub(crate) const FIRST: Range<u64> = 0..300;
/// Orders during the fault.
pub(crate) const SECOND: Range<u64> = 300..600;
/// Orders after all others, so that every partition learns of a later time and all windows close.
const LAST: Range<u64> = 1_000..1_100;

/// Seconds between two orders.
const EVERY_S: u64 = 1;

/// What ingestion is sent: each pair the wrong way round, every seventh order twice.
pub(crate) fn sent(numbers: Range<u64>) -> String {
    let mut lines = Vec::new();
    for number in numbers {
        let number = number ^ 1;
        lines.push(order(number));
        if number % 7 == 0 {
            lines.push(order(number));
        }
    }
    lines.join("\n")
}

/// What is sent at the end.
pub(crate) fn last() -> String {
    LAST.map(order).collect::<Vec<_>>().join("\n")
}

fn order(number: u64) -> String {
    let second = number * EVERY_S;
    // An hour later, for the last ones.
    let (hour, second) = (u64::from(LAST.contains(&number)), second % 3_600);
    let ts = format!(
        "2026-01-01T{hour:02}:{:02}:{:02}Z",
        second / 60,
        second % 60
    );
    json!({"id": format!("o{number}"), "ts": ts, "shop": shop(number), "amount": amount(number)})
        .to_string()
}

fn shop(number: u64) -> &'static str {
    ["north", "south", "west"][(number % 3) as usize]
}

fn amount(number: u64) -> u64 {
    number * 7 % 101
}

/// The ids that the table of rows has to hold where these orders were stored, and the last ones.
pub(crate) fn ids_of(numbers: impl Iterator<Item = u64>) -> BTreeSet<String> {
    let numbers = numbers.chain(LAST);
    numbers.map(|number| format!("o{number}")).collect()
}

/// The number of an order.
pub(crate) fn number(order: &Value) -> u64 {
    order["id"].as_str().unwrap()[1..].parse().unwrap()
}

/// The windows before the last orders, of these: `MINUTE|shop|n|total`.
pub(crate) fn windows_of(numbers: impl Iterator<Item = u64>) -> BTreeSet<String> {
    let mut windows: BTreeMap<(u64, &str), (u64, u64)> = BTreeMap::new();
    for number in numbers {
        let window = windows.entry((number * EVERY_S / 60, shop(number)));
        let (count, total) = window.or_default();
        *count += 1;
        *total += amount(number);
    }
    let line = |((minute, shop), (count, total))| format!("{minute:02}|{shop}|{count}|{total}");
    windows.into_iter().map(line).collect()
}
