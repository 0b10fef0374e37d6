//! What somebody removes or changes that the operator has made is put back.
use super::{
    shop::{AT_ONCE, Shop},
    turns::undisturbed,
};

#[test]
fn what_is_deleted_or_changed_by_hand_is_put_back() {
    let shop = Shop::new("drift");
    shop.apply_all();
    for what in ["eventsource/clicks", "pipeline/web-analytics"] {
        shop.wait_for(what, "Ready");
    }
    let name_of = |kind: &str, component: &str| {
        let selector = format!("--selector=app.kubernetes.io/component={component}");
        shop.kubectl(&["get", kind, &selector, "--output=name"])
            .trim()
            .to_owned()
    };
    let _turn = undisturbed();
    for what in [
        "deployment/web-analytics-worker".to_owned(),
        "service/clicks-ingest".to_owned(),
        "poddisruptionbudget/clicks-ingest".to_owned(),
        "serviceaccount/clicks-ingest".to_owned(),
        name_of("configmap", "ingest"),
    ] {
        let before = shop.uid(&what);
        assert_ne!(before, "", "{what}");
        shop.kubectl(&["delete", &what, "--wait=false"]);
        shop.until_within(AT_ONCE, &format!("{what} is back"), || {
            ![String::new(), before.clone()].contains(&shop.uid(&what))
        });
    }
    shop.kubectl(&["scale", "deployment/clicks-ingest", "--replicas=5"]);
    let replicas = || {
        shop.kubectl(&[
            "get",
            "deployment/clicks-ingest",
            "--output=jsonpath={.spec.replicas}",
        ])
    };
    shop.until_within(AT_ONCE, "the replicas are as declared", || {
        replicas() == "2"
    });
    shop.wait_for("pipeline/web-analytics", "Ready");
}
