//! The example over topics gives what a batch query gives.
use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::program::{root, rows, run};

/// The orders of the file, each once.
fn orders() -> Vec<Value> {
    let text = std::fs::read_to_string(root().join("examples/orders/orders.ndjson")).unwrap();
    let mut orders: Vec<Value> = Vec::new();
    for line in text.lines() {
        let order: Value = serde_json::from_str(line).unwrap();
        if !orders.contains(&order) {
            orders.push(order);
        }
    }
    orders
}

/// The sum of a group's cents, and how many there are.
fn grouped<'a>(
    orders: impl Iterator<Item = &'a Value>,
    by: impl Fn(&Value) -> String,
) -> Vec<Value> {
    let mut groups = BTreeMap::<String, (i64, i64)>::new();
    for order in orders {
        let group = groups.entry(by(order)).or_default();
        *group = (group.0 + 1, group.1 + order["cents"].as_i64().unwrap());
    }
    let group = |(of, (orders, cents))| json!({"of": of, "orders": orders, "cents": cents});
    groups.into_iter().map(group).collect()
}

fn printed(document: &Value, output: &str, of: &str) -> Vec<Value> {
    let rows = rows(document, output).iter();
    let row = |row: &Value| json!({"of": row[of], "orders": row["orders"], "cents": row["cents"]});
    rows.map(row).collect()
}

#[test]
fn orders_of_a_topic_go_to_topics_and_from_there_to_a_table() {
    let send = "orders=examples/orders/orders.ndjson";
    let document = run(&[
        "dev",
        "examples/orders",
        "--send",
        send,
        "--until-idle",
        "-o",
        "json",
    ])
    .document();
    let orders = orders();
    let is_large = |order: &&Value| order["cents"].as_i64().unwrap() >= 10_000;
    let mut large: Vec<Value> = orders
        .iter()
        .filter(is_large)
        .map(|order| {
            json!({
                "order_id": order["order_id"], "customer": order["customer"], "channel": null,
                "cents": order["cents"], "ts": order["ordered_at"], "items": order["items"],
            })
        })
        .collect();
    let mut found = rows(&document, "large_orders").clone();
    for rows in [&mut large, &mut found] {
        rows.sort_by_key(|row| row["order_id"].to_string());
    }
    assert_eq!(found, large);
    let minute = |order: &Value| format!("{}:00Z", &order["ordered_at"].as_str().unwrap()[..16]);
    assert_eq!(
        printed(&document, "revenue", "window_start"),
        grouped(orders.iter(), minute)
    );
    let customer = |order: &Value| order["customer"].as_str().unwrap().to_owned();
    let mut hours = printed(&document, "large_by_customer", "customer");
    // The orders of two hours.
    hours.sort_by_key(|row| row["of"].to_string());
    let of_both = |rows: &[Value]| {
        let mut sums = BTreeMap::<String, (i64, i64)>::new();
        for row in rows {
            let sum = sums.entry(row["of"].to_string()).or_default();
            let number = |name: &str| row[name].as_i64().unwrap();
            *sum = (sum.0 + number("orders"), sum.1 + number("cents"));
        }
        sums
    };
    let expected = grouped(orders.iter().filter(is_large), customer);
    assert_eq!(of_both(&hours), of_both(&expected));
    assert_eq!(document["deadLetters"], json!([]));
    let ledgers = document["ledgers"].as_array().unwrap();
    assert_eq!(ledgers.len(), 3);
    assert!(ledgers.iter().all(|ledger| ledger["balanced"] == true));
}
