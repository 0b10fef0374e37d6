//! One of several operators acts; another takes over.
use std::time::Instant;

use super::shop::Shop;
use tidewheel_e2e::{
    cluster::{Cluster, NAMESPACE},
    not_tried,
};

/// The pod that leads the operators of a namespace.
pub(super) fn leader(cluster: &Cluster, namespace: &str) -> String {
    let lease = ["get", "lease/tidewheel-operator", "--namespace", namespace];
    let path = "--output=jsonpath={.spec.holderIdentity}";
    cluster
        .run_kubectl(&[&lease[..], &[path]].concat())
        .unwrap()
}

/// Ends who leads in some way while something is to be done, and waits until it is.
fn end_leader(name: &'static str, end: impl FnOnce(&Shop, &str)) -> (String, Shop) {
    let shop = Shop::new(name);
    shop.apply_example("source.yaml");
    shop.wait_for("eventsource/clicks", "Ready");
    let first = leader(shop.cluster, NAMESPACE);
    let began = Instant::now();
    end(&shop, &first);
    shop.kubectl(&["delete", "service/clicks-ingest"]);
    let service = [
        "get",
        "service/clicks-ingest",
        "--ignore-not-found",
        "--output=name",
    ];
    shop.until("the Service is back", || !shop.kubectl(&service).is_empty());
    println!(
        "{name}: it was made after {:.1} s",
        began.elapsed().as_secs_f64()
    );
    (first, shop)
}

#[test]
fn when_the_pod_that_leads_is_deleted_another_acts() {
    let (first, shop) = end_leader("leader", |shop, first| {
        let now = ["--grace-period=0", "--force"];
        let delete = ["delete", "pod", first, "--namespace", NAMESPACE];
        shop.cluster
            .run_kubectl(&[&delete[..], &now].concat())
            .unwrap();
    });
    assert_ne!(leader(shop.cluster, NAMESPACE), first);
}

#[test]
fn when_the_process_that_leads_is_killed_somebody_acts() {
    if super::with_operator().place().is_none() {
        not_tried("processes of the given cluster are for whoever made it to kill");
        return;
    }
    end_leader("killed-leader", |shop, first| {
        shop.cluster.kill_container(NAMESPACE, first).unwrap();
    });
}
