//! One of several operators acts; another takes over.
use std::time::Instant;

use super::shop::Shop;
use tidewheel_e2e::cluster::NAMESPACE;

#[test]
fn when_who_leads_is_killed_another_acts() {
    let shop = Shop::new("leader");
    shop.apply_example("source.yaml");
    shop.wait_for("eventsource/clicks", "Ready");
    let holder = || {
        let lease = ["get", "lease/tidewheel-operator", "--namespace", NAMESPACE];
        let path = "--output=jsonpath={.spec.holderIdentity}";
        shop.cluster
            .run_kubectl(&[&lease[..], &[path]].concat())
            .unwrap()
    };
    let first = holder();
    let kill = [
        "delete",
        "pod",
        &first,
        "--namespace",
        NAMESPACE,
        "--grace-period=0",
        "--force",
    ];
    let began = Instant::now();
    shop.cluster.run_kubectl(&kill).unwrap();
    shop.kubectl(&["delete", "service/clicks-ingest"]);
    let service = [
        "get",
        "service/clicks-ingest",
        "--ignore-not-found",
        "--output=name",
    ];
    shop.until("the Service is back", || !shop.kubectl(&service).is_empty());
    assert_ne!(holder(), first);
    println!("another acted after {:.1} s", began.elapsed().as_secs_f64());
}
