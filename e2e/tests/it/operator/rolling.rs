//! Changes that roll out while events flow.
use std::{collections::BTreeMap, time::Instant};

use tidewheel_e2e::postgres;

use super::{
    flow::{Flow, Window, windows},
    shop::Shop,
};

/// A namespace whose source and Pipeline are ready, and into which events flow.
fn flowing(name: &'static str, url: &str) -> (Shop, Flow) {
    let shop = Shop::new(name);
    for file in ["source.yaml", "sink.yaml", "pipeline.yaml"] {
        shop.apply_example(file);
    }
    shop.secret(url);
    for what in ["eventsource/clicks", "pipeline/web-analytics"] {
        shop.wait_for(what, "Ready");
    }
    let flow = Flow::begin_inside(&shop);
    flow.until_rows_grow_by(&shop, 200);
    (shop, flow)
}

/// Waits until other workers are there than these.
fn until_replaced(shop: &Shop, before: &[String]) {
    shop.until("no worker of before is there", || {
        let now = shop.of_pods("worker", ".metadata.uid");
        !now.iter().any(|uid| before.contains(uid))
    });
}

#[test]
fn sql_that_changes_in_mid_stream_holds_for_open_windows_and_loses_and_doubles_nothing() {
    let url = super::with_operator().postgres_in_pods();
    let (shop, flow) = flowing("rolling", url);
    flow.stop_time();
    let ended = flow.ended_hours();
    let by_old_sql: BTreeMap<String, Window> = ended
        .iter()
        .map(|(start, hour)| (start.clone(), (hour.events, hour.errors)))
        .collect();
    shop.until("every hour that has ended is a window", || {
        windows(&shop).len() >= by_old_sql.len()
    });
    assert_eq!(windows(&shop), by_old_sql);

    let before = shop.of_pods("worker", ".metadata.uid");
    let pipeline = shop.example("pipeline.yaml");
    let changed = pipeline.replace("code >= 400", "code >= 500");
    assert_ne!(changed, pipeline);
    let began = Instant::now();
    shop.apply(&changed);
    until_replaced(&shop, &before);
    shop.wait_for("pipeline/web-analytics", "Ready");
    shop.measured("the new SQL is rolled out", began);
    flow.until_rows_grow_by(&shop, 200);
    flow.let_time_go_on();
    flow.until_rows_grow_by(&shop, 1000);
    // What is final stays; the hour in which the SQL changed is computed anew, as are all later ones. A partition of partials without any
    // group hears only of ends of windows, and so not yet that nothing can amend the last one that has ended: it may be either.
    let newest = ended.keys().next_back().unwrap();
    flow.end_where(&shop, |start, hour| match ended.contains_key(start) {
        true if start == newest => vec![hour.errors, hour.failures],
        true => vec![hour.errors],
        false => vec![hour.failures],
    });
}

#[test]
fn a_password_that_is_rotated_in_mid_stream_loses_and_doubles_nothing() {
    let cluster = super::with_operator();
    let sql = |sql: &str| postgres::query(cluster.postgres(), sql).unwrap();
    sql(
        "CREATE ROLE rotated LOGIN PASSWORD 'first'; CREATE SCHEMA rotated AUTHORIZATION rotated; GRANT CREATE ON DATABASE postgres TO rotated",
    );
    let url = |password: &str| {
        let (start, rest) = cluster.postgres_in_pods().split_once("://").unwrap();
        let (_, place) = rest.rsplit_once('@').unwrap();
        format!("{start}://rotated:{password}@{place}")
    };
    let (shop, flow) = flowing("rotated", &url("first"));
    let before = shop.of_pods("worker", ".metadata.uid");
    sql("ALTER ROLE rotated PASSWORD 'second'");
    sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'rotated'");
    shop.until_reason("sink/warehouse", "Ready", "DatabaseUnavailable");
    shop.secret(&url("second"));
    until_replaced(&shop, &before);
    for what in ["sink/warehouse", "pipeline/web-analytics"] {
        shop.wait_for(what, "Ready");
    }
    flow.until_rows_grow_by(&shop, 200);
    flow.end(&shop);
}
