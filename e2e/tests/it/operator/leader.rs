//! One of several operators acts; another takes over.
use std::time::{Duration, Instant};

use tidewheel_e2e::{
    cluster::{Cluster, NAMESPACE},
    not_tried,
};

use super::{delete_at_once, shop::Shop, turns::disturbing};

/// How soon another acts after the one that leads has ended. The documentation says 15 s; the rest is for machines that are busy.
const TAKES_OVER_WITHIN: Duration = Duration::from_secs(20);

/// The pod that leads the operators of a namespace; empty while none does.
pub(super) fn leader(cluster: &Cluster, namespace: &str) -> String {
    let lease = ["get", "lease/tidewheel-operator", "--namespace", namespace];
    let path = "--output=jsonpath={.spec.holderIdentity}";
    cluster
        .run_kubectl(&[&lease[..], &[path]].concat())
        .unwrap()
}

/// Ends the pod that leads as a node does that is cut off: it says no farewell.
pub(super) fn end_leader_of(cluster: &Cluster, leader: &str) {
    delete_at_once(cluster, NAMESPACE, leader, "--timeout=60s");
}

/// Waits until all replicas of the operator are there, one of which leads, and returns it.
fn settled_leader(shop: &Shop) -> String {
    let rollout = ["rollout", "status", "deployment/tidewheel-operator"];
    let until = ["--namespace", NAMESPACE, "--timeout=120s"];
    let status = [&rollout[..], &until].concat();
    shop.cluster.run_kubectl(&status).unwrap();
    let is_there = |name: &str| {
        let pod = ["get", "pod", name, "--namespace", NAMESPACE];
        !name.is_empty() && shop.cluster.run_kubectl(&pod).is_ok()
    };
    shop.until("a pod leads that is there", || {
        is_there(&leader(shop.cluster, NAMESPACE))
    });
    leader(shop.cluster, NAMESPACE)
}

/// Ends who leads in some way while something is to be done, and waits until it is done: by another, where `is_another` says so.
fn end_leader(name: &'static str, is_another: bool, end: impl FnOnce(&Shop, &str)) {
    let shop = Shop::new(name);
    shop.apply_example("source.yaml");
    shop.wait_for("eventsource/clicks", "Ready");
    let _turn = disturbing();
    let first = settled_leader(&shop);
    let began = Instant::now();
    end(&shop, &first);
    shop.delete(&["service/clicks-ingest"]);
    let left = || TAKES_OVER_WITHIN.saturating_sub(began.elapsed());
    if is_another {
        shop.until_within(left(), "another leads", || {
            let now = leader(shop.cluster, NAMESPACE);
            !now.is_empty() && now != first
        });
    }
    shop.until_within(left(), "the Service is back", || {
        !shop.found("service/clicks-ingest").is_empty()
    });
    shop.measured("from the end of the leader to the Service", began);
    settled_leader(&shop);
}

#[test]
fn when_the_pod_that_leads_is_deleted_another_acts_within_15_seconds() {
    end_leader("leader", true, |shop, first| {
        end_leader_of(shop.cluster, first);
    });
}

#[test]
fn when_the_process_that_leads_is_killed_somebody_acts_within_15_seconds() {
    if super::with_operator().place().is_none() {
        not_tried("processes of the given cluster are for whoever made it to kill");
        return;
    }
    end_leader("killed-leader", false, |shop, first| {
        shop.cluster.kill_container(NAMESPACE, first).unwrap();
    });
}
