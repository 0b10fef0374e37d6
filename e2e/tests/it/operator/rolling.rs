//! Changes that roll out while events flow.
use tidewheel_e2e::postgres;

use super::{flow::Flow, shop::Shop};

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
    let flow = Flow::begin(&shop);
    flow.until_rows_grow_by(&shop, 200);
    (shop, flow)
}

fn uids_of_workers(shop: &Shop) -> String {
    shop.kubectl(&[
        "get",
        "pods",
        "--selector=app.kubernetes.io/component=worker",
        "--output=jsonpath={.items[*].metadata.uid}",
    ])
}

#[test]
fn sql_that_changes_in_mid_stream_loses_and_doubles_nothing() {
    let url = super::with_operator().postgres_in_pods();
    let (shop, flow) = flowing("rolling", url);
    let before = uids_of_workers(&shop);
    let pipeline = shop.example("pipeline.yaml");
    let changed = pipeline.replace("code >= 400", "code >= 500");
    assert_ne!(changed, pipeline);
    shop.apply(&changed);
    shop.until("no worker of before is there", || {
        !before
            .split(' ')
            .any(|uid| uids_of_workers(&shop).contains(uid))
    });
    shop.wait_for("pipeline/web-analytics", "Ready");
    flow.until_rows_grow_by(&shop, 200);
    flow.end(&shop);
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
    let before = uids_of_workers(&shop);
    sql("ALTER ROLE rotated PASSWORD 'second'");
    sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'rotated'");
    shop.until_reason("sink/warehouse", "Ready", "DatabaseUnavailable");
    shop.secret(&url("second"));
    shop.until("no worker of before is there", || {
        !before
            .split(' ')
            .any(|uid| uids_of_workers(&shop).contains(uid))
    });
    for what in ["sink/warehouse", "pipeline/web-analytics"] {
        shop.wait_for(what, "Ready");
    }
    flow.until_rows_grow_by(&shop, 200);
    flow.end(&shop);
}
