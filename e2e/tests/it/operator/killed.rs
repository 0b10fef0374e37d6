//! Pods that are killed while events flow.
use tidewheel_e2e::cluster::NAMESPACE;

use super::{
    delete_at_once,
    flow::Flow,
    leader::{end_leader_of, leader},
    shop::Shop,
    turns::disturbing,
};

#[test]
fn pods_that_are_killed_or_deleted_lose_and_double_nothing() {
    let shop = Shop::new("killed");
    shop.apply_all_with_one_worker();
    for what in ["eventsource/clicks", "pipeline/web-analytics"] {
        shop.wait_for(what, "Ready");
    }
    let flow = Flow::begin_inside(&shop);
    flow.until_rows_grow_by(&shop, 200);
    for (role, count) in [("worker", 1), ("ingest", 2)] {
        let names = shop.of_pods(role, ".metadata.name");
        assert_eq!(names.len(), count, "{names:?}");
        if shop.cluster.place().is_some() {
            // One after the other, and each takes part again.
            for name in &names {
                shop.cluster.kill_container(shop.name, name).unwrap();
                flow.until_rows_grow_by(&shop, 200);
                shop.wait_for(&format!("pod/{name}"), "Ready");
            }
        }
        for name in &names {
            delete_at_once(shop.cluster, shop.name, name, "--timeout=60s");
            flow.until_rows_grow_by(&shop, 200);
            shop.until("there are as many again", || {
                let path = "--output=jsonpath={.status.readyReplicas}";
                let deployment = match role {
                    "worker" => "deployment/web-analytics-worker",
                    _ => "deployment/clicks-ingest",
                };
                shop.kubectl(&["get", deployment, path]) == count.to_string()
            });
        }
    }
    {
        let _turn = disturbing();
        let first = leader(shop.cluster, NAMESPACE);
        end_leader_of(shop.cluster, &first);
        shop.until("another leads", || {
            let now = leader(shop.cluster, NAMESPACE);
            !now.is_empty() && now != first
        });
        flow.until_rows_grow_by(&shop, 200);
    }
    flow.end(&shop);
}
