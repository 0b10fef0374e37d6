//! Pods that are killed while events flow.
use super::{flow::Flow, shop::Shop};

#[test]
fn pods_that_are_killed_or_deleted_lose_and_double_nothing() {
    let shop = Shop::new("killed");
    shop.apply_all();
    for what in ["eventsource/clicks", "pipeline/web-analytics"] {
        shop.wait_for(what, "Ready");
    }
    let flow = Flow::begin(&shop);
    flow.until_rows_grow_by(&shop, 200);
    let pod = |component: &str| {
        let selector = format!("--selector=app.kubernetes.io/component={component}");
        let names = shop.kubectl(&[
            "get",
            "pods",
            &selector,
            "--output=jsonpath={.items[*].metadata.name}",
        ]);
        names.split(' ').next().unwrap().to_owned()
    };
    for component in ["worker", "ingest"] {
        if shop.cluster.place().is_some() {
            shop.cluster
                .kill_container(shop.name, &pod(component))
                .unwrap();
            println!("killed the container of a pod of {component}");
            flow.until_rows_grow_by(&shop, 200);
        }
        let now = ["--grace-period=0", "--force"];
        shop.kubectl(&[&["delete", "pod", &pod(component)][..], &now].concat());
        println!("deleted a pod of {component}");
        flow.until_rows_grow_by(&shop, 200);
    }
    flow.end(&shop);
}
