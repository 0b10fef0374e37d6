//! Where nothing changes, nothing is written.
use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use tidewheel_e2e::{
    cluster::{NAMESPACE, Request},
    not_tried,
};

use super::{shop::Shop, turns::undisturbed};

/// How long nothing may be written: longer than between two looks at topics and tables.
const QUIET: Duration = Duration::from_secs(60);

#[test]
fn where_nothing_changes_nothing_is_written() {
    let shop = Shop::new("quiet");
    if shop.cluster.place().is_none() {
        not_tried(
            "what the operator asks of the given cluster's API server is for whoever made it to read",
        );
        return;
    }
    shop.apply_all();
    for what in [
        "eventsource/clicks",
        "sink/warehouse",
        "pipeline/web-analytics",
    ] {
        shop.wait_for(what, "Ready");
    }
    // Other tests share the operator, so this looks at its own namespace.
    let writes = || {
        let requests = shop
            .cluster
            .requests_of(NAMESPACE, "tidewheel-operator")
            .unwrap();
        let ours = requests
            .into_iter()
            .filter(|request| request.namespace == shop.name);
        ours.filter(Request::is_write).collect::<Vec<_>>()
    };
    // What workers show is looked at twice before it is told.
    shop.until_reason("pipeline/web-analytics", "DataFlowing", "Flowing");
    shop.until_reason("pipeline/web-analytics", "ScalingActive", "FollowsLag");
    // What was begun when everything was ready is ended, and so is what another leader has to look at.
    let _turn = undisturbed();
    sleep(Duration::from_secs(20));
    let before = writes();
    assert!(!before.is_empty());
    let began = Instant::now();
    sleep(QUIET);
    let after = writes();
    assert_eq!(&after[before.len()..], []);
    shop.measured("nothing was written", began);
}
